"""The tables of questions and comparisons: every figure of the records, and each text once."""

from __future__ import annotations

from typing import Any

import study_results as made

from fptkit.lab.reporting.comparisons import comparisons
from fptkit.lab.reporting.document import Table
from fptkit.lab.studies.results import StudyResults
from fptkit.lab.studies.verdicts import Anytime


def table(results: StudyResults, number: int = -1) -> Table:
    return comparisons(results).tables[number]


def cells(found: Table, row: int = 0) -> dict[str, str]:
    header = [entry.text for entry in found.header]
    return dict(zip(header, [entry.text for entry in found.rows[row]], strict=True))


def details(found: Table, row: int = 0) -> dict[str, str]:
    header = [entry.text for entry in found.header]
    return dict(zip(header, [entry.detail for entry in found.rows[row]], strict=True))


def only(**more: Any) -> StudyResults:
    one = made.comparison("bit_xor", "a", "b", 0.051, **more)
    return made.study(("bit_xor",), ("a", "b"), comparisons=(one,), lifts=(), answers=())


def test_a_comparison_has_every_figure() -> None:
    found = table(only(interval_bca=(0.03, 0.07), p_exact=0.0625))
    assert cells(found) == {
        "arms": "a − b",
        "task": "bit_xor",
        "verdict": "better",
        "difference": "+5.1 points [2.7, 7.5]",
        "p": "0.002",
        "p, Holm": "0.004",
        "p, the same, Holm": "1.00",
        "Hedges' g": "3.21",
        "resolution": "3.1 points",
        "pairs": "5",
    }
    assert details(found)["difference"] == "bootstrap [3.0, 7.0]"
    assert details(found)["p"] == "exact 0.062"


def test_a_question_has_every_figure() -> None:
    found = table(made.study(), 0)
    assert cells(found) == {
        "arms": "pretrained − random",
        "verdict": "better",
        "mean difference": "+5.1 points [2.7, 7.5]",
        "p": "0.002",
        "p, the same": "0.60",
        "p, tasks differ": "0.002",
        "resolution": "3.1 points",
        "tasks": "2",
        "seeds": "5",
    }
    assert details(found)["arms"] == "pretraining lift"
    assert details(found)["p, tasks differ"] == "I² 83 %"


def test_questions_about_one_task_have_no_table_of_their_own() -> None:
    assert len(comparisons(made.study(("t",))).tables) == 1
    assert len(comparisons(made.study()).tables) == 2
    assert comparisons(made.study(("t",), ("a",))).empty


def test_a_shared_margin_is_in_the_header_and_others_in_their_rows() -> None:
    found = table(made.study())
    assert {entry.text: entry.detail for entry in found.header}["p, the same, Holm"] == "within 1 point"
    assert not any(details(found, row)["p, the same, Holm"] for row in range(len(found.rows)))
    apart = [made.comparison(task, "a", "b", 0.05, margin=margin) for task, margin in (("x", 0.01), ("y", 0.02))]
    found = table(made.study(("x", "y"), ("a", "b"), comparisons=tuple(apart), lifts=()))
    assert [details(found, row)["p, the same, Holm"] for row in (0, 1)] == ["within 1 point", "within 2 points"]


def test_columns_without_a_figure_are_left_out() -> None:
    found = table(only(margin=None, p_same=None, p_same_holm=None, resolution=None))
    assert not {"p, the same, Holm", "resolution", "p, verdict"} & set(cells(found))


def test_a_note_of_several_rows_is_said_once() -> None:
    note = "all differences are equal: sign-flip test"
    compared = tuple(made.comparison(task, "a", "b", 0.05, note=note) for task in ("x", "y", "z"))
    found = table(made.study(("x", "y", "z"), ("a", "b"), comparisons=compared, lifts=(), answers=()))
    assert [cells(found, row)["verdict"] for row in range(3)] == ["better¹"] * 3
    assert found.notes == (f"¹ {note}",)


def test_seeds_until_decided_show_their_evidence() -> None:
    evidence = Anytime(e=41.23, p=0.003, p_holm=0.006, p_same=0.4, p_same_holm=0.8, decided_at=7)
    found = table(only(anytime=evidence))
    assert (cells(found)["p"], details(found)["p"], cells(found)["p, Holm"]) == ("0.003", "e = 41.2", "0.006")
    assert details(found)["verdict"] == "after 7 seeds"


def test_undecided_says_how_many_more_seeds() -> None:
    one = made.comparison("bit_xor", "a", "b", 0.013, further_seeds=12)
    found = table(made.study(("bit_xor",), ("a", "b"), comparisons=(one,), lifts=(), answers=()))
    assert details(found)["verdict"] == "12 more seeds"


def test_older_files_keep_their_columns() -> None:
    one = made.comparison("t", "a", "b", 0.05, verdict="no difference found", p_verdict=0.11, margin=None)
    found = table(made.study(("t",), ("a", "b"), comparisons=(one,), lifts=(), answers=(), format=1))
    assert cells(found)["p, verdict"] == "0.11"
    assert "over all comparisons of the study" in found.caption
