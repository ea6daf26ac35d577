"""Searches for a cell's rate, played through with simulated runs that end in any order."""

from __future__ import annotations

import builtins
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from fptkit.errors import UsageError
from fptkit.lab.studies.options import SearchOptions, StudySettings
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Cell, CellName, Request, Trial
from fptkit.lab.studies.search import Step
from fptkit.lab.studies.search import next_step as step_of
from fptkit.lab.studies.search.halving import rung_steps
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
STEPS = 80


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    path = tmp_path_factory.mktemp("study") / "x.yaml"
    path.write_text(
        f"task: {{name: bit_xor}}\ntrain: {{max_steps: {STEPS}, validate_every: 10, learning_rate: 5e-4}}\n"
    )
    loaded = load_recipe(str(path), registry_loader=lambda files: load_plugins(files, selection=""))
    return Cell(CellName("xor", "arm"), loaded)


def settings(
    rates: tuple[float, ...] = RATES,
    seeds: int = 3,
    *,
    seeds_of_search: int | None = None,
    choose: Literal["per_seed", "common"] = "common",
    **search: Any,
) -> StudySettings:
    options = SearchOptions(seeds=seeds_of_search, **search)
    return StudySettings(learning_rates=rates, seeds=tuple(range(seeds)), search=options, choose=choose)


def per_seed(rates: tuple[float, ...] = RATES, seeds: int = 3, **search: Any) -> StudySettings:
    return settings(rates, seeds, choose="per_seed", **search)


def next_step(chosen: StudySettings, cell: Cell, outcomes: Mapping[Trial, Outcome]) -> Step:
    return step_of(chosen, cell, chosen.first_seeds, outcomes)


def rate_of(step: Step) -> float | None:
    """The rate that all seeds have."""
    (rate,) = set(step.chosen_rates.values()) or {None}
    return rate


Quality = Callable[[Trial], float]
"""Best validation of a complete training."""


@dataclass
class World:
    """Simulates the engine's runs: validation rises evenly to the trial's quality.

    Args:
        quality: of each trial; a cell of the table is thus known beforehand.
        faults: trials that end by ``diverged`` or ``failed``, with the step at which they do.
        test_fails: trials that train but whose test fails.
    """

    quality: Quality
    faults: Mapping[Trial, tuple[str, int]] = field(default_factory=dict)
    test_fails: frozenset[Trial] = frozenset()
    higher: bool = True

    def carry_out(self, request: Request, before: Outcome | None) -> Outcome:
        trial = request.trial
        if request.open_test:
            assert before is not None
            assert before.summary["status"] in ("validated", "finished"), "a test is opened of a trained run only"
            status = "failed" if trial in self.test_fails else "finished"
            return self._outcome(trial, STEPS, status, tested=1)
        steps = request.until_step or STEPS
        status, at = self.faults.get(trial, ("", STEPS + 1))
        if at <= steps:
            return self._outcome(trial, at, status)
        return self._outcome(trial, steps, "validated" if steps == STEPS else "paused")

    def _outcome(self, trial: Trial, steps: int, status: str, *, tested: int = 0) -> Outcome:
        value = self.quality(trial) * steps / STEPS
        summary = {
            "status": status,
            "selection": {"metric": "score", "higher_is_better": self.higher},
            "metrics": {"validation": {"score": value if self.higher else -value}},
            "steps": steps,
            "times_tested": tested,
        }
        return Outcome("a" * 64, status, step=steps, summary=summary)  # type: ignore[arg-type]


@dataclass
class Play:
    """What happened in a study played to its end."""

    step: Step
    outcomes: dict[Trial, Outcome]
    carried_out: list[Request]
    steps_trained: int


def steps_of(outcome: Outcome | None) -> int:
    return outcome.summary["steps"] if outcome and outcome.summary else 0


