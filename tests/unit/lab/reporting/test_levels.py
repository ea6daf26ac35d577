"""Chance and the most frequent class beside every table and in every chart of accuracies, and the resolution."""

from __future__ import annotations

import re

import pytest
import study_results as made

from fptkit.lab.reporting import curves, outcomes
from fptkit.lab.reporting.compose import compose
from fptkit.lab.reporting.document import Report, Table
from fptkit.lab.reporting.levels import figures_notes, level_note, level_texts, levels_of, resolution_note
from fptkit.lab.studies.results import StudyResults

ACCURACIES = re.compile(r"\d ± \d|accurac", re.IGNORECASE)


def reported(results: StudyResults) -> Report:
    return compose(results, made.costs_of(results))


def said_by(table: Table) -> str:
    entries = [entry.text for entries in (table.header, *table.rows, *table.foot) for entry in entries]
    return " ".join([table.caption, *entries, *table.notes])


@pytest.mark.parametrize("fractions", [(1.0,), (0.1, 1.0)])
def test_every_table_of_accuracies_says_what_guessing_gives(fractions: tuple[float, ...]) -> None:
    report = reported(made.study(fractions=fractions))
    tables = [
        table
        for section in report.sections
        for table in section.tables
        if section.key not in ("comparisons", "making") and ACCURACIES.search(said_by(table))
    ]
    assert len(tables) >= 4
    for table in tables:
        assert "chance" in said_by(table).lower(), table.caption
        assert "most frequent class" in said_by(table), table.caption


def test_every_chart_of_accuracies_shows_what_guessing_gives() -> None:
    report = reported(made.study(fractions=(0.1, 1.0)))
    pictures = [picture for section in report.sections for picture in section.pictures]
    shown = [picture for picture in pictures if "accuracy, %" in picture.svg()]
    assert len(shown) >= 10
    for picture in shown:
        assert "chance 10.0" in picture.svg(), picture.key
        assert "most frequent class 11.2" in picture.svg(), picture.key


def test_a_level_outside_the_scale_is_named_with_an_arrow() -> None:
    results = made.study(("t",), ("a", "b"))
    (high,) = curves.convergence(results)
    assert high.svg().count('class="level"') == 0
    assert "chance 10.0 ↓" in high.svg()
    near = tuple(cell.model_copy(update={"chance": 0.8, "majority": None}) for cell in results.cells)
    (within,) = curves.convergence(results.model_copy(update={"cells": near}))
    assert within.svg().count('class="level"') == 1
    assert "chance 80.0</text>" in within.svg()


def test_bars_show_both_levels() -> None:
    (picture,) = outcomes.bars(made.study(("t",), ("a", "b")))
    places = [float(at) for at in re.findall(r'class="level" d="M([\d.]+),', picture.svg())]
    assert places[1] - places[0] == pytest.approx((11.2 - 10) / 100 * (362 - 10), abs=0.2)


def test_unknown_levels_are_not_shown() -> None:
    results = made.study()
    bare = tuple(cell.model_copy(update={"chance": None, "majority": None}) for cell in results.cells)
    assert levels_of(bare) == []
    assert level_note(bare) == []
    assert (
        'class="level' not in outcomes.bars(results.model_copy(update={"cells": bare}))[0].svg().split("</style>")[-1]
    )


def test_levels_that_differ_are_all_given() -> None:
    cells = made.study(("t",)).cells
    apart = [cells[0], cells[1].model_copy(update={"chance": 0.25})]
    assert level_texts(apart, "chance") == "10.0 or 25.0"
    assert level_note(apart) == ["Chance: t 10.0 or 25.0 %; most frequent class: t 11.2 %."]


def test_the_resolution_is_the_range_over_the_comparisons_of_a_task() -> None:
    compared = (
        made.comparison("x", "a", "b", 0.05, resolution=0.012),
        made.comparison("x", "a", "c", 0.05, resolution=0.034),
        made.comparison("y", "a", "b", 0.05, resolution=0.02),
        made.comparison("y", "a", "c", 0.05, resolution=None),
    )
    results = made.study(("x", "y", "z"), ("a", "b", "c"), comparisons=compared, lifts=())
    assert resolution_note(results, results.cells) == ["Resolution: x 1.2–3.4 points, y 2.0 points."]
    assert len(figures_notes(results, results.cells)) == 2


def test_without_a_test_there_is_no_resolution() -> None:
    results = made.study(seeds=(0, 1))
    assert resolution_note(results, results.cells) == []
