"""Comparisons: each figure against scipy or statsmodels, and what is corrected with what."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW
from study_facts import Table, facts, scores

from fptkit.lab.studies.comparisons import asked_pairs, comparisons_of, lift_pairs
from fptkit.lab.studies.conclusions import Conclusions, conclusions_of
from fptkit.lab.studies.plan import CellName, StudyFacts
from fptkit.lab.studies.results import Measure
from fptkit.lab.studies.verdicts import Comparison

A = (0.90, 0.92, 0.91, 0.89, 0.93)
B = (0.86, 0.89, 0.86, 0.86, 0.88)


def concluded(study: StudyFacts, table: Table, **more: Any) -> Conclusions:
    return conclusions_of(study, scores(study, table, **more))


def one(a: Any, b: Any, **settings: Any) -> Comparison:
    study = facts(comparisons=(("a", "b"),), **settings)
    (found,) = concluded(study, {("xor", "a"): a, ("xor", "b"): b}).comparisons
    return found


def drawn(seed: int, *means: float, deviation: float = 0.01, seeds: int = 5) -> list[tuple[float, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(map(float, rng.normal(mean, deviation, seeds))) for mean in means]


def test_one_comparison_agrees_with_scipy_and_statsmodels() -> None:
    found = one(A, B)
    theirs = scipy.stats.ttest_rel(A, B)
    assert (found.verdict, found.seeds, found.degrees) == ("better", (0, 1, 2, 3, 4), 4)
    assert found.differences == pytest.approx(np.subtract(A, B))
    assert found.mean == pytest.approx(np.subtract(A, B).mean())
    assert found.t == pytest.approx(theirs.statistic, rel=1e-9)
    assert found.p == found.p_holm == pytest.approx(theirs.pvalue, rel=1e-9)
    bounds = theirs.confidence_interval(0.95)
    assert found.interval == pytest.approx((bounds.low, bounds.high))
    assert found.margin == 0.01
    assert (
        found.p_same
        == found.p_same_holm
        == pytest.approx(DescrStatsW(np.subtract(A, B)).ttost_mean(-0.01, 0.01)[0], rel=1e-9)
    )
    assert (found.p_exact, found.interval_bca, found.further_seeds) == (None, None, None)
    assert found.note == ""


def test_arms_within_the_margin_are_the_same() -> None:
    a = (0.900, 0.902, 0.901, 0.899, 0.903)
    b = (0.901, 0.901, 0.902, 0.898, 0.903)
    found = one(a, b)
    assert (found.verdict, found.further_seeds) == ("same", None)
    assert found.p_same_holm is not None
    assert found.p_same_holm < 0.05 <= (found.p_holm or 0)
    assert one(a, b, margin=0.05).verdict == "undecided", "a twentieth of a point"
    assert one(a, b, margin={"xor": 0.1}).margin == pytest.approx(0.001)
    assert one(a, b, margin={"other": 0.1}).margin == pytest.approx(0.01)


def test_a_small_difference_that_is_found_is_no_equivalence() -> None:
    found = one((0.904, 0.9051, 0.903, 0.902, 0.906), (0.900, 0.901, 0.899, 0.898, 0.902))
    assert (found.verdict, found.note) == ("better", "the difference is below the margin")
    assert found.p_same is not None
    assert found.p_same < 0.05


def test_an_undecided_comparison_says_how_many_further_seeds_would_decide() -> None:
    a, b = drawn(3, 0.90, 0.91, deviation=0.02)
    found = one(a, b)
    assert found.verdict == "undecided"
    assert found.resolution is not None
    assert found.resolution > abs(found.mean or 0)
    assert found.further_seeds is not None
    assert found.further_seeds > 0
    with_more_tests = conclusions_of(study := facts(("xor", "memory", "mnist")), scores(study, three_tasks(a, b)))
    assert (with_more_tests.comparisons[0].further_seeds or 1001) > found.further_seeds, "they are corrected together"


@pytest.mark.parametrize(("shift", "more"), [(0.0, 2), (0.05, 3)])
def test_equal_differences_say_how_many_further_seeds_would_decide(shift: float, more: int) -> None:
    values = (0.5, 0.6, 0.7, 0.55, 0.65, 0.52)
    found = one([value + shift for value in values[:3]], values[:3])
    assert (found.verdict, found.resolution, found.further_seeds) == ("undecided", None, more)
    assert one([value + shift for value in values[: 2 + more]], values[: 2 + more]).verdict == "undecided"
    assert one([value + shift for value in values[: 3 + more]], values[: 3 + more]).verdict in ("same", "better")


def three_tasks(a: Any, b: Any) -> dict[tuple[str, str], Any]:
    return {(task, arm): values for task in ("xor", "memory", "mnist") for arm, values in (("a", a), ("b", b))}


def test_six_pairs_get_an_exact_test_and_a_bootstrap() -> None:
    a, b = drawn(5, 0.9, 0.89, seeds=6)
    found = one(a, b, seeds=tuple(range(6)))
    differences = np.subtract(a, b)
    sums = [abs(np.dot(signs, differences)) for signs in product((1, -1), repeat=6)]
    assert found.p_exact == pytest.approx(np.mean([s >= abs(differences.sum()) - 1e-12 for s in sums]))
    assert found.interval_bca is not None
    assert found.interval_bca[0] < (found.mean or 0) < found.interval_bca[1]


def test_metrics_in_their_own_unit_have_no_margin_unless_it_is_given() -> None:
    error = {"metrics": {"xor": Measure("mean_squared_error")}}
    study = facts(comparisons=(("a", "b"),))
    (found,) = concluded(study, {("xor", "a"): A, ("xor", "b"): B}, **error).comparisons
    assert (found.margin, found.p_same, found.p_same_holm) == (None, None, None)
    study = facts(comparisons=(("a", "b"),), margin=2.0)
    (found,) = concluded(study, {("xor", "a"): A, ("xor", "b"): B}, **error).comparisons
    assert found.margin == 2.0


def test_lower_is_better_turns_the_difference() -> None:
    study = facts(comparisons=(("a", "b"),))
    given = {name: replace(cell, higher_is_better=False) for name, cell in scores(study, two(A, B)).items()}
    (found,) = conclusions_of(study, given).comparisons
    assert (found.verdict, found.mean) == ("worse", pytest.approx(np.subtract(B, A).mean()))


def two(a: Any, b: Any) -> dict[tuple[str, str], Any]:
    return {("xor", "a"): a, ("xor", "b"): b}


@pytest.mark.parametrize(
    ("a", "b", "verdict", "note"),
    [
        (A[:2], B[:2], "not enough evidence", "2 seeds in common, a test needs 3"),
        (A[:1], B, "not enough evidence", "1 seed in common, a test needs 3"),
        ((), B, "not enough evidence", "a has no test result"),
        (A, (), "not enough evidence", "b has no test result"),
        ((), (), "not enough evidence", "a and b have no test result"),
        (
            (0.9,) * 5,
            (0.8,) * 5,
            "undecided",
            "all differences are equal: sign-flip test instead of Student's t, its smallest p is 0.0625",
        ),
        ((0.9,) * 5, (0.9,) * 5, "same", ""),
        (A[:3], B, "better", "without seeds 3, 4: no test result of a"),
    ],
)
def test_what_a_comparison_lacks_is_in_its_note(a: Any, b: Any, verdict: str, note: str) -> None:
    found = one(a, b)
    assert (found.verdict, found.note) == (verdict, note)
    if verdict == "not enough evidence":
        assert (found.p, found.interval, found.t, found.resolution, found.p_same) == (None,) * 5


def test_a_seed_without_a_result_leaves_its_pair_out() -> None:
    study = facts(comparisons=(("a", "b"),))
    given = scores(study, two(A, B))
    lost = given[CellName("xor", "b")]
    given[CellName("xor", "b")] = replace(lost, test={seed: lost.test[seed] for seed in (4, 0, 2)})
    (found,) = conclusions_of(study, given).comparisons
    assert found.seeds == (0, 2, 4)
    assert found.differences == pytest.approx([A[seed] - B[seed] for seed in (0, 2, 4)])
    assert found.note == "without seeds 1, 3: no test result of b"


def test_arms_with_different_metrics_are_not_compared() -> None:
    study = facts(comparisons=(("a", "b"),))
    given = scores(study, two(A, B))
    given[CellName("xor", "b")] = replace(given[CellName("xor", "b")], metric=Measure("f1", fraction=True))
    (found,) = conclusions_of(study, given).comparisons
    assert (found.verdict, found.differences) == ("not enough evidence", ())
    assert found.note == "the arms have different metrics: accuracy and f1"


# ---- Holm within a question


def many(study: StudyFacts) -> dict[tuple[str, str], tuple[float, ...]]:
    return {
        (task, arm): drawn(10 * place + number, 0.8 + 0.004 * number)[0]
        for place, task in enumerate(study.tasks)
        for number, arm in enumerate(study.arms)
    }


def test_p_is_corrected_over_the_tasks_of_each_pair_of_arms() -> None:
    study = facts(("xor", "memory", "mnist"), ("a", "b", "c"))
    found = concluded(study, many(study)).comparisons
    assert len(found) == 6
    for arm in ("b", "c"):
        own = [comparison for comparison in found if comparison.a == arm]
        for plain, corrected in (("p", "p_holm"), ("p_same", "p_same_holm")):
            theirs = multipletests([getattr(c, plain) for c in own], method="holm")[1]
            assert [getattr(c, corrected) for c in own] == pytest.approx(list(theirs), rel=1e-12)


def test_a_pair_asked_for_in_both_directions_counts_once() -> None:
    study = facts(("xor", "memory"), comparisons=(("a", "b"), ("b", "a")))
    found = concluded(study, many(study)).comparisons
    forth, back = found[0], found[1]
    assert (forth.p_holm, forth.mean) == (back.p_holm, pytest.approx(-(back.mean or 0)))
    assert forth.interval is not None
    assert back.interval == pytest.approx((-forth.interval[1], -forth.interval[0]))
    theirs = multipletests([found[0].p, found[2].p], method="holm")[1]
    assert [found[0].p_holm, found[2].p_holm] == pytest.approx(list(theirs))


def test_a_comparison_without_a_test_does_not_count() -> None:
    study = facts(("xor", "memory"))
    table = {**many(study), ("memory", "b"): B[:2]}
    first, second = concluded(study, table).comparisons
    assert (first.p_holm, second.p_holm) == (first.p, None)


def test_data_fractions_belong_to_the_same_question() -> None:
    study = facts(("xor",), fractions=(0.1, 1.0))
    found = concluded(study, many(study)).comparisons
    assert [comparison.data_fraction for comparison in found] == [0.1, 1.0]
    assert found[0].p is not None
    assert found[0].p_holm == pytest.approx(min(1, 2 * found[0].p)), "both fractions were given the same scores"


# ---- which pairs


def test_controls_of_the_references_architecture_give_lifts() -> None:
    study = facts(
        arms=("a", "frozen_random", "unfrozen_random", "output_only"),
        freezing={"unfrozen_random": "full", "output_only": "output_only"},
        controls=("frozen_random", "unfrozen_random", "output_only"),
    )
    assert [(pair.a, pair.b) for pair in lift_pairs(study)] == [("a", "frozen_random")]
    found = concluded(study, many(study))
    same = found.comparisons[0]
    assert (found.lifts[0].mean, found.lifts[0].p_holm) == (pytest.approx(-(same.mean or 0)), same.p_holm)
    assert same.p_holm == same.p, "one task: the lift is the same comparison, not a second test"
    assert (found.answers[0].a, found.answers[0].b) == ("a", "frozen_random")
    assert len(found.answers) == 3


def test_an_arm_called_like_a_control_gives_no_lift() -> None:
    assert lift_pairs(facts(arms=("a", "frozen_random"))) == []


def test_cells_that_do_not_exist_are_not_compared() -> None:
    study = facts(("xor", "memory"))
    study = replace(study, cells=tuple(cell for cell in study.cells if cell.name != CellName("memory", "b")))
    assert [(pair.task, pair.a, pair.b) for pair in asked_pairs(study)] == [("xor", "b", "a")]


def test_the_order_of_cells_and_seeds_does_not_matter() -> None:
    study = facts(("xor", "memory"), ("a", "b", "c"))
    given = scores(study, many(study))
    expected = conclusions_of(study, given)
    for order in list(permutations(given))[::97]:
        again = {name: replace(given[name], test=dict(given[name].test)) for name in order}
        assert conclusions_of(study, again) == expected


def test_a_study_of_one_arm_compares_nothing() -> None:
    study = facts(arms=("a",))
    assert concluded(study, {("xor", "a"): A}) == Conclusions((), (), (), ())
    assert comparisons_of([], [], {}, study) == ()
