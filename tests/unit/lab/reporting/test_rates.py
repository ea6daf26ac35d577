"""Learning rates: what each seed chose, beside one rate for all."""

from __future__ import annotations

from typing import Any

import pytest
import study_results as made

from fptkit.lab.reporting import curves
from fptkit.lab.reporting.rates import chosen_words, rates_tables
from fptkit.lab.reporting.tables import rates_of
from fptkit.lab.reporting.wording import counted_rates
from fptkit.lab.studies.results import CellResult, CommonRate, StudyResults


def one_cell(**more: Any) -> StudyResults:
    results = made.study(("t",), ("a",), rates=(1e-4, 1e-3, 1e-2))
    return results.model_copy(update={"cells": (results.cells[0].model_copy(update=more),)})


APART = {0: 1e-3, 1: 1e-3, 2: 1e-2, 3: 1e-3, 4: 1e-2}


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ([1e-3, 1e-3], "rate 1e-3"),
        ([3e-3, 1e-3, 1e-3, 3e-3, 1e-3], "rates 1e-3 (3), 3e-3 (2)"),
        ([1e-4, 1e-3, 1e-2, 3e-2], "4 rates, 1e-4 to 3e-2"),
        ([], ""),
    ],
)
def test_rates_are_counted(rates: list[float], text: str) -> None:
    assert counted_rates(rates) == text


def test_a_cell_of_an_older_file_has_one_rate() -> None:
    old = CellResult(task="t", arm="a", complete=True, chosen_rate=1e-3)
    assert rates_of(old) == "rate 1e-3"
    assert (chosen_words(old, 1e-3), chosen_words(old, 1e-2)) == ("chosen", "")


def test_the_table_has_the_rate_of_each_seed_and_the_common_one_beside() -> None:
    common = CommonRate(learning_rate=1e-2, test={"test": made.estimate([0.5, 0.6, 0.7])})
    chosen = {seed: rate for seed, rate in APART.items() if seed != 4}
    test = {"test": made.estimate([0.8, 0.8, 0.8, 0.8])}
    table, _ = rates_tables(one_cell(chosen_rates=chosen, chosen_rate=None, common=common, test=test))
    found = dict(zip((entry.text for entry in table.header), (entry.text for entry in table.rows[0]), strict=True))
    assert found == {
        "task": "t",
        "arm": "a",
        "seed 0": "1e-3",
        "seed 1": "1e-3",
        "seed 2": "1e-2",
        "seed 3": "1e-3",
        "seed 4": "–",
        "test": "80.0 ± 0.0",
        "common rate": "1e-2",
        "test at it": "60.0 ± 5.8",
    }


def test_without_common_figures_their_columns_are_left_out() -> None:
    table, _ = rates_tables(one_cell(chosen_rates=APART, common=None))
    assert "common rate" not in [entry.text for entry in table.header]
    assert "beside" not in table.caption


def test_the_table_of_validation_says_how_many_seeds_chose_a_rate() -> None:
    *_, table = rates_tables(one_cell(chosen_rates=APART, chosen_rate=None))
    assert [entry.detail for entry in table.rows[0][3:]] == ["chosen by 3 of 5", "chosen by 2 of 5"]
    (alone,) = rates_tables(one_cell(chosen_rates={}, chosen_rate=1e-3))
    assert alone.rows[0][3].detail == "chosen"


def test_a_single_rate_has_no_tables() -> None:
    assert rates_tables(made.study(rates=(1e-3,))) == ()


def test_rings_say_how_many_seeds_chose_each_rate() -> None:
    (picture,) = curves.learning_rates(one_cell(chosen_rates=APART, chosen_rate=None, at_edge="high"))
    svg = picture.svg()
    assert svg.count('class="ring') == 2
    assert ">3</text>" in svg
    assert ">2</text>" in svg
    assert svg.count("chosen by 3 of 5") == 1
    (alike,) = curves.learning_rates(one_cell(chosen_rates=dict.fromkeys(range(5), 1e-3), at_edge=""))
    assert 'class="count' not in alike.svg()


@pytest.mark.parametrize(
    ("chosen", "edge", "arrows"),
    [
        ({0: 1e-4, 1: 1e-3}, "low", 1),
        ({0: 1e-3, 1: 1e-2}, "high", 1),
        ({0: 1e-4, 1: 1e-2}, "both", 2),
        ({0: 1e-3, 1: 1e-3}, "", 0),
    ],
)
def test_only_the_rates_at_the_edge_have_an_arrow(chosen: dict[int, float], edge: str, arrows: int) -> None:
    results = one_cell(chosen_rates=chosen, chosen_rate=None, at_edge=edge)
    rates = tuple(one.model_copy(update={"diverged": 0}) for one in results.cells[0].rates)
    (picture,) = curves.learning_rates(one_cell(chosen_rates=chosen, chosen_rate=None, at_edge=edge, rates=rates))
    assert picture.svg().count('class="cross') == arrows
