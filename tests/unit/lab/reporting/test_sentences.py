"""Verdicts in words: every verdict, of a comparison and of the answer over tasks."""

from __future__ import annotations

from typing import Any

import pytest
import study_results as made

from fptkit.lab.reporting.sentences import counts, finding, over, sentence
from fptkit.lab.reporting.wording import Measure
from fptkit.lab.studies.verdicts import Anytime

ACCURACY = Measure("accuracy", fraction=True)
ERROR = Measure("mean_squared_error")


def compared(mean: float, **more: Any) -> Any:
    return made.comparison("bit_xor", "a", "b", mean, **more)


@pytest.mark.parametrize(
    ("one", "said", "found"),
    [
        (
            compared(0.225, interval=(0.201, 0.249), p_holm=0.004),
            "a is better than b on bit_xor by 22.5 points [20.1, 24.9], p = 0.004",
            "better by 22.5 points [20.1, 24.9], p = 0.004",
        ),
        (
            compared(-0.05, interval=(-0.07, -0.03), p_holm=0.0001),
            "a is worse than b on bit_xor by 5.0 points [3.0, 7.0], p < 0.001",
            "worse by 5.0 points [3.0, 7.0], p < 0.001",
        ),
        (
            compared(0.001, p_same_holm=0.022),
            "a and b are the same on bit_xor within 1 point: +0.1 points [−0.7, 0.9], p = 0.022 (equivalence)",
            "the same within 1 point: +0.1 points [−0.7, 0.9], p = 0.022 (equivalence)",
        ),
        (
            compared(0.013, further_seeds=4),
            "undecided between a and b on bit_xor: +1.3 points [−1.1, 3.7], p = 0.82, 4 more seeds needed",
            "undecided: +1.3 points [−1.1, 3.7], p = 0.82, 4 more seeds needed",
        ),
        (
            compared(0.013, further_seeds=1),
            "undecided between a and b on bit_xor: +1.3 points [−1.1, 3.7], p = 0.82, 1 more seed needed",
            "undecided: +1.3 points [−1.1, 3.7], p = 0.82, 1 more seed needed",
        ),
        (
            compared(0.013, further_seeds=None),
            "undecided between a and b on bit_xor: +1.3 points [−1.1, 3.7], p = 0.82, more than 1,000 more seeds "
            "needed",
            "undecided: +1.3 points [−1.1, 3.7], p = 0.82, more than 1,000 more seeds needed",
        ),
        (
            compared(0.013, further_seeds=2, resolution=None),
            "undecided between a and b on bit_xor: +1.3 points [−1.1, 3.7], p = 0.82, 2 more seeds needed",
            "undecided: +1.3 points [−1.1, 3.7], p = 0.82, 2 more seeds needed",
        ),
        (
            compared(0.013, further_seeds=None, resolution=None),
            "undecided between a and b on bit_xor: +1.3 points [−1.1, 3.7], p = 0.82",
            "undecided: +1.3 points [−1.1, 3.7], p = 0.82",
        ),
        (
            compared(0.1, seeds=1),
            "a against b on bit_xor: not enough evidence (difference so far +10.0 points)",
            "not enough evidence (difference so far +10.0 points)",
        ),
        (
            compared(0.1, seeds=0).model_copy(update={"mean": None}),
            "a against b on bit_xor: not enough evidence",
            "not enough evidence",
        ),
    ],
)
def test_a_comparison(one: Any, said: str, found: str) -> None:
    assert sentence(one, "on bit_xor", ACCURACY) == said
    assert finding(one, ACCURACY) == found


def test_no_interval_is_shown_of_fewer_than_three_seeds() -> None:
    """Older files have one of two seeds, which is off by a factor of ten."""
    one = compared(0.1, seeds=2, interval=(-0.5, 0.7))
    assert "[" not in sentence(one, "on bit_xor", ACCURACY)


