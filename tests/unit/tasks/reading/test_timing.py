"""Columns that count, and the order of time."""

from __future__ import annotations

import math
import random

import pytest

from fptkit.errors import DataError
from fptkit.tasks.reading.timing import FEWEST, has_equal_steps, is_identifier, is_time, time_order


@pytest.mark.parametrize(
    "values",
    [
        list(range(10)),
        [1577836800 + 3600 * n for n in range(50)],
        [0.1 * n for n in range(1000)],
        [2020 - n for n in range(20)],
        [1e9 + 1e-3 * n for n in range(100)],
    ],
)
def test_indices_and_clocks(values: list[float]) -> None:
    assert has_equal_steps(list(map(float, values)))


@pytest.mark.parametrize(
    "values",
    [
        [1.0] * 20,
        [float(n * n) for n in range(20)],
        [float(n) for n in range(FEWEST - 1)],
        [*map(float, range(19)), 25.0],
        [*map(float, range(19)), math.nan],
    ],
)
def test_what_is_measured(values: list[float]) -> None:
    assert not has_equal_steps(values)


def test_a_random_walk_is_measured() -> None:
    chance = random.Random(0)
    values = [0.0]
    for _ in range(200):
        values.append(values[-1] + chance.gauss(0, 1))
    assert not has_equal_steps(values)
    assert not is_time("OT", values)


def test_a_clock_with_gaps_is_time_by_its_name() -> None:
    values = [float(n + 5 * (n > 10)) for n in range(20)]
    assert is_time("Timestamp", values)
    assert not is_time("load", values)
    assert not is_time("time", values[::-1])


def test_rows_are_sorted_with_a_note() -> None:
    order, notes = time_order([3.0, 1.0, 2.0], lambda row: f"t.csv:{row + 2}", "day")
    assert order == [1, 2, 0]
    assert "sorted by column 'day': 1" in notes[0]
    assert time_order([1.0, 2.0], str, "day") == ([0, 1], ())


def test_equal_and_missing_times_are_refused() -> None:
    with pytest.raises(DataError, match=r"t.csv:4: the same time in column 'day' as in t.csv:2"):
        time_order([1.0, 2.0, 1.0], lambda row: f"t.csv:{row + 2}", "day")
    for missing in (None, math.nan):
        with pytest.raises(DataError, match=r"t.csv:3: the time"):
            time_order([1.0, missing], lambda row: f"t.csv:{row + 2}", "day")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("id", "PassengerId", "row_number", "ID", "patient_id", "idx")),
        *((name, False) for name in ("paid", "grid", "price", "throw", "Covid", "turkey")),
    ],
)
def test_identifiers_have_a_name_and_differ(name: str, expected: bool) -> None:
    cells = [str(row * 37 % 60) for row in range(60)]
    assert is_identifier(name, cells) == expected
    assert not is_identifier(name, [*cells, "1"])
    assert not is_identifier(name, [cell + ".5" for cell in cells])
