"""Runs that vary one source of randomness: which are made, that nothing else follows from them, and their deviation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fptkit.errors import RecipeError
from fptkit.lab.studies.address import address_of
from fptkit.lab.studies.cells import recipe_for_trial
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.noise import deviation_interval
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Cell, CellFacts, Request, Study, Trial, run_name
from fptkit.lab.studies.results import StudyResults
from fptkit.lab.studies.search import Step, next_step
from fptkit.lab.studies.summarise import results_of

STUDY = """
tasks:
  digits: {task: {name: mnist, source: [digits]}, train: {data_fraction: 0.5}}
arms:
  one: {backbone: {name: random, blocks: 1, width: 16, heads: 2, size: nano}}
  two: {backbone: {name: random, blocks: 2, width: 16, heads: 2, size: nano}}
learning_rates: [1e-3, 1e-2]
budget: {steps: 40}
seeds: [7, 3, 5]
vary: [data, init]
"""
SOURCES = ("data", "init")


def load(folder: Path, text: str = STUDY, *overrides: str) -> Study:
    (folder / "mine.yaml").write_text(text)
    return load_study(str(folder / "mine.yaml"), overrides=overrides)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load(tmp_path)


def value(trial: Trial) -> float:
    """Validation of a trial: seed 7 does best at 1e-2, the others at 1e-3. Test results are 0.1 lower.

    When the order alone is varied, the others do as well at 1e-2 as they do at 1e-3.
    """
    liked = 1e-2 if trial.seed == 7 else 1e-3
    own = {"": 0.7, "init": 0.2, "data": 0.4, "order": 0.75}[trial.varied]
    return round(own + trial.seed / 100 + (0.05 if trial.learning_rate == liked else 0.0), 6)


def ended(trial: Trial, status: str, *, tested: bool) -> Outcome:
    summary = {
        "status": status,
        "steps": 40,
        "selection": {"metric": "accuracy", "higher_is_better": True},
        "fractions": ["accuracy"],
        "metrics": {
            "validation": {"accuracy": value(trial)},
            "test": {"test": {"accuracy": value(trial) - 0.1}} if tested else {},
        },
    }
    name = f"{trial.learning_rate}{trial.seed}{trial.varied}"
    return Outcome(name.ljust(64, "-"), status, step=40, summary=summary)  # type: ignore[arg-type]


def carry_out(request: Request, faults: Mapping[Trial, str]) -> Outcome:
    trial = request.trial
    if trial in faults:
        return replace(ended(trial, "running", tested=False), status=faults[trial], summary={}, reason="why")  # type: ignore[arg-type]
    return ended(trial, "finished" if request.open_test else "validated", tested=request.open_test)


def play(study: Study, cell: Cell, faults: Mapping[Trial, str] | None = None) -> tuple[Step, dict[Trial, Outcome]]:
    """Carry out everything a cell requests, one request at a time."""
    outcomes: dict[Trial, Outcome] = {}
    for _ in range(1000):
        step = next_step(study.settings, cell, study.settings.first_seeds, outcomes)
        if not step.requests:
            return step, outcomes
        request = step.requests[0]
        outcomes[request.trial] = carry_out(request, faults or {})
    pytest.fail("the cell never ends")


def all_at_once(settings: Any, cell: Any, seeds: tuple[int, ...]) -> dict[Trial, Outcome]:
    """Carry out everything a cell requests, all requests of a step together."""
    outcomes: dict[Trial, Outcome] = {}
    for _ in range(1000):
        requests = next_step(settings, cell, seeds, outcomes).requests
        if not requests:
            return outcomes
        outcomes.update({request.trial: carry_out(request, {}) for request in requests})
    pytest.fail("the cell never ends")


def summarised(study: Study, faults: Mapping[Trial, str] | None = None) -> StudyResults:
    played = {cell.name: play(study, cell, faults)[1] for cell in study.cells}
    return results_of(study.facts, lambda name, trial: played[name].get(trial, Outcome("-" * 64)), Path("nowhere"))


@pytest.mark.parametrize("search", ["grid", "halving", "optuna"])
@pytest.mark.parametrize("choose", ["per_seed", "common"])
def test_each_source_gets_every_seed_but_the_first(tmp_path: Path, choose: str, search: str) -> None:
    if search == "optuna":
        pytest.importorskip("optuna")
    with_it, without = (
        load(tmp_path, STUDY, f"choose={choose}", f"search.name={search}", f"vary=[{sources}]")
        for sources in ("data, init", "")
    )
    step, outcomes = play(with_it, with_it.cells[0])
    expected, others = play(without, without.cells[0])
    assert {trial: one for trial, one in outcomes.items() if not trial.varied} == others
    assert (step.chosen_rates, step.reason, step.done) == (expected.chosen_rates, expected.reason, True)
    rate = step.chosen_rates[7]
    varied = [trial for trial in outcomes if trial.varied]
    assert varied == [Trial(rate, seed, name) for name in SOURCES for seed in (3, 5)]
    assert all(outcomes[trial].status == "finished" for trial in varied)
    assert list(outcomes)[-4:] == varied, "begun after everything else"


def test_comparisons_do_not_wait_for_them(study: Study) -> None:
    """The tests of the seeds are requested first, and a cell is complete without them."""
    cell, outcomes = study.cells[0], dict[Trial, Outcome]()
    step = next_step(study.settings, cell, (7, 3, 5), outcomes)
    while step.requests and not any(request.trial.varied for request in step.requests):
        outcomes.update({request.trial: carry_out(request, {}) for request in step.requests})
        step = next_step(study.settings, cell, (7, 3, 5), outcomes)
    assert [(bool(request.trial.varied), request.open_test) for request in step.requests] == (
        [(False, True)] * 4 + [(True, False)] * 4  # the tests: of each seed, and of the first at the common rate
    )


def test_they_wait_until_no_seed_can_be_added(study: Study) -> None:
    cell, outcomes = study.cells[0], dict[Trial, Outcome]()
    for _ in range(1000):
        step = next_step(study.settings, cell, (7, 3, 5), outcomes, growing=True)
        if not step.requests:
            break
        outcomes.update({request.trial: carry_out(request, {}) for request in step.requests})
    assert step.done
    assert not any(trial.varied for trial in outcomes)
    assert any(r.trial.varied for r in next_step(study.settings, cell, (7, 3, 5), outcomes).requests)


@pytest.mark.parametrize("varied", ["data, init", "data, order"])
def test_nothing_follows_from_them_but_noise(tmp_path: Path, varied: str) -> None:
    with_it, without = (summarised(load(tmp_path, STUDY, f"vary=[{sources}]")) for sources in (varied, ""))
    assert without.noise == ()
    assert any("edge of the grid" in warning for warning in without.warnings)
    assert len(with_it.runs) == len(without.runs) + 2 * 4
    assert [row for row in with_it.runs if not row.varied] == list(without.runs)
    only = {"noise": (), "runs": ()}
    assert with_it.model_copy(update=only) == without.model_copy(update=only)


def test_the_noise_of_each_source(study: Study) -> None:
    results = summarised(study)
    assert [(one.task, one.arm, one.source) for one in results.noise] == [
        ("digits", arm, name) for arm in ("one", "two") for name in SOURCES
    ]
    data, init = results.noise[:2]
    # At the rate of the first seed, which the others do not like.
    assert data.values == pytest.approx((0.7 + 0.07 + 0.05 - 0.1, 0.4 + 0.03 - 0.1, 0.4 + 0.05 - 0.1))
    assert init.values == pytest.approx((0.72, 0.13, 0.15))
    for one in (data, init):
        assert one.deviation == pytest.approx(np.std(one.values, ddof=1))
        assert one.interval is not None
        assert one.interval[0] < one.deviation < one.interval[1]
        assert one.diverged == 0
    assert [(row.varied, row.seed, row.learning_rate) for row in results.runs if row.arm == "one"][-4:] == [
        (name, seed, 1e-2) for name in SOURCES for seed in (3, 5)
    ]
    assert StudyResults.model_validate_json(results.model_dump_json()) == results


def test_runs_that_end_without_a_result(study: Study) -> None:
    diverged, failed = Trial(1e-2, 3, "init"), Trial(1e-2, 5, "data")
    faults = {diverged: "diverged", failed: "failed"}
    step, _ = play(study, study.cells[0], faults)
    assert (step.done, step.reason) == (True, "data seed 5 failed, init seed 3 diverged")
    results = summarised(study, faults)
    data, init = results.noise[:2]
    assert (len(data.values), data.interval, data.diverged) == (2, None, 0)
    assert (len(init.values), init.interval, init.diverged) == (2, None, 1)
    assert data.deviation is not None
    assert [(failure.varied, failure.seed, failure.status) for failure in results.failures] == [
        ("data", 5, "failed")
    ] * 2
    cell = results.cell("digits", "one")
    assert cell is not None
    assert cell.complete
    assert cell.reason == step.reason


def test_without_a_rate_of_the_first_seed_there_are_none(study: Study) -> None:
    faults = {Trial(rate, 7): "diverged" for rate in (1e-3, 1e-2)}
    step, outcomes = play(study, study.cells[0], faults)
    assert step.done
    assert not any(trial.varied for trial in outcomes)
    assert summarised(study, faults).noise == ()


def test_data_are_varied_where_runs_draw_some(tmp_path: Path) -> None:
    text = STUDY.replace("arms:", "  whole: {task: {name: mnist, source: [digits]}}\narms:")
    found = {(one.task, one.source) for one in summarised(load(tmp_path, text)).noise}
    assert found == {("digits", "data"), ("digits", "init"), ("whole", "init")}
    text = STUDY.replace(", train: {data_fraction: 0.5}", "") + "data_fractions: [0.1, 1]\n"
    shares = {(one.data_fraction, one.source) for one in summarised(load(tmp_path, text)).noise}
    assert shares == {(0.1, "data"), (0.1, "init"), (1.0, "init")}


def test_no_split_is_drawn_twice(tmp_path: Path) -> None:
    """The runs of the study's seeds all have the split of seed 0, so that seed does not vary it."""
    (tmp_path / "own.csv").write_text("a,b,label\n" + "1.5,2,yes\n3,4.5,no\n" * 50)
    own = "{task: {name: table, source: 'path:own.csv', target: label}"
    text = STUDY.replace("{task: {name: mnist, source: [digits]}, train: {data_fraction: 0.5}}", own + "}")
    text = text.replace("[7, 3, 5]", "[7, 0, 5]")

    def varied(text: str) -> list[tuple[str, int]]:
        study = load(tmp_path, text)
        return [(trial.varied, trial.seed) for trial in play(study, study.cells[0])[1] if trial.varied]

    assert varied(text) == [("data", 5), ("init", 0), ("init", 5)]
    share = text.replace(own, own + ", train: {data_fraction: 0.5}")
    assert varied(share) == [("data", 0), ("data", 5), ("init", 0), ("init", 5)]