def play(
    cell: Cell,
    chosen: StudySettings,
    world: World,
    *,
    order: random.Random | None = None,
    workers: int = 1,
    until: int | None = None,
    start: Mapping[Trial, Outcome] | None = None,
) -> Play:
    """Carry out the search's requests, with several workers and runs that end in any order.

    Args:
        until: number of requests after which the study is killed.
        start: outcomes of an earlier part of the study.
    """
    order = order or random.Random(0)
    outcomes: dict[Trial, Outcome] = dict(start or {})
    under_way: list[Request] = []
    carried_out: list[Request] = []
    trained = 0
    for _ in range(1000):
        step = next_step(chosen, cell, outcomes)
        assert len({request.trial for request in step.requests}) == len(step.requests), "one request a trial"
        assert all(request in step.requests for request in under_way), "what is under way stays asked for"
        assert step.done == (not step.requests)
        if step.done or (until is not None and len(carried_out) >= until):
            return Play(step, outcomes, carried_out, trained)
        free = [request for request in step.requests if request not in under_way]
        order.shuffle(free)
        for request in free[: workers - len(under_way)]:
            under_way.append(request)
            before = outcomes.get(request.trial, Outcome("a" * 64))
            outcomes[request.trial] = replace(before, status="running")
        ended = under_way.pop(order.randrange(len(under_way)))
        if ended.open_test:
            assert ended.trial.learning_rate in (step.chosen_rates.get(ended.trial.seed), step.common_rate)
        before_steps = steps_of(outcomes[ended.trial])
        outcomes[ended.trial] = world.carry_out(ended, outcomes[ended.trial])
        trained += steps_of(outcomes[ended.trial]) - before_steps
        carried_out.append(ended)
    pytest.fail("the search never ends")


def peak_at(best: float) -> Quality:
    """The nearer to the best rate, the better; seeds differ a little."""
    return lambda trial: 1 - abs(math.log10(trial.learning_rate / best)) / 4 + trial.seed / 1000


def opened_tests(carried_out: list[Request]) -> list[Request]:
    return [request for request in carried_out if request.open_test]


def test_the_grid_trains_every_rate_chooses_on_validation_and_opens_one_test_a_seed(cell: Cell) -> None:
    done = play(cell, settings(), World(peak_at(3e-3)))
    assert (rate_of(done.step), done.step.reason) == (3e-3, "")
    trainings, opened = done.carried_out[:12], done.carried_out[12:]
    assert sorted(request.trial for request in trainings) == [Trial(rate, seed) for rate in RATES for seed in range(3)]
    assert opened == opened_tests(done.carried_out)
    assert {request.trial for request in opened} == {Trial(3e-3, seed) for seed in range(3)}
    assert done.steps_trained == 12 * STEPS


def test_a_loss_is_better_when_it_is_smaller(cell: Cell) -> None:
    for best in RATES:
        assert rate_of(play(cell, settings(), World(peak_at(best), higher=False)).step) == best


def test_seeds_beyond_those_of_the_search_train_at_the_chosen_rate_only(cell: Cell) -> None:
    done = play(cell, _two_of_five(), World(peak_at(1e-2)))
    trained = [request.trial for request in done.carried_out if not request.open_test]
    assert len(trained) == 4 * 2 + 3
    assert {trial for trial in trained if trial.seed >= 2} == {Trial(1e-2, seed) for seed in (2, 3, 4)}
    assert len(opened_tests(done.carried_out)) == 5


def _two_of_five() -> StudySettings:
    return StudySettings(learning_rates=RATES, seeds=(0, 1, 2, 3, 4), search=SearchOptions(seeds=2), choose="common")


def test_without_a_grid_the_recipes_own_rate_is_taken_under_every_search(cell: Cell) -> None:
    for name in ("grid", "halving", "optuna"):
        done = play(cell, settings((), name=name), World(peak_at(1e-3)))
        assert rate_of(done.step) == 5e-4
        assert len(done.carried_out) == 6


def test_of_equal_rates_the_smallest_is_chosen_whatever_their_order(cell: Cell) -> None:
    for rates in (RATES, RATES[::-1]):
        assert rate_of(play(cell, settings(rates), World(lambda trial: 0.5)).step) == 1e-3


def test_a_rate_that_diverged_at_one_seed_is_out(cell: Cell) -> None:
    done = play(cell, settings(), World(peak_at(3e-2), {Trial(3e-2, 1): ("diverged", 5)}))
    assert (rate_of(done.step), done.step.reason) == (1e-2, "rate 0.03: 1 run diverged")
    assert {request.trial.learning_rate for request in opened_tests(done.carried_out)} == {1e-2}


def test_where_every_rate_diverged_nothing_is_chosen_and_no_test_opened(cell: Cell) -> None:
    done = play(cell, settings(), World(peak_at(3e-2), {Trial(rate, 2): ("diverged", 5) for rate in RATES}))
    assert done.step == Step((), {}, True, "diverged at every rate")
    assert opened_tests(done.carried_out) == []
    assert len(done.carried_out) == 12


