"""Seeds that are added until comparisons are decided, on made-up test results: the very function that studies call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from fptkit.lab.studies.conclusions import Conclusions, conclusions_of
from fptkit.lab.studies.pairs import Scores
from fptkit.lab.studies.plan import CellName, StudyFacts
from fptkit.lab.studies.results import Measure
from fptkit.lab.studies.seeds import CellSeeds, SeedResult, seeds_of_cells
from fptkit.lab.studies.sequential import anytime_p, anytime_same
from tests.helpers.study_facts import ACCURACY, facts

Row = Sequence[float | None]
"""Test result of each seed; None for one at which every run failed or diverged."""

Table = Mapping[CellName, Row]

THREE_TASKS = ("xor", "memory", "mnist")
AT_MOST = 20


def study(tasks: Sequence[str] = ("xor",), arms: Sequence[str] = ("a", "b"), **settings: Any) -> StudyFacts:
    until = {"until": "decided", **settings.pop("until", {})}
    return facts(tasks, arms, seeds=until, **settings)


def table(study: StudyFacts, seed: int, means: Mapping[str, float] | None = None, deviation: float = 0.01) -> Table:
    """Normal test results; ``means`` are those of the arms that are not at 0.8."""
    rng = np.random.default_rng(seed)
    return {
        cell.name: rng.normal((means or {}).get(cell.name.arm, 0.8), deviation, AT_MOST).tolist()
        for cell in study.cells
    }


def result_of(given: Table, made: Callable[[CellName, int], bool], metric: Measure = ACCURACY) -> Any:
    """What each seed has given, if ``made`` says that its runs are over."""

    def result(name: CellName, seed: int) -> SeedResult:
        if not made(name, seed):
            return SeedResult(over=False)
        value = given[name][seed]
        return SeedResult(over=True) if value is None else SeedResult(True, value, metric)

    return result


def asked(study: StudyFacts, given: Table) -> CellSeeds:
    """The seeds of a study that made every run it asked for."""
    return seeds_of_cells(study, result_of(given, lambda name, seed: True))


def concluded(study: StudyFacts, given: Table, seeds: CellSeeds, metrics: Mapping[str, Measure] | None = None) -> Any:
    scores = {
        name: Scores(
            {seed: given[name][seed] for seed in own if given[name][seed] is not None},
            own,
            (metrics or {}).get(name.task, ACCURACY),
            complete=name not in seeds.growing,
        )
        for name, own in seeds.seeds.items()
    }
    return conclusions_of(study, scores)


def verdicts(found: Conclusions) -> list[str]:
    return [one.verdict for one in (*found.comparisons, *found.lifts)]


def numbers(found: CellSeeds) -> dict[str, int]:
    return {str(name): len(seeds) for name, seeds in found.seeds.items()}


# The rule, against a second one that was written from its description


def holm_rejects(p: Sequence[float]) -> set[int]:
    """Places of the p-values that Holm's method rejects, step by step."""
    rejected: set[int] = set()
    for place in sorted(range(len(p)), key=lambda place: p[place]):
        if p[place] * (len(p) - len(rejected)) >= 0.05:
            break
        rejected.add(place)
    return rejected


def naive_rounds(rows: Sequence[tuple[Row, Row]], at_least: int, at_most: int, margin: float) -> list[int]:
    """Number of seeds that each comparison of a question asks for."""
    asked = [at_least] * len(rows)
    closed = [False] * len(rows)
    while True:
        p, same = [], []
        for number, (a, b) in zip(asked, rows, strict=True):
            pairs = [(x, y) for x, y in zip(a[:number], b[:number], strict=True) if x is not None and y is not None]
            differences = np.array([x - y for x, y in pairs])
            p.append(min(anytime_p(differences), default=1.0))
            same.append(min(anytime_same(differences, margin), default=1.0))
        rejected = holm_rejects(p) | holm_rejects(same)
        closed = [done or place in rejected for place, done in enumerate(closed)]
        if all(closed) or max(asked) == at_most:
            return asked
        asked = [number if done else number + 1 for number, done in zip(asked, closed, strict=True)]


