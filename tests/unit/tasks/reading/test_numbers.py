"""Strict numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fptkit.errors import DataError
from fptkit.tasks.reading.numbers import (
    MISSING,
    advice,
    is_code,
    missing_words,
    parse_number,
    parse_numbers,
    read_number,
)


@pytest.mark.parametrize(
    "text", ["0", "-1", "+2.5", ".5", "5.", "1e3", "1E-05", " 7 ", "007", "1.7976931348623157e308"]
)
def test_numbers_of_data_files(text: str) -> None:
    assert parse_number(text) == float(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1_000",
        "１２",
        "٣",
        "inf",
        "-Infinity",
        "nan",
        "1e999",
        "0x1F",
        "1,5",
        "1 000",
        "1'000",
        "1e",
        "--1",
        "1.2.3",
        ".",
    ],
)
def test_what_python_reads_but_no_file_means(text: str) -> None:
    assert parse_number(text) is None
    assert parse_numbers([text, "1"], ()) == [None, 1.0]


@pytest.mark.parametrize(("text", "number"), [("3,14", 3.14), ("-1", -1.0), (",5", 0.5), ("1,5e3", 1500.0)])
def test_decimal_commas_by_option(text: str, number: float) -> None:
    assert parse_number(text, ",") == number
    assert parse_number("3.14", ",") is None


def test_the_fast_way_gives_what_the_slow_way_gives() -> None:
    chance = np.random.default_rng(0)
    cells = [
        f"{x:.{d}{f}}"
        for x, d, f in zip(chance.normal(0, 1e6, 500), chance.integers(0, 17, 500), "efg" * 167, strict=False)
    ]
    assert parse_numbers(cells, ()) == [parse_number(cell) for cell in cells]
    assert parse_numbers([*cells, "+-1"], ())[-1] is None
    assert parse_numbers([*cells, "1e999"], ())[-1] is None
    assert parse_numbers([], ()) == []


@pytest.mark.parametrize("word", ["", "NA", "n/a", "null", "None", "NaN", "-", "?"])
def test_missing_words(word: str) -> None:
    assert word in MISSING
    assert math.isnan(read_number(word, "here"))
    assert math.isnan(parse_numbers(["1", word], MISSING)[1] or 0)
    with pytest.raises(DataError, match="here: the value is missing"):
        read_number(word, "here", allow_missing=False)
    with pytest.raises(DataError, match="not a number"):
        read_number(word, "here", missing=("void",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,234", "decimal: ','"),
        ("1,234,567", "thousands"),
        ("1,234.5", "thousands"),
        ("1 234 567", "thousands"),
        ("3,14", "decimal"),
        ("12%", "sign"),
        ("inf", "infinite"),
        ("1e999", "infinite"),
        ("abc", "option missing"),
    ],
)
def test_an_error_says_what_to_do(text: str, words: str) -> None:
    with pytest.raises(DataError, match=f"f.csv:3: .*{words}"):
        read_number(text, "f.csv:3")


def test_advice_for_files_with_decimal_commas() -> None:
    assert "decimal: '.'" in advice("3.14", ",")


def test_codes_begin_with_a_zero() -> None:
    assert [text for text in ("01234", "0", "00", "0.5", "10", "-01") if is_code(text)] == ["01234", "00"]


def test_missing_words_are_counted_except_empty_cells() -> None:
    assert missing_words(["", "NA", "x", "?", "NA"], MISSING) == {"?": 1, "NA": 2}
