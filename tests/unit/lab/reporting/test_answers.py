"""The answer of a report: a point for each question, what is compared, and nothing said twice."""

from __future__ import annotations

from typing import Any

import study_results as made

from fptkit.lab.reporting.answers import answer
from fptkit.lab.reporting.document import Section
from fptkit.lab.reporting.sentences import ADD_SEEDS, MORE_SEEDS, RAISE_AT_MOST
from fptkit.lab.studies.results import StudyResults

SEVEN = ("bit_memory", "bit_xor", "listops", "mnist", "cifar10", "cifar10_lra", "homology")


def points(results: StudyResults) -> list[tuple[str, tuple[str, ...]]]:
    return [(point.text, point.below) for point in answer(results).points]


def test_a_question_has_its_answer_and_below_it_every_task() -> None:
    ((lift, below), (other, _)) = points(made.study())
    assert lift.startswith("pretraining lift: pretrained is better than random over 2 tasks by 5.1 points [2.7, 7.5]")
    assert [text.split(":")[0] for text in below] == ["bit_memory", "bit_xor"]
    assert below[0] == "bit_memory: better by 5.1 points [2.7, 7.5], p = 0.004"
    assert other.startswith("pretrained and statistics_only are the same over 2 tasks within 1 point")


def test_a_question_about_one_task_is_one_sentence() -> None:
    ((text, below),) = points(made.study(("listops",), ("a", "b")))
    assert text == "a is better than b on listops by 5.1 points [2.7, 7.5], p = 0.004"
    assert below == ()


def test_a_lift_is_not_repeated_as_a_comparison() -> None:
    lift = made.comparison("bit_xor", "pretrained", "random", 0.1)
    same = made.comparison("bit_xor", "random", "pretrained", -0.1)
    other = made.comparison("bit_xor", "statistics_only", "pretrained", -0.2)
    results = made.study(lifts=(lift,), comparisons=(same, other), answers=())
    assert [text.split(" by ")[0] for text, _ in points(results)] == [
        "pretraining lift: pretrained is better than random on bit_xor",
        "statistics_only is worse than pretrained on bit_xor",
    ]


def test_many_verdicts_are_counted_below_their_answer() -> None:
    found = points(made.study(SEVEN, ("language", "random", "c", "d")))
    assert [below for _, below in found] == [
        ("better on all 7 tasks",),
        ("the same on all 7 tasks",),
        ("undecided on all 7 tasks",),
    ]
    assert "over 7 tasks" in found[0][0]


def test_files_without_answers_list_the_tasks_of_each_pair() -> None:
    ((text, below), _) = points(made.study(answers=(), format=1))
    assert text == "pretraining lift: pretrained against random"
    assert len(below) == 2


def noted(*notes: str, **more: Any) -> Section:
    compared = [made.comparison(f"t{n}", "a", "b", 0.05, note=note, **more) for n, note in enumerate(notes)]
    return answer(made.study(("t0",), ("a", "b"), lifts=(), comparisons=tuple(compared), answers=()))


def test_a_note_of_one_verdict_is_beside_it_and_one_of_several_is_said_once() -> None:
    (alone,) = noted("why").points
    assert alone.text.endswith("; why")
    section = noted("why", "why", "other", "")
    (point,) = section.points
    assert [text[-1] for text in point.below] == ["¹", "¹", "r", "4"]
    assert point.below[2].endswith("; other")
    assert section.notes == ("¹ why",)


def test_what_more_seeds_means_is_said_where_it_is_needed() -> None:
    undecided = made.study(("t",), ("a", "b", "c", "d"))
    assert answer(undecided).notes == (f"{MORE_SEEDS} {ADD_SEEDS}",)
    assert answer(undecided.model_copy(update={"choose": "common"})).notes == (MORE_SEEDS,)
    assert answer(undecided.model_copy(update={"until": "3 seeds"})).notes == (f"{MORE_SEEDS} {RAISE_AT_MOST}",)
    assert answer(made.study()).notes == ()


def test_it_says_what_is_compared() -> None:
    def said(**more: Any) -> str:
        return answer(made.study(**more)).paragraphs[0]

    assert said().startswith("Compared is the procedure, search included: each seed chooses its learning rate")
    assert "one learning rate for all seeds" in said(choose="common")
    assert "there was no search" in said(rates=(1e-3,))
    assert said(format=1, choose="common").startswith("Differences are paired by seed"), "a warning says what it was"


def test_it_says_how_seeds_were_added() -> None:
    words = "3 seeds, then more where a comparison is undecided, at most 20"
    text = " ".join(answer(made.study(until=words)).paragraphs)
    assert words in text
    assert "valid at any time" in text
    assert "valid at any time" not in " ".join(answer(made.study()).paragraphs)


def test_a_study_of_one_arm_compares_nothing() -> None:
    section = answer(made.study(("t",), ("a",)))
    assert [point.text for point in section.points] == ["The study compares no arms."]