def test_a_rate_with_a_failed_run_is_out_while_another_is_whole(cell: Cell) -> None:
    failed = {Trial(3e-3, 0): ("failed", 30), Trial(1e-3, 0): ("failed", 30), Trial(1e-3, 1): ("failed", 30)}
    done = play(cell, settings(), World(peak_at(3e-3), failed))
    assert (rate_of(done.step), done.step.reason) == (1e-2, "rate 0.001: 2 runs failed; rate 0.003: 1 run failed")
    # None is whole: those with the fewest failures are held against each other.
    failed |= {Trial(1e-2, 0): ("failed", 30), Trial(3e-2, 0): ("diverged", 30)}
    done = play(cell, settings(), World(peak_at(1e-3), failed))
    assert rate_of(done.step) == 3e-3
    assert done.step.reason.endswith("seed 0 failed")
    assert {request.trial.seed for request in opened_tests(done.carried_out)} == {1, 2}


def test_a_broken_arm_ends_without_a_choice(cell: Cell) -> None:
    failed = {Trial(rate, seed): ("failed", 0) for rate in RATES for seed in range(3)}
    assert play(cell, settings(), World(peak_at(3e-3), failed)).step == Step((), {}, True, "every run failed")


def test_a_seed_that_fails_after_the_choice_leaves_the_cell_incomplete(cell: Cell) -> None:
    faults = {Trial(1e-2, 3): ("failed", 10), Trial(1e-2, 4): ("diverged", 10)}
    done = play(cell, _two_of_five(), World(peak_at(1e-2), faults))
    assert done.step == Step((), dict.fromkeys(range(5), 1e-2), True, "seed 3 failed, seed 4 diverged")
    assert {request.trial.seed for request in opened_tests(done.carried_out)} == {0, 1, 2}


def test_a_test_that_fails_does_not_change_the_choice(cell: Cell) -> None:
    """The run finished training: if another rate were chosen now, its test would be a second try."""
    done = play(cell, settings(), World(peak_at(3e-3), test_fails=frozenset({Trial(3e-3, 1)})))
    assert done.step == Step((), dict.fromkeys(range(3), 3e-3), True, "seed 1 failed")
    assert {request.trial.learning_rate for request in opened_tests(done.carried_out)} == {3e-3}


def test_runs_that_were_stopped_are_asked_for_again(cell: Cell) -> None:
    for status in ("waiting", "running", "paused", "interrupted", "lost"):
        outcomes = {Trial(1e-3, 0): Outcome("a" * 64, status)}  # type: ignore[arg-type]
        step = next_step(settings(), cell, outcomes)
        assert Request(Trial(1e-3, 0)) in step.requests
        assert (len(step.requests), rate_of(step), step.done) == (12, None, False)
    assert step.reason == "search: 0 of 12 runs ended"


def test_a_validation_that_is_no_number_counts_as_a_failure(cell: Cell) -> None:
    done = play(cell, settings(), World(lambda t: math.nan if t.learning_rate == 3e-3 else peak_at(3e-3)(t)))
    assert rate_of(done.step) in (1e-3, 1e-2)
    assert "rate 0.003: 3 runs failed" in done.step.reason


# ---- a choice for each seed


def seeds_differ(trial: Trial) -> float:
    """Seed 0 is best at 1e-3, seed 1 at 3e-3, seed 2 at 1e-2; over all, 3e-3 is best."""
    return 1 - abs(math.log10(trial.learning_rate / RATES[trial.seed]))


def test_each_seed_chooses_its_own_rate_and_the_common_one_is_tested_beside(cell: Cell) -> None:
    done = play(cell, per_seed(), World(seeds_differ))
    assert done.step == Step((), {0: 1e-3, 1: 3e-3, 2: 1e-2}, True, "", 3e-3)
    opened = opened_tests(done.carried_out)
    assert {request.trial for request in opened} == {
        Trial(1e-3, 0), Trial(3e-3, 1), Trial(1e-2, 2), Trial(3e-3, 0), Trial(3e-3, 2)
    }  # fmt: skip
    assert len(done.carried_out) == 12 + len(opened)
    assert done.steps_trained == 12 * STEPS


def test_other_seeds_have_no_say_in_a_seeds_choice(cell: Cell) -> None:
    """Seeds are independent repetitions: with any others beside it, in any order, a seed chooses the same."""
    chance = random.Random(15)
    for _ in range(40):
        world = random_world(chance)
        for name in ("grid", "halving"):
            together = play(cell, per_seed(seeds=4, name=name), world, workers=3).step.chosen_rates
            for seed in range(4):
                chosen = per_seed(name=name).model_copy(update={"seeds": (seed,)})
                alone = play(cell, chosen, world)
                assert alone.step.chosen_rates.get(seed) == together.get(seed)