def test_an_error_has_no_percent() -> None:
    one = compared(0.013, margin=0.05)
    assert finding(one, ERROR) == "undecided: +0.013 [−0.011, 0.037], p = 0.82, 4 more seeds needed"
    assert "within 0.05:" in finding(compared(0.001, margin=0.05), ERROR)


@pytest.mark.parametrize(("verdict", "p"), [("better", "p = 0.006"), ("same", "p = 0.031 (equivalence)")])
def test_with_seeds_until_decided_its_own_p_counts(verdict: str, p: str) -> None:
    evidence = Anytime(e=41.0, p=0.003, p_holm=0.006, p_same=0.02, p_same_holm=0.031, decided_at=7)
    one = compared(0.1, anytime=evidence, verdict=verdict)
    assert finding(one, ACCURACY).endswith(f"{p}, decided after 7 seeds")


def test_an_older_verdict_shows_its_allowance() -> None:
    more = {"p_holm": 0.02, "p_verdict": 0.11, "verdict": "no difference found", "margin": None, "resolution": None}
    assert sentence(compared(0.05, **more), "on bit_xor", ACCURACY) == (
        "no difference found between a and b on bit_xor: +5.0 points [2.6, 7.4], p = 0.020 (0.11 with allowance)"
    )


def answered(mean: float, tasks: int = 2, **more: Any) -> Any:
    return made.answer([made.comparison(f"t{task}", "a", "b", mean) for task in range(tasks)], **more)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (
            answered(0.051),
            "a is better than b over 2 tasks by 5.1 points [2.7, 7.5], p = 0.002; the difference varies between tasks "
            "(I² 83 %, p = 0.002)",
        ),
        (
            answered(0.051, p_heterogeneity=0.44, i2=0.0),
            "a is better than b over 2 tasks by 5.1 points [2.7, 7.5], p = 0.002; no variation between tasks found "
            "(I² 0 %, p = 0.44)",
        ),
        (
            answered(0.001, q=None, p_heterogeneity=None, i2=None),
            "a and b are the same over 2 tasks within 1 point: +0.1 points [−0.7, 0.9], p = 0.011 (equivalence)",
        ),
    ],
)
def test_an_answer(one: Any, said: str) -> None:
    assert sentence(one, "over 2 tasks", ACCURACY) == said


def test_tasks_of_different_metrics_have_no_common_difference() -> None:
    unknown = {"mean": None, "interval": None, "margin": None, "p_heterogeneity": None}
    one = answered(-0.051).model_copy(update=unknown)
    assert sentence(one, "over 2 tasks", None) == "a is worse than b over 2 tasks, p = 0.002"
    open_one = one.model_copy(update={"verdict": "undecided"})
    assert sentence(open_one, "over 2 tasks", None) == "undecided between a and b over 2 tasks, p = 0.002"


@pytest.mark.parametrize(
    ("places", "asked", "text"),
    [
        ([("x", 1.0)], 1, "on x"),
        ([("x", 0.1)], 1, "on x with 10 % of the data"),
        ([("x", 1.0), ("y", 1.0)], 2, "over 2 tasks"),
        ([("x", 1.0), ("y", 1.0)], 3, "over 2 of 3 tasks"),
        ([("x", 1.0), ("x", 0.1)], 2, "over 2 combinations of task and fraction of the data"),
    ],
)
def test_where_an_answer_holds(places: list[tuple[str, float]], asked: int, text: str) -> None:
    assert over(places, asked) == text


def test_verdicts_are_counted_by_task() -> None:
    mixed = [made.comparison(task, "a", "b", mean) for task, mean in (("x", 0.5), ("y", -0.5), ("z", 0.4))]
    assert counts(mixed) == ("better on x and z", "worse on y")
    alike = [made.comparison(task, "a", "b", 0.001) for task in ("x", "y", "z")]
    assert counts(alike) == ("the same on all 3 tasks",)
    assert counts(alike[:2]) == ("the same on both tasks",)
