"""Differences of JSON data and of texts."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fptkit.lab.verification.differences import Difference, json_differences, line_differences


def found(stored: Any, derived: Any, rounding: float = 0.0) -> list[tuple[str, str, str]]:
    return [(one.place, one.stored, one.derived) for one in json_differences("f", stored, derived, rounding=rounding)]


@pytest.mark.parametrize(
    ("stored", "derived", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, [("a.b[1]", "2", "3")]),
        ({"a": 1}, {}, [("a", "1", "absent")]),
        ([1], [1, "x"], [("[1]", "absent", '"x"')]),
        ({"a": None}, {"a": {}}, [("a", "null", "{}")]),
        ({"a": 1}, {"a": 1.0}, [("a", "1", "1.0")]),
        ({"a": True}, {"a": 1}, [("a", "true", "1")]),
        ({"a": math.nan}, {"a": math.nan}, []),
        ({"a": 0.1}, {"a": 0.1 + 1e-18}, []),
        ({"a": 0.1}, {"a": 0.1 + 2e-17}, [("a", "0.1", "0.10000000000000002")]),
        ([{"x": 1}, {"x": 2}], [{"x": 2}, {"x": 2}], [("[0].x", "1", "2")]),
    ],
)
def test_every_difference_has_its_path(stored: Any, derived: Any, expected: list[tuple[str, str, str]]) -> None:
    assert found(stored, derived) == expected


def test_rounding_is_relative_and_for_numbers_with_a_point_only() -> None:
    assert found(1e-20, 1.1e-20, 1e-9) == [("", "1e-20", "1.1e-20")]
    assert found(1e20, 1e20 * (1 + 1e-12), 1e-9) == []
    assert found(1000000000, 1000000001, 1e-3) == [("", "1000000000", "1000000001")]


def test_keys_that_an_older_version_did_not_know_are_no_difference() -> None:
    stored, derived = {"a": [{"b": 1}], "c": [1], "d": 2}, {"a": [{"b": 3, "new": 0.5}], "c": [1, 2], "e": None}
    found = [one.place for one in json_differences("f", stored, derived, newer=True)]
    assert found == ["a[0].b", "c[1]", "d"], "other values, further items, and keys that are gone"
    assert len(list(json_differences("f", stored, derived))) == 5


def test_long_values_are_shortened() -> None:
    (one,) = json_differences("f", "x" * 1000, "y")
    assert len(one.stored) < 300
    assert one.stored.endswith("...")


def test_lines_are_numbered_from_one() -> None:
    assert list(line_differences("f", "a\nb\nc", "a\nx\ny")) == [
        Difference("f", "line 2", "'b'", "'x'"),
        Difference("f", "line 3", "'c'", "'y'"),
    ]


def test_of_texts_of_different_length_only_the_first_line_is_reported() -> None:
    assert list(line_differences("f", "a\nb\nc\nd", "a\nc\nd")) == [Difference("f", "line 2", "'b'", "'c'")]
    assert list(line_differences("f", "a", "a\n")) == [Difference("f", "line 2", "absent", "''")]


def test_a_long_line_is_shown_from_shortly_before_its_difference() -> None:
    (one,) = line_differences("f", "x" * 5000 + "1" + "x" * 5000, "x" * 5000 + "2" + "x" * 5000)
    assert len(one.stored) < 300
    assert "1x" in one.stored
    assert "2x" in one.derived


def test_differences_read_as_sentences() -> None:
    assert str(Difference("a/b.json", "c.d", "1", "2")) == "a/b.json: c.d: 1 stored, 2 derived"
    assert str(Difference("a/b.json", "", "", "is missing")) == "a/b.json: is missing"
    assert str(Difference("a", "line 3", "", "is wrong")) == "a: line 3: is wrong"