def test_the_choice_of_each_seed_is_its_best_by_plain_arithmetic(cell: Cell) -> None:
    chance = random.Random(16)
    for _ in range(100):
        world = replace(random_world(chance), faults={}, test_fails=frozenset())
        step = play(cell, per_seed(seeds=4), world).step
        for seed in range(4):
            best = max(world.quality(Trial(rate, seed)) for rate in RATES)
            assert world.quality(Trial(step.chosen_rates[seed], seed)) == best
        means = {rate: sum(world.quality(Trial(rate, s)) for s in range(4)) / 4 for rate in RATES}
        assert step.common_rate == max(means, key=lambda rate: means[rate])


def test_a_rate_that_diverged_is_out_for_that_seed_only(cell: Cell) -> None:
    done = play(cell, per_seed(), World(peak_at(3e-3), {Trial(3e-3, 1): ("diverged", 5)}))
    assert done.step.chosen_rates == {0: 3e-3, 1: 1e-3, 2: 3e-3}
    assert done.step.reason == "rate 0.003: 1 run diverged"
    assert done.step.common_rate == 1e-3, "no common rate may have diverged"
    failed = {Trial(3e-3, 1): ("failed", 5), Trial(1e-3, 1): ("diverged", 5)}
    done = play(cell, per_seed(), World(peak_at(3e-3), failed))
    assert done.step.chosen_rates == {0: 3e-3, 1: 1e-2, 2: 3e-3}
    assert done.step.reason == "rate 0.001: 1 run diverged; rate 0.003: 1 run failed"


def test_runs_that_ended_badly_are_counted_over_all_seeds(cell: Cell) -> None:
    faults = {Trial(3e-3, 0): ("diverged", 5), Trial(3e-3, 1): ("failed", 5), Trial(3e-3, 2): ("diverged", 9)}
    faults |= {Trial(1e-2, 0): ("failed", 5), Trial(1e-2, 2): ("failed", 5)}
    world = World(peak_at(3e-3), faults)
    counted = "rate 0.003: 2 runs diverged, 1 run failed; rate 0.01: 2 runs failed"
    assert play(cell, per_seed(), world).step.reason == counted
    # Seeds that choose together exclude a rate that diverged once, however its other runs ended.
    assert play(cell, settings(), world).step.reason == counted.replace(", 1 run failed", "")


def test_a_step_before_the_end_says_what_is_chosen_and_why(cell: Cell) -> None:
    world = World(peak_at(1e-2), {Trial(3e-2, 0): ("diverged", 5)})
    searched = play(cell, _two_of_five(), world, until=8).step
    assert searched.requests == tuple(Request(Trial(1e-2, seed)) for seed in (2, 3, 4))
    assert searched.chosen_rates == dict.fromkeys(range(5), 1e-2)
    assert (searched.reason, searched.done) == ("rate 0.03: 1 run diverged", False)
    ended = play(cell, per_seed(), World(peak_at(1e-2)), until=12)
    early = {trial: one for trial, one in ended.outcomes.items() if trial.seed != 2}
    step = next_step(per_seed(), cell, early)
    assert (step.chosen_rates, step.reason) == ({0: 1e-2, 1: 1e-2}, "search: 0 of 4 runs ended")
    testing = play(cell, settings(), World(peak_at(1e-2), {Trial(3e-2, 0): ("failed", 5)}), until=12).step
    assert testing.requests == tuple(Request(Trial(1e-2, seed), open_test=True) for seed in range(3))
    assert testing.reason == "rate 0.03: 1 run failed"
    both = World(peak_at(1e-2), {Trial(3e-2, 0): ("failed", 5)}, frozenset({Trial(1e-2, 1)}))
    assert play(cell, settings(), both).step.reason == "rate 0.03: 1 run failed; seed 1 failed"


def test_what_depends_on_all_seeds_waits_until_none_can_be_added(cell: Cell) -> None:
    world = World(seeds_differ)
    done = play(cell, per_seed(), world)
    tested = {trial: one for trial, one in done.outcomes.items() if one.status == "finished"}
    own = {Trial(RATES[seed], seed) for seed in range(3)}
    before = done.outcomes | {trial: world.carry_out(Request(trial), None) for trial in tested.keys() - own}
    growing = step_of(per_seed(), cell, (0, 1, 2), before, growing=True)
    assert (growing.requests, growing.done, growing.common_rate) == ((), True, None)
    last = step_of(per_seed(), cell, (0, 1, 2), before)
    assert {request.trial for request in last.requests} == tested.keys() - own