@pytest.mark.parametrize("seed", range(6))
def test_the_rounds_of_one_question(seed: int) -> None:
    mine = study(THREE_TASKS, until={"at_least": 3 + seed % 3, "at_most": 15}, margin=1.5)
    rng = np.random.default_rng(seed)
    given: dict[CellName, Row] = {
        cell.name: [
            None if rng.random() < 0.1 else float(rng.normal(0.8 + 0.01 * rng.integers(2), 0.01))
            for _ in range(AT_MOST)
        ]
        for cell in mine.cells
    }
    rows = [(given[CellName(task, "a")], given[CellName(task, "b")]) for task in THREE_TASKS]
    expected = naive_rounds(rows, 3 + seed % 3, 15, 0.015)
    found = asked(mine, given)
    assert [len(found.seeds[CellName(task, arm)]) for task in THREE_TASKS for arm in "ab"] == np.repeat(
        expected, 2
    ).tolist()
    assert all(seeds == tuple(range(len(seeds))) for seeds in found.seeds.values())
    assert (found.growing, found.comparisons, found.undecided) == (frozenset(), 3, 0)


def test_a_fixed_number_asks_nothing() -> None:
    def never(name: CellName, seed: int) -> SeedResult:
        raise AssertionError

    found = seeds_of_cells(facts(seeds=(4, 2, 9)), never)
    assert set(found.seeds.values()) == {(4, 2, 9)}
    assert (found.growing, found.comparisons, found.undecided) == (frozenset(), 0, 0)


def test_every_cell_starts_with_at_least() -> None:
    mine = study(arms=("a", "b", "c"), comparisons=(("a", "b"),), until={"at_least": 5})
    found = seeds_of_cells(mine, result_of({}, lambda name, seed: False))
    assert numbers(found) == {"a on xor": 5, "b on xor": 5, "c on xor": 5}
    assert (found.growing, found.undecided) == ({CellName("xor", "a"), CellName("xor", "b")}, 1)


def test_a_cell_without_a_comparison_gets_no_further_seeds() -> None:
    mine = study(arms=("a", "b", "c"), comparisons=(("a", "b"),))
    found = asked(mine, table(mine, 1, deviation=0.1))
    assert numbers(found) == {"a on xor": 20, "b on xor": 20, "c on xor": 3}


def test_a_study_of_one_arm_has_nothing_to_decide() -> None:
    mine = study(arms=("a",))
    found = asked(mine, table(mine, 1))
    assert (numbers(found), found.growing, found.undecided) == ({"a on xor": 3}, frozenset(), 0)


def test_a_clear_difference_stops_early() -> None:
    mine = study()
    found = asked(mine, given := table(mine, 1, {"b": 0.9}))
    (one,) = concluded(mine, given, found).comparisons
    assert len(found.seeds[CellName("xor", "a")]) <= 5
    assert one.verdict == "better"
    assert one.anytime is not None
    assert one.anytime.decided_at == len(one.seeds) == len(found.seeds[CellName("xor", "a")])
    assert one.anytime.p_holm < 0.05
    assert one.further_seeds is None


def test_equal_arms_stop_early_as_the_same() -> None:
    mine = study()
    found = asked(mine, given := table(mine, 1, deviation=0.002))
    (one,) = concluded(mine, given, found).comparisons
    assert len(one.seeds) < 10
    assert one.verdict == "same"
    assert one.anytime is not None
    assert one.anytime.decided_at == len(one.seeds)
    assert one.anytime.p_same_holm is not None
    assert one.anytime.p_same_holm < 0.05 <= one.anytime.p_holm


def test_at_most_ends_it_undecided() -> None:
    mine = study(until={"at_least": 4, "at_most": 9})
    found = asked(mine, given := table(mine, 3, {"a": 0.81}, deviation=0.05))
    assert numbers(found) == {"a on xor": 9, "b on xor": 9}
    assert (found.growing, found.undecided) == (frozenset(), 0)
    (one,) = concluded(mine, given, found).comparisons
    assert (one.verdict, one.anytime and one.anytime.decided_at) == ("undecided", None)
    assert one.further_seeds is not None
    assert one.further_seeds > 0


def test_a_larger_at_most_only_adds_seeds() -> None:
    small, large = (study(THREE_TASKS, ("a", "b", "c"), until={"at_most": most}) for most in (8, 20))
    for seed in range(10):
        given = table(small, seed, {"b": 0.79, "c": 0.805})
        before, after = asked(small, given).seeds, asked(large, given).seeds
        assert all(after[name] == seeds or (len(seeds) == 8 < len(after[name])) for name, seeds in before.items())


def test_failed_seeds_count_as_used_and_give_no_pair() -> None:
    mine = study(until={"at_most": 12})
    given = dict(table(mine, 1, {"b": 0.9}))
    given[CellName("xor", "a")] = [None, *given[CellName("xor", "a")][1:]]
    given[CellName("xor", "b")] = [*given[CellName("xor", "b")][:3], None, *given[CellName("xor", "b")][4:]]
    found = asked(mine, given)
    (one,) = concluded(mine, given, found).comparisons
    assert one.seeds == tuple(seed for seed in range(len(found.seeds[CellName("xor", "a")])) if seed not in (0, 3))
    assert one.anytime is not None
    assert one.anytime.decided_at == len(one.seeds) == len(found.seeds[CellName("xor", "a")]) - 2
    assert "without seed 0: no test result of a" in one.note
    assert "without seed 3: no test result of b" in one.note


