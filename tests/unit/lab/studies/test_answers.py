"""One answer for each question, over all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.weightstats import DescrStatsW
from study_facts import facts, scores

from fptkit.lab.studies.conclusions import conclusions_of
from fptkit.lab.studies.looks import LEFT
from fptkit.lab.studies.options import UntilDecided
from fptkit.lab.studies.results import Measure
from fptkit.lab.studies.verdicts import Answer

TASKS = ("xor", "memory", "mnist")


def made(*effects: float, seeds: int = 5, deviation: float = 0.01) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Results of two arms on some tasks, for each the difference between their means."""
    rng = np.random.default_rng(7)
    return [
        (
            tuple(map(float, rng.normal(0.8 + effect, deviation, seeds))),
            tuple(map(float, rng.normal(0.8, deviation, seeds))),
        )
        for effect in effects
    ]


def answer(given: Sequence[Any], tasks: Sequence[str] = TASKS, metrics: Any = None, **settings: Any) -> Answer:
    study = facts(tasks, comparisons=(("a", "b"),), **settings)
    table = {
        (task, arm): pair[place] for task, pair in zip(tasks, given, strict=True) for place, arm in enumerate("ab")
    }
    (found,) = conclusions_of(study, scores(study, table, metrics)).answers
    return found


def test_the_answer_is_the_t_test_of_each_seeds_mean_over_tasks() -> None:
    given = made(0.01, 0.02, 0.015)
    found = answer(given)
    means = np.mean([np.subtract(*pair) for pair in given], axis=0)
    theirs = scipy.stats.ttest_1samp(means, 0)
    assert (found.a, found.b, found.places) == ("a", "b", tuple((task, 1.0) for task in TASKS))
    assert (found.seeds, found.degrees) == ((0, 1, 2, 3, 4), 4)
    assert found.mean == pytest.approx(means.mean())
    assert (found.t, found.p) == (pytest.approx(theirs.statistic), pytest.approx(theirs.pvalue))
    bounds = theirs.confidence_interval(0.95)
    assert found.interval == pytest.approx((bounds.low, bounds.high))
    assert (found.verdict, found.note) == ("better", "")
    assert found.p_same == pytest.approx(DescrStatsW(means).ttost_mean(-0.01, 0.01)[0])
    assert found.resolution is not None


def test_a_mean_that_left_an_earlier_interval_is_noted() -> None:
    first = (0.781, 0.783, 0.779, 0.782, 0.778, 0.781, 0.99, 0.97)  # two seeds of the other arm do not learn
    given = [(first, (0.8,) * 8), ((0.81, 0.8, 0.82, 0.79, 0.8, 0.81, 0.8, 0.8), (0.8,) * 8)]
    study = facts(TASKS[:2], comparisons=(("a", "b"),), seeds=UntilDecided(until="decided", at_most=8))
    table = {(task, arm): pair[at] for task, pair in zip(TASKS, given, strict=False) for at, arm in enumerate("ab")}
    found = conclusions_of(study, scores(study, table))
    left, usual = found.comparisons
    assert left.note.endswith(LEFT)
    assert usual.note == ""
    for one in (*found.comparisons, *found.answers):
        assert one.interval is not None
        assert one.interval[0] <= (one.mean or 0) <= one.interval[1]
    alone = answer(given[:1], TASKS[:1], seeds=UntilDecided(until="decided", at_most=8))
    assert (alone.note, alone.interval) == (LEFT, left.interval)


def test_one_task_is_answered_like_its_comparison() -> None:
    given = made(0.02)
    study = facts(comparisons=(("a", "b"),))
    table = {("xor", arm): values for arm, values in zip("ab", given[0], strict=True)}
    concluded = conclusions_of(study, scores(study, table))
    (found,), (comparison,) = concluded.answers, concluded.comparisons
    for key in ("mean", "interval", "t", "degrees", "p", "margin", "p_same", "resolution", "verdict"):
        assert getattr(found, key) == pytest.approx(getattr(comparison, key)), key
    assert (found.q, found.q_degrees, found.p_heterogeneity, found.i2) == (None,) * 4