def test_a_seed_at_which_every_rate_diverged_has_no_result(cell: Cell) -> None:
    faults = {Trial(rate, 2): ("diverged", 5) for rate in RATES}
    done = play(cell, per_seed(), World(peak_at(3e-3), faults))
    assert done.step == Step((), {0: 3e-3, 1: 3e-3}, True, "seed 2: diverged at every rate", None)
    assert {request.trial for request in opened_tests(done.carried_out)} == {Trial(3e-3, 0), Trial(3e-3, 1)}
    broken = {Trial(rate, 0): ("failed", 5) for rate in RATES}
    mixed = {Trial(rate, 1): (("failed", "diverged")[place % 2], 5) for place, rate in enumerate(RATES)}
    done = play(cell, per_seed(), World(peak_at(3e-3), faults | broken | mixed))
    assert done.step.chosen_rates == {}
    assert done.step.reason == (
        "rate 0.001: 1 run failed; rate 0.003: 1 run diverged; rate 0.01: 1 run failed; rate 0.03: 1 run diverged; "
        "seed 0: every run failed; seed 1: every rate diverged or failed; seed 2: diverged at every rate"
    )
    alike = {Trial(rate, seed): ("failed", 5) for rate in RATES for seed in (0, 1)}
    assert play(cell, per_seed(), World(peak_at(3e-3), alike)).step.reason == "seeds 0, 1: every run failed"
    everywhere = {Trial(rate, seed): ("diverged", 5) for rate in RATES for seed in range(3)}
    assert play(cell, per_seed(), World(peak_at(3e-3), everywhere)).step == Step((), {}, True, "diverged at every rate")


def test_a_test_that_fails_changes_no_seeds_choice(cell: Cell) -> None:
    done = play(cell, per_seed(), World(seeds_differ, test_fails=frozenset({Trial(3e-3, 0), Trial(1e-2, 2)})))
    assert done.step.chosen_rates == {0: 1e-3, 1: 3e-3, 2: 1e-2}
    assert (done.step.reason, done.step.common_rate) == ("seed 2 failed", 3e-3)


def test_a_seed_is_halved_on_its_own(cell: Cell) -> None:
    done = play(cell, per_seed(name="halving", rungs=3), World(seeds_differ))
    assert done.steps_trained == 3 * (4 * 20 + 2 * 20 + 1 * 40)
    assert (done.step.chosen_rates, done.step.common_rate) == ({0: 1e-3, 1: 3e-3, 2: 1e-2}, None)
    last = {trial for trial, outcome in done.outcomes.items() if steps_of(outcome) == STEPS}
    assert last == {Trial(1e-3, 0), Trial(3e-3, 1), Trial(1e-2, 2)}
    alike = play(cell, per_seed(name="halving", rungs=3), World(peak_at(1e-2)))
    assert (alike.step.chosen_rates, alike.step.common_rate) == (dict.fromkeys(range(3), 1e-2), 1e-2)
    most = play(cell, per_seed(name="halving"), World(lambda t: peak_at(3e-3 if t.seed else 1e-2)(t)))
    assert (most.step.chosen_rates, most.step.common_rate) == ({0: 1e-2, 1: 3e-3, 2: 3e-3}, 3e-3)


def test_a_rate_that_another_study_trained_further_is_no_common_rate(cell: Cell) -> None:
    """A halving gave it up, so that results are the same whether the other study has run or not."""
    chosen, world = per_seed(name="halving", rungs=3), World(seeds_differ)
    done = play(cell, chosen, world)
    given_up = Trial(3e-3, 0)
    assert steps_of(done.outcomes[given_up]) < STEPS
    other = world.carry_out(Request(given_up), None)
    assert next_step(chosen, cell, {**done.outcomes, given_up: other}) == done.step


@pytest.mark.parametrize(
    ("liked", "common"),
    [
        ((1e-2, 1e-2, 1e-3, 3e-3), None),  # half of the seeds are too few
        ((1e-2, 1e-2, 1e-3, 1e-2), 1e-2),
        ((1e-3, 1e-3, 1e-3, 3e-2), 1e-3),  # one seed does better, but the others gave its rate up
    ],
)
def test_a_common_rate_is_that_of_most_seeds(cell: Cell, liked: tuple[float, ...], common: float | None) -> None:
    quality = lambda trial: peak_at(liked[trial.seed])(trial) + trial.seed / 10  # noqa: E731
    done = play(cell, per_seed(seeds=4, name="halving", rungs=3), World(quality))
    assert done.step.chosen_rates == dict(enumerate(liked))
    assert done.step.common_rate == common