def test_an_arm_that_never_has_a_result_gets_no_further_seeds() -> None:
    mine = study(THREE_TASKS, until={"at_least": 4})
    given = {**table(mine, 1, {"b": 0.9}), CellName("xor", "b"): [None] * AT_MOST}
    found = asked(mine, given)
    assert len(found.seeds[CellName("xor", "a")]) == len(found.seeds[CellName("xor", "b")]) == 4
    assert len(found.seeds[CellName("memory", "b")]) > 4, "the others go on"
    assert found.undecided == 0
    assert verdicts(concluded(mine, given, found)) == ["not enough evidence", "better", "better"]


def test_an_arm_with_one_result_goes_on() -> None:
    mine = study(until={"at_most": 7})
    given = {**table(mine, 1), CellName("xor", "b"): [None, 0.8, *[None] * AT_MOST]}
    assert numbers(asked(mine, given)) == {"a on xor": 7, "b on xor": 7}


def test_arms_that_cannot_be_compared_get_no_further_seeds() -> None:
    mine = study()
    given = table(mine, 1)

    def result(name: CellName, seed: int) -> SeedResult:
        metric = ACCURACY if name.arm == "a" else Measure("mean_squared_error")
        return SeedResult(True, given[name][seed], metric)

    assert numbers(seeds_of_cells(mine, result)) == {"a on xor": 3, "b on xor": 3}


def test_comparisons_of_one_question_are_corrected_together_from_the_first_look() -> None:
    alone, three = study(), study(THREE_TASKS)
    given = table(three, 4, {"a": 0.815})
    quick = len(asked(alone, given).seeds[CellName("xor", "a")])
    assert quick < len(asked(three, {**given, CellName("memory", "b"): [None] * AT_MOST}).seeds[CellName("xor", "a")])


def test_two_directions_of_a_comparison_are_one() -> None:
    once, twice = study(comparisons=(("a", "b"),)), study(comparisons=(("a", "b"), ("b", "a")))
    given = table(once, 5, {"a": 0.81})
    assert asked(once, given).seeds == asked(twice, given).seeds
    assert asked(twice, given).comparisons == 1
    assert verdicts(concluded(twice, given, asked(twice, given))) == ["better", "worse"]


def test_a_question_asks_for_the_same_whatever_else_a_study_compares() -> None:
    alone, more = study(arms=("a", "b")), study(arms=("a", "b", "c", "d"))
    for seed in range(10):
        given = table(more, seed, {"b": 0.79, "c": 0.7, "d": 0.8})
        for arm in "ab":
            own = asked(alone, given).seeds[CellName("xor", arm)]
            assert asked(more, given).seeds[CellName("xor", arm)][: len(own)] == own
        assert asked(more, given).seeds[CellName("xor", "b")] == asked(alone, given).seeds[CellName("xor", "b")]


def test_the_margin_of_a_metric_in_its_own_unit() -> None:
    error = Measure("mean_squared_error")
    mine = study(until={"at_most": 10})
    given = table(mine, 1, deviation=0.0001)
    everything = result_of(given, lambda name, seed: True, error)
    assert numbers(seeds_of_cells(mine, everything)) == {"a on xor": 10, "b on xor": 10}, "no margin, nothing to decide"
    with_margin = study(until={"at_most": 10}, margin=0.01)
    assert max(numbers(seeds_of_cells(with_margin, everything)).values()) < 10


# The order in which runs end, and kills


def shuffled(study: StudyFacts, given: Table, order: np.random.Generator) -> tuple[CellSeeds, list[Conclusions]]:
    """Make the runs one by one in random order; forget everything but their results now and then, as a kill does."""
    made: set[tuple[CellName, int]] = set()
    found, stages = seeds_of_cells(study, result_of(given, lambda name, seed: (name, seed) in made)), []
    while missing := [(n, s) for n, seeds in found.seeds.items() for s in seeds if (n, s) not in made]:
        made.add(missing[order.integers(len(missing))])
        found = seeds_of_cells(study, result_of(given, lambda name, seed: (name, seed) in made))
        if all((n, s) in made for n, seeds in found.seeds.items() for s in seeds):
            stages.append(concluded(study, given, found))
    return found, stages


