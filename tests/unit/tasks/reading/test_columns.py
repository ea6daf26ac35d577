"""The kind of a column comes from all its cells."""

from __future__ import annotations

import math

import pytest

from fptkit.errors import DataError
from fptkit.tasks.reading.columns import Column, check_categories, read_column
from fptkit.tasks.reading.numbers import MISSING

NUMBERS = [f"{n / 7:.3f}" for n in range(40)]


def read(cells: list[str], **options: object) -> Column:
    return read_column("x", cells, lambda row: f"t.csv:{row + 2}", **{"missing": MISSING, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["null", "N/A", "None", "-", "NA", "?", ""])
@pytest.mark.parametrize("row", [0, 1, 17, 39])
def test_a_missing_word_anywhere_leaves_a_column_of_numbers(word: str, row: int) -> None:
    cells = [*NUMBERS]
    cells[row] = word
    column = read(cells)
    assert column.kind == "number"
    assert math.isnan(column.numbers[row])
    assert [n for n in column.numbers if not math.isnan(n)] == [float(c) for c in NUMBERS if c != NUMBERS[row]]
    assert bool(column.notes) == (word != "")


@pytest.mark.parametrize("stranger", ["n.d.", "x", "1_000", "<5", "inf", "2020-01-01", "1,234.5"])
@pytest.mark.parametrize("row", [0, 20, 39])
def test_a_stranger_among_numbers_is_an_error_with_its_line(stranger: str, row: int) -> None:
    cells = [*NUMBERS]
    cells[row] = stranger
    with pytest.raises(DataError, match=rf"t.csv:{row + 2}: column 'x' has numbers, but here '{stranger}'"):
        read(cells)
    assert read(cells, declared="category").kind == "category"
    assert read(cells, missing=(*MISSING, stranger)).kind == "number"


def test_codes_are_categories() -> None:
    assert read(["0_0", "1_2", "2_1"] * 5).kind == "category"
    column = read(["01234", "99999", "04711"] * 5)
    assert column.kind == "category"
    assert "01234" in column.notes[0]
    assert read(["01", "02"], declared="number").kind == "number"


def test_words_with_few_numbers_are_categories() -> None:
    assert read(["S", "M", "L", "38"] * 5).kind == "category"


@pytest.mark.parametrize(
    "cells", [["1,5", "2,25", "3,0"] * 4, ["1 234", "5 678", "1 111"] * 4, ["1,234.5", "2,000.0"] * 4]
)
def test_numbers_in_another_style_are_not_categories(cells: list[str]) -> None:
    with pytest.raises(DataError, match=r"t.csv:2: column 'x'.*(decimal|thousands)"):
        read(cells)


def test_decimal_commas_by_option() -> None:
    assert list(read(["1,5", "2"], decimal=",").numbers) == [1.5, 2.0]


def test_dates() -> None:
    column = read(["2020-01-01", "", "2020-01-03"])
    assert column.kind == "date"
    assert column.numbers[2] - column.numbers[0] == 2 * 86400
    assert math.isnan(column.numbers[1])
    with pytest.raises(DataError, match=r"t.csv:4: column 'x' has dates, but here 'soon'"):
        read(["2020-01-01", "2020-01-02", "soon"])
    with pytest.raises(DataError, match="dates, but here 'x'"):
        read(["x"], declared="date")


def test_an_empty_column() -> None:
    assert read(["", "NA", "-"]).kind == "empty"


def test_distinct_values() -> None:
    assert read(["1", "1.0", "2", ""]).distinct == 2
    assert read(["a", "b", "a", "?"]).distinct == 2


def test_identifiers_are_refused() -> None:
    with pytest.raises(DataError, match=r"t.csv: column 'x' has 40 different values in 40 rows"):
        check_categories(read([f"id{n}" for n in range(40)]), "t.csv")
    check_categories(read([f"id{n % 20}" for n in range(40)]), "t.csv")
    check_categories(read([f"id{n}" for n in range(5)]), "t.csv")


@pytest.mark.parametrize(
    ("cell", "advice"),
    [
        ("{}.5%", "percentages without the sign"),
        ("${},200.00", "signs of currency"),
        ("{} €", "signs of currency"),
        ("\u2212{}.5", "U\\+2212"),
        ("{}.5D+02", "E for the exponent"),
    ],
)
def test_numbers_with_signs_are_refused_and_not_categories(cell: str, advice: str) -> None:
    cells = [cell.format(number % 7 + 1) for number in range(40)]
    with pytest.raises(DataError, match=advice):
        read_column("x", cells, str, missing=MISSING)


def test_one_word_among_many_different_numbers_is_a_stranger_however_frequent() -> None:
    cells = [str(row % 11) if row % 3 == 0 else "not measured" for row in range(60)]
    with pytest.raises(DataError, match=r"^1: column 'x' has numbers, but here 'not measured' \(40 such cells"):
        read_column("x", cells, str, missing=MISSING)
    assert read_column("x", ["1", "2", "3+", "3+", "3+"], str, missing=MISSING).kind == "category"
    assert read_column("seat", ["1D-05", "2D-17"], str, missing=MISSING).kind == "category"


def test_dates_that_no_calendar_has_are_refused() -> None:
    cells = ["2020-01-13", "0000-00-00", "2020-02-01", "2020-02-30"]
    with pytest.raises(DataError, match=r"^1: column 'day' has dates, but here '0000-00-00' \(2 such cells"):
        read_column("day", cells, str, missing=MISSING)


def test_missing_words_of_databases_and_spreadsheets() -> None:
    cells = ["1.5", "\\N", "#DIV/0!", "NaT", "1.#QNAN", "2"]
    assert read_column("x", cells, str, missing=MISSING).kind == "number"


def test_years_of_two_digits_are_refused() -> None:
    with pytest.raises(DataError, match=r"^0: column 'x' has dates with years of two digits, such as '1/31/20'"):
        read_column("x", ["1/31/20", "", "2/1/20 10:00"], str, missing=MISSING)
    assert read_column("x", ["a/b", "1/2/20", "c/d"], str, missing=MISSING).kind == "category"