def test_without_a_grid_every_seed_has_the_recipes_own_rate(cell: Cell) -> None:
    for name in ("grid", "halving", "optuna"):
        done = play(cell, per_seed((), name=name), World(peak_at(1e-3)))
        assert (rate_of(done.step), done.step.common_rate, len(done.carried_out)) == (5e-4, 5e-4, 6)


# ---- successive halving


def halving(**search: Any) -> StudySettings:
    return settings(name="halving", **search)


@pytest.mark.parametrize(
    ("steps", "every", "keep", "rungs", "expected"),
    [
        (1000, 100, 2, 3, (200, 500)),  # 250 is no validation
        (900, 100, 3, 3, (100, 300)),
        (80, 10, 2, 4, (10, 20, 40)),
        (20, 10, 2, 3, (10,)),  # two rungs fall together
        (20, 20, 2, 3, ()),  # there is no validation before the end
        (20, 200, 2, 3, ()),
    ],
)
def test_rungs_lie_on_validations(
    cell: Cell, steps: int, every: int, keep: int, rungs: int, expected: tuple[int, ...]
) -> None:
    train = cell.loaded.recipe.train.model_copy(update={"max_steps": steps, "validate_every": every})
    assert rung_steps(SearchOptions(name="halving", keep=keep, rungs=rungs), train) == expected


def test_halving_trains_as_many_steps_as_computed_by_hand(cell: Cell) -> None:
    done = play(cell, halving(rungs=3), World(peak_at(3e-3)))
    # 4 rates to step 20, 2 of them on to 40, 1 on to 80, each with 3 seeds.
    assert done.steps_trained == 3 * (4 * 20 + 2 * 20 + 1 * 40)
    assert len(done.carried_out) == 3 * (4 + 2 + 1 + 1)
    assert rate_of(done.step) == 3e-3
    given_up = {trial.learning_rate for trial, outcome in done.outcomes.items() if steps_of(outcome) == 20}
    assert given_up == {1e-2, 3e-2}, "the two that lie farthest from the best rate"


@pytest.mark.parametrize("search", ["grid", "halving"])
def test_a_run_stopped_in_its_last_validation_is_asked_for_again(cell: Cell, search: str) -> None:
    """All its steps are done and saved, but its last validation is of an earlier step and decides nothing."""
    chosen = (
        settings((1e-3,), seeds=1) if search == "grid" else settings((1e-3, 3e-3), seeds=1, name="halving", rungs=2)
    )
    done = play(cell, chosen, World(peak_at(3e-3)))
    last = STEPS if search == "grid" else rung_steps(chosen.search, cell.loaded.recipe.train)[0]
    trial = Trial(1e-3, 0)
    known = replace(done.outcomes[trial], status="interrupted", step=last)
    summary = {**known.summary, "status": "interrupted", "steps": last, "times_tested": 0}
    others = {other: outcome for other, outcome in done.outcomes.items() if other != trial}

    def asked(validated_step: int) -> list[Trial]:
        outcome = replace(known, summary={**summary, "validated_step": validated_step})
        return [
            request.trial
            for request in next_step(chosen, cell, {**others, trial: outcome}).requests
            if not request.open_test
        ]

    assert asked(last - 10) == [trial]
    assert asked(last) == []


def test_halving_with_few_search_seeds_trains_the_rest_in_full(cell: Cell) -> None:
    search = SearchOptions(name="halving", rungs=3, seeds=1)
    chosen = StudySettings(learning_rates=RATES, seeds=(0, 1, 2), search=search, choose="common")
    done = play(cell, chosen, World(peak_at(3e-3)))
    assert done.steps_trained == (4 * 20 + 2 * 20 + 1 * 40) + 2 * STEPS


def test_halving_keeps_the_larger_half_of_an_odd_number(cell: Cell) -> None:
    chosen = settings((1e-4, *RATES), name="halving", rungs=3)
    done = play(cell, chosen, World(peak_at(3e-3)))
    assert done.steps_trained == 3 * (5 * 20 + 3 * 20 + 2 * 40)