@pytest.mark.parametrize("seed", range(6))
def test_the_order_in_which_runs_end_does_not_matter(seed: int) -> None:
    mine = study(("xor", "memory"), ("a", "b", "c"), until={"at_most": 9})
    given = {
        name: [None if value is not None and value > 0.825 else value for value in row]
        for name, row in table(mine, seed, {"b": 0.79, "c": 0.795}).items()
    }
    expected = asked(mine, given)
    ends = [shuffled(mine, given, np.random.default_rng(order)) for order in range(5)]
    assert [found for found, _ in ends] == [expected] * 5
    assert [stages[-1] for _, stages in ends] == [concluded(mine, given, expected)] * 5


def test_p_values_never_rise_and_decisions_stay() -> None:
    mine = study(THREE_TASKS)
    for seed in range(5):
        given = table(mine, seed, {"b": 0.804})
        before: Sequence[Any] = ()
        for number in range(3, AT_MOST + 1):
            seeds = CellSeeds({cell.name: tuple(range(number)) for cell in mine.cells})
            now = concluded(mine, given, seeds).comparisons
            for old, new in zip(before, now, strict=False):
                assert new.anytime.p <= old.anytime.p
                assert new.anytime.p_holm <= old.anytime.p_holm
                assert new.anytime.p_same_holm <= old.anytime.p_same_holm
                if old.verdict in ("better", "worse"):
                    assert (new.verdict, new.anytime.decided_at) == (old.verdict, old.anytime.decided_at)
                if old.verdict == "same":
                    assert new.verdict in ("same", "better", "worse")
            before = now


def test_further_seeds_of_another_question_count_and_do_not_undo_a_decision() -> None:
    mine = study(arms=("a", "b"))
    given = table(mine, 1, {"b": 0.82})
    own = asked(mine, given)
    more = CellSeeds({name: tuple(range(AT_MOST)) for name in own.seeds})
    (few,), (all_seeds,) = (concluded(mine, given, seeds).comparisons for seeds in (own, more))
    assert (few.verdict, all_seeds.verdict) == ("better", "better")
    assert all_seeds.seeds == tuple(range(AT_MOST))
    assert few.anytime is not None
    assert all_seeds.anytime is not None
    assert few.anytime.decided_at == all_seeds.anytime.decided_at == len(few.seeds)


# Error rates


def wrong(mine: StudyFacts, given: Table) -> list[bool]:
    """For each question, whether a difference is found on any task."""
    found = concluded(mine, given, asked(mine, given)).comparisons
    arms = dict.fromkeys((one.a, one.b) for one in found)
    return [any(one.verdict in ("better", "worse") for one in found if (one.a, one.b) == both) for both in arms]


@pytest.mark.slow
@pytest.mark.parametrize(("arms", "studies"), [(2, 200), (4, 80)])
def test_few_questions_without_an_effect_have_a_verdict(arms: int, studies: int) -> None:
    mine = study(THREE_TASKS, "abcd"[:arms])
    found = np.array([wrong(mine, table(mine, seed, deviation=0.02)) for seed in range(studies)])
    assert found.shape == (studies, arms - 1)
    assert 0.002 < found.mean() <= 0.05


@pytest.mark.slow
def test_few_questions_at_the_margin_are_called_the_same() -> None:
    mine = study(THREE_TASKS)
    found = [
        any(one.verdict == "same" for one in concluded(mine, given, asked(mine, given)).comparisons)
        for given in (table(mine, seed, {"a": 0.81}, deviation=0.005) for seed in range(300))
    ]
    assert 0.002 < np.mean(found) <= 0.05


@pytest.mark.slow
def test_answers_and_ranks_without_an_effect() -> None:
    mine = study(THREE_TASKS, "abc")
    ends = [concluded(mine, given, asked(mine, given)) for given in (table(mine, seed) for seed in range(120))]
    answers = np.array([[one.verdict in ("better", "worse") for one in end.answers] for end in ends])
    ranks = np.array([[one.rank > 1 for one in end.ranks] for end in ends]).reshape(len(ends), 3, 3)
    assert 0.001 < answers.mean(axis=0).max() <= 0.05
    assert 0.001 < ranks.any(axis=2).mean() <= 0.05


@pytest.mark.slow
def test_answers_over_different_metrics_without_an_effect() -> None:
    metrics = {"memory": Measure("mean_squared_error"), "mnist": Measure("perplexity")}
    mine = study(THREE_TASKS)
    ends = [concluded(mine, given, asked(mine, given), metrics) for given in (table(mine, seed) for seed in range(200))]
    assert 0.002 < np.mean([end.answers[0].verdict != "undecided" for end in ends]) <= 0.05