def test_until_decided_they_are_those_of_the_first_seeds(tmp_path: Path) -> None:
    text = STUDY.replace("[7, 3, 5]", "{until: decided, at_least: 4}")
    study = load(tmp_path, text)
    seeds = tuple(range(9))
    outcomes = all_at_once(study.settings, study.cells[0], seeds)
    assert {trial.seed for trial in outcomes if not trial.varied} == set(seeds)
    varied = [(trial.varied, trial.seed) for trial in outcomes if trial.varied]
    assert sorted(varied) == [(name, seed) for name in SOURCES for seed in (1, 2, 3)]


def test_the_recipe_of_such_a_trial(study: Study) -> None:
    cell = study.cells[0]
    plain = recipe_for_trial(cell, Trial(1e-2, 7)).recipe
    varied = recipe_for_trial(cell, Trial(1e-2, 3, "init")).recipe
    assert (plain.train.seed, plain.train.seeds.init) == (7, None)
    assert (varied.train.seed, varied.train.seeds.init, varied.train.seeds.order) == (7, 3, None)
    assert [varied.train.seed_of(name) for name in ("init", "order", "data")] == [3, 7, 7]  # type: ignore[arg-type]
    back = varied.train.model_copy(update={"seeds": plain.train.seeds})
    assert varied.model_copy(update={"train": back}) == plain
    assert run_name(cell.name, Trial(1e-2, 3, "init")) == "one on digits, rate 0.01, init seed 3"
    trials = [Trial(1e-2, 3, name) for name in ("", "init", "order", "data")]
    assert len({address_of(recipe_for_trial(cell, trial).recipe, "code") for trial in trials}) == 4
    assert len(set(trials)) == 4
    assert sorted(trials) == [trials[0], trials[3], trials[1], trials[2]]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("vary: [data, init]", "vary: [init, init]", "vary: init is listed twice"),
        ("vary: [data, init]", "vary: [dropout]", "vary[0]: expected one of init, order, data"),
        (", train: {data_fraction: 0.5}", "", "vary[0]: nothing would vary: every run uses its whole training split"),
        ("[7, 3, 5]", "[7]", "vary: needs at least two seeds"),
        (
            "{data_fraction: 0.5}",
            "{data_fraction: 0.5, seeds: {init: 1}}",
            "train.seeds.init: the study's vary replace",
        ),
        (
            "heads: 2, size: nano}}",
            "heads: 2, size: nano}, train: {seeds: {data: 1}}}",
            "train.seeds.data: the study's",
        ),
    ],
)
def test_what_cannot_be_varied(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in STUDY
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, STUDY.replace(old, new))
    told = [f"{one.path}: {one.message}" for one in caught.value.problems]
    assert [text.startswith(problem) for text in told] == [True] * (2 if "data: 1" in new else 1), told