def test_a_rate_that_breaks_below_a_rung_is_given_up_there_and_one_above_it_later(cell: Cell) -> None:
    early = play(cell, halving(rungs=3), World(peak_at(3e-3), {Trial(3e-3, 1): ("diverged", 15)}))
    assert rate_of(early.step) == 1e-3
    late = play(cell, halving(rungs=3), World(peak_at(3e-3), {Trial(3e-3, 1): ("diverged", 35)}))
    # 0.003 and 0.001 went on from step 20; the better one broke before 40, and the other is left.
    assert rate_of(late.step) == 1e-3
    assert steps_of(late.outcomes[Trial(1e-2, 0)]) == 20
    last = play(cell, halving(rungs=3), World(peak_at(3e-3), {Trial(3e-3, 1): ("diverged", 75)}))
    assert rate_of(last.step) is None
    assert last.step.reason == "diverged at every rate (of the rates left at the last rung)"
    none = play(cell, halving(rungs=3), World(peak_at(3e-3), {Trial(rate, 0): ("diverged", 5) for rate in RATES}))
    assert none.step == Step((), {}, True, "diverged at every rate")


# ---- what holds for every search


def random_world(chance: random.Random) -> World:
    """A world in which anything may happen."""
    table: dict[Trial, float] = {}
    level = {}

    def quality(trial: Trial) -> float:
        of_rate = level.setdefault(trial.learning_rate, random.Random(f"{seed}{trial.learning_rate}").random())
        return table.setdefault(trial, of_rate + random.Random(f"{seed}{trial}").random() / 4)

    seed = chance.random()
    faults = {
        Trial(rate, s): (chance.choice(("diverged", "failed")), chance.randrange(1, STEPS + 1))
        for rate in RATES
        for s in range(4)
        if chance.random() < 0.08
    }
    fails = frozenset(Trial(rate, s) for rate in RATES for s in range(4) if chance.random() < 0.1)
    return World(quality, faults, fails, higher=chance.random() < 0.5)


def searches(chance: random.Random) -> Iterator[StudySettings]:
    for name in ("grid", "halving"):
        search = {"name": name, "rungs": chance.choice((2, 3, 4))}
        yield per_seed(seeds=4, **search)
        yield settings(seeds=4, **search, seeds_of_search=chance.choice((None, 1, 2)))


@pytest.mark.slow
def test_whatever_order_runs_end_in_the_study_ends_the_same(cell: Cell) -> None:
    chance = random.Random(11)
    for _ in range(60):
        world = random_world(chance)
        for chosen in searches(chance):
            first = play(cell, chosen, world)
            for workers in (1, 3, 16):
                again = play(cell, chosen, world, order=random.Random(chance.random()), workers=workers)
                assert (again.step, again.outcomes) == (first.step, first.outcomes)
                assert again.steps_trained == first.steps_trained


def test_a_study_that_was_killed_goes_on_to_the_same_end_and_repeats_nothing(cell: Cell) -> None:
    chance = random.Random(12)
    for _ in range(60):
        world = random_world(chance)
        for chosen in searches(chance):
            whole = play(cell, chosen, world)
            killed = play(
                cell, chosen, world, order=random.Random(chance.random()), workers=4, until=chance.randrange(20)
            )
            # What was under way when it was killed is lost; what it had saved before stays.
            left = {
                trial: replace(outcome, status="lost") if outcome.status == "running" else outcome
                for trial, outcome in killed.outcomes.items()
            }
            rest = play(cell, chosen, world, order=random.Random(chance.random()), workers=2, start=left)
            assert (rest.step, rest.outcomes) == (whole.step, whole.outcomes)
            assert killed.steps_trained + rest.steps_trained == whole.steps_trained
            once_more = play(cell, chosen, world, start=rest.outcomes)
            assert (once_more.carried_out, once_more.step) == ([], whole.step)


def test_no_test_is_asked_for_before_the_search_is_over_and_only_at_the_chosen_rate(cell: Cell) -> None:
    chance = random.Random(13)
    for _ in range(60):
        world = random_world(chance)
        for chosen in searches(chance):
            done = play(cell, chosen, world, order=random.Random(chance.random()), workers=3)
            opened = [request.open_test for request in done.carried_out]
            assert opened == sorted(opened), "no training follows a test"
            at_own = {Trial(rate, seed) for seed, rate in done.step.chosen_rates.items()}
            beside = {Trial(done.step.common_rate, seed) for seed in range(4) if done.step.common_rate is not None}
            assert {request.trial for request in opened_tests(done.carried_out)} <= at_own | beside