def test_a_difference_that_varies_between_tasks_is_heterogeneous() -> None:
    alike, unlike = answer(made(0.01, 0.01, 0.01)), answer(made(0.05, 0.0, -0.05))
    assert (alike.q_degrees, unlike.q_degrees) == (2, 2)
    assert alike.p_heterogeneity is not None
    assert unlike.p_heterogeneity is not None
    assert alike.p_heterogeneity > 0.05 > unlike.p_heterogeneity
    assert unlike.i2 is not None
    assert unlike.i2 > 0.8


def test_arms_that_are_the_same_on_the_average_of_tasks() -> None:
    found = answer(made(0.0, 0.0, 0.0, deviation=0.002))
    assert (found.verdict, found.margin) == ("same", 0.01)
    assert answer(made(0.0, 0.0, 0.0, deviation=0.002), margin=0.01).verdict != "same"
    mixed = answer(made(0.0, 0.0, 0.0), margin={"xor": 1, "memory": 2, "mnist": 6})
    assert mixed.margin == pytest.approx(0.03)


def test_tasks_without_enough_seeds_are_left_out_and_named() -> None:
    given = made(0.02, 0.02, 0.02)
    given[1] = (given[1][0][:2], given[1][1])
    found = answer(given)
    assert found.places == (("xor", 1.0), ("mnist", 1.0))
    assert found.note == "without memory: fewer than 3 seeds in common"
    none = answer([(a[:2], b) for a, b in given])
    assert (none.verdict, none.places, none.p, none.note) == (
        "not enough evidence", (), None, "no task has 3 seeds in common"
    )  # fmt: skip


def test_only_seeds_that_all_tasks_have_count() -> None:
    given = made(0.02, 0.02, 0.02)
    found = answer([(a[: 3 + place], b) for place, (a, b) in enumerate(given)])
    assert (found.seeds, found.degrees) == ((0, 1, 2), 2)


def test_tasks_with_different_metrics_are_combined_by_stouffers_method() -> None:
    given = made(0.02, 0.015, 0.03)
    found = answer(given, metrics={"mnist": Measure("mean_squared_error")})
    tests = [scipy.stats.ttest_rel(*pair) for pair in given]
    # A two-sided p from one-sided ones in the direction of a.
    one_sided = [t.pvalue / 2 if t.statistic > 0 else 1 - t.pvalue / 2 for t in tests]
    theirs = scipy.stats.combine_pvalues(one_sided, method="stouffer").pvalue
    assert found.p == pytest.approx(2 * min(theirs, 1 - theirs))
    assert (found.mean, found.interval, found.margin, found.q, found.verdict) == (None, None, None, None, "better")
    assert "Stouffer" in found.note
    turned = answer([(b, a) for a, b in given], metrics={"mnist": Measure("mean_squared_error")})
    assert (turned.verdict, turned.p) == ("worse", pytest.approx(found.p))


def test_equal_differences_have_no_t() -> None:
    found = answer([((0.9,) * 5, (0.8,) * 5)] * 3)
    assert (found.mean, found.t, found.interval, found.q, found.p) == (pytest.approx(0.1), None, None, None, 0.0625)
    assert found.verdict == "undecided"


def test_differences_that_are_equal_up_to_rounding_are_no_heterogeneity() -> None:
    """Accuracies are single precision: without this, noise of 1e-9 would make two tasks infinitely different."""
    noise = np.random.default_rng(0).normal(scale=1e-9, size=(3, 5))
    flat = [
        (tuple(np.full(5, 0.8) + effect + row), tuple(np.full(5, 0.8)))
        for effect, row in zip((0.1, 0.05, 0.0), noise, strict=True)
    ]
    found = answer(flat)
    assert (found.q, found.i2, found.p_heterogeneity) == (None, None, None)