def test_a_base_that_fixes_a_varied_seed_is_named(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("train: {seeds: {init: 4}}\n")
    text = STUDY.replace("  one: {", "  one: {extends: ./base.yaml, ")
    with pytest.raises(RecipeError, match=r"base\.yaml:1 +train\.seeds\.init"):
        load(tmp_path, text)
    load(tmp_path, text.replace("data, init", "data, order"))


def test_seeds_that_recipes_fix_are_reported(tmp_path: Path) -> None:
    text = STUDY.replace("  one: {", "  one: {train: {seeds: {order: 0}}, ")
    results = summarised(load(tmp_path, text))
    assert [cell.held for cell in results.cells] == [{"order": 0}, {}]
    (warning,) = [one for one in results.warnings if "fix the seed" in one]
    assert "(order)" in warning
    assert warning.endswith("one on digits")
    assert not any("fix the seed" in one for one in summarised(load(tmp_path)).warnings)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # From a printed table of chi-squared: 0.0506 and 7.378, 0.484 and 11.143, 2.700 and 19.023.
    [(3, (2 / 7.378) ** 0.5, (2 / 0.0506) ** 0.5), (5, (4 / 11.143) ** 0.5, (4 / 0.484) ** 0.5), (10, 0.688, 1.826)],
)
def test_the_interval_of_a_deviation(count: int, low: float, high: float) -> None:
    found = deviation_interval(1.0, count)
    assert found == pytest.approx((low, high), rel=2e-3)
    assert deviation_interval(0.02, count) == pytest.approx((0.02 * low, 0.02 * high), rel=2e-3)


def test_the_interval_covers_the_deviation() -> None:
    drawn = np.random.default_rng(0).normal(5.0, 3.0, (4000, 4))
    intervals = [deviation_interval(float(row.std(ddof=1)), 4) for row in drawn]
    covered = np.mean([found is not None and found[0] <= 3.0 <= found[1] for found in intervals])
    assert abs(covered - 0.95) < 4 * (0.95 * 0.05 / 4000) ** 0.5


def test_there_is_no_interval_of_two_values_or_of_equal_ones() -> None:
    assert deviation_interval(0.1, 2) is None
    assert deviation_interval(0.0, 5) is None


def test_facts_of_a_cell_say_whether_it_draws_data(study: Study) -> None:
    facts: CellFacts = study.facts.cells[0]
    assert facts.draws_data
    only_init, _ = play(study, study.cells[0])
    assert only_init.done
    outcomes = all_at_once(study.settings, replace(facts, draws_data=False), (7, 3, 5))
    assert {trial.varied for trial in outcomes} == {"", "init"}