def test_the_choice_of_the_grid_is_the_best_mean_by_plain_arithmetic(cell: Cell) -> None:
    chance = random.Random(14)
    for _ in range(100):
        world = replace(random_world(chance), faults={}, test_fails=frozenset())
        done = play(cell, settings(seeds=4), world)
        means = {rate: sum(world.quality(Trial(rate, s)) for s in range(4)) / 4 for rate in RATES}
        assert rate_of(done.step) == max(means, key=lambda rate: means[rate])
        assert len(done.carried_out) == 4 * 4 + 4


# ---- Optuna


def settings_with_search_seeds(count: int) -> StudySettings:
    return settings((1e-5, 1e-1), name="optuna", trials=12, seeds_of_search=count)


def test_optuna_proposes_rates_between_the_ends_one_after_the_other(cell: Cell) -> None:
    pytest.importorskip("optuna", reason="fptkit[optuna] is not installed")
    chosen = settings_with_search_seeds(1)
    done = play(cell, chosen, World(peak_at(1e-3)))
    rates = {trial.learning_rate for trial in done.outcomes}
    assert len(rates) == 12
    assert all(1e-5 <= rate <= 1e-1 and float(f"{rate:.3g}") == rate for rate in rates)
    best = min(rates, key=lambda rate: abs(math.log10(rate / 1e-3)))
    assert rate_of(done.step) == best
    assert abs(math.log10(best / 1e-3)) < 0.5
    assert len(done.carried_out) == 12 + 2 + 3
    first = next_step(chosen, cell, {})
    assert (len(first.requests), first.reason) == (1, "search: 0 of 1 runs ended, rate 1 of 12")


@pytest.mark.slow
def test_each_seed_gets_proposals_of_its_own(cell: Cell) -> None:
    pytest.importorskip("optuna", reason="fptkit[optuna] is not installed")
    chosen = per_seed((1e-5, 1e-1), seeds=3, name="optuna", trials=6)
    done = play(cell, chosen, World(lambda t: peak_at(10.0 ** -(t.seed + 2))(t)), workers=3)
    tried = {seed: {t.learning_rate for t in done.outcomes if t.seed == seed} for seed in range(3)}
    assert [len(rates) for rates in tried.values()] == [6, 6, 6]
    assert not tried[0] & tried[1]
    for seed, rates in tried.items():
        best = min(rates, key=lambda rate: abs(math.log10(rate * 10.0 ** (seed + 2))))
        assert done.step.chosen_rates[seed] == best
    assert done.step.common_rate is None
    assert len(done.carried_out) == 3 * 6 + 3
    alone = play(cell, chosen.model_copy(update={"seeds": (1,)}), World(lambda t: peak_at(1e-3)(t)))
    assert {t.learning_rate for t in alone.outcomes} == tried[1]


@pytest.mark.slow
def test_optuna_is_replayed_from_the_outcomes(cell: Cell) -> None:
    pytest.importorskip("optuna", reason="fptkit[optuna] is not installed")
    chosen = settings_with_search_seeds(2)
    spoilt = play(cell, chosen, World(peak_at(1e-3)))
    middle = sorted(trial.learning_rate for trial in spoilt.outcomes)[3]
    world = World(peak_at(1e-3), {Trial(middle, 0): ("diverged", 10)})
    whole = play(cell, chosen, world)
    for until in (1, 5, 13, 25):
        killed = play(cell, chosen, world, until=until, workers=2)
        left = {t: replace(o, status="lost") if o.status == "running" else o for t, o in killed.outcomes.items()}
        rest = play(cell, chosen, world, start=left, workers=2, order=random.Random(until))
        assert (rest.step, rest.outcomes) == (whole.step, whole.outcomes)
    other = replace(cell, name=CellName("xor", "another arm"))
    assert next_step(chosen, other, {}).requests != next_step(chosen, cell, {}).requests


def test_without_optuna_the_search_says_what_to_install(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    import_module = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "optuna":
            raise ImportError(name)
        return import_module(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    unasked = replace(cell, name=CellName("xor", "never asked for before"))
    with pytest.raises(UsageError, match=r"pip install 'fptkit\[optuna\]'"):
        next_step(settings_with_search_seeds(1), unasked, {})


def test_the_search_writes_nothing(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a pure function: the outcomes are not changed."""
    monkeypatch.chdir(tmp_path)
    outcomes = play(cell, settings(), World(peak_at(3e-3)), until=5).outcomes
    before = dict(outcomes)
    next_step(settings(), cell, outcomes)
    assert outcomes == before
    assert list(tmp_path.iterdir()) == []
