"""The rule for the same label."""

from __future__ import annotations

import numpy as np
import pytest

from fptkit.errors import DataError
from fptkit.tasks.reading.labels import find_classes, near_duplicates, same_label


@pytest.mark.parametrize(
    "labels",
    [
        ("1", "1.0", " 1 ", "1.", 1, 1.0, np.int64(1), np.float32(1), "1e0", "+1", b"1"),
        ("cat", " cat", "cat\t", b"cat", np.str_("cat")),
        ("two words", "two  words", "two\u00a0words"),
        ("caf\u00e9", "cafe\u0301"),
        ("0", "-0", "0.0"),
        ("12345678901234567890", "12345678901234567890.0"),
    ],
)
def test_ways_to_write_one_label(labels: tuple[object, ...]) -> None:
    assert len({same_label(label) for label in labels}) == 1


@pytest.mark.parametrize(
    "pair", [("cat", "Cat"), ("1.1", "1.10"), ("01", "1"), ("1", "-1"), ("1.5", "1"), ("", "0"), ("１", "1")]
)
def test_labels_that_stay_apart(pair: tuple[str, str]) -> None:
    assert same_label(pair[0]) != same_label(pair[1])


@pytest.mark.parametrize("label", ["7" * 5000, "-" + "9" * 101, "1." + "0" * 9000, "1e999999999", "3" * 100_000])
def test_numbers_of_endless_digits_are_text(label: str) -> None:
    """Python refuses to convert integers of more than 4,300 digits; one of a billion would fill the memory."""
    assert same_label(label) == label
    assert set(find_classes([label, "1"], "f").names) == {label, "1"}


def test_classes_are_ordered_as_numbers_if_all_are() -> None:
    assert find_classes(["10", "9", "2.0", "9.0"], "f").names == ("2", "9", "10")
    assert find_classes(["10", "9", "a"], "f").names == ("10", "9", "a")
    assert find_classes([-1, 1], "f").names == ("-1", "1")


def test_gaps_are_closed_with_a_note_and_names_are_kept() -> None:
    found = find_classes([0, 20000, 10000, 0], "f")
    assert found.names == ("0", "10000", "20000")
    assert found.numbers([20000.0, " 0"]) == [2, 0]
    assert "gaps" in found.notes[0]
    assert find_classes([3, 4, 5], "f").notes == ()
    assert find_classes(["a", "b"], "f").notes == ()


def test_several_ways_to_write_a_label_are_noted() -> None:
    assert "'1', '1.0'" in find_classes(["1", "1.0", "2"], "f").notes[0]
    assert find_classes(["a", " a", "b"], "f").notes == ()


def test_declared_classes_keep_their_order_and_absent_ones() -> None:
    found = find_classes(["b", "a"], "f", declared=["c", "b", "a"])
    assert found.names == ("c", "b", "a")
    with pytest.raises(DataError, match="label 'd' is not among the declared"):
        find_classes(["d"], "f", declared=["a", "b"])
    with pytest.raises(DataError, match="declared twice"):
        find_classes(["a"], "f", declared=["1", "1.0"])


@pytest.mark.parametrize("labels", [[], ["a"], ["1", "1.0"]])
def test_one_class_is_refused(labels: list[str]) -> None:
    with pytest.raises(DataError, match=r"f: .*at least two classes"):
        find_classes(labels, "f")


def test_an_unknown_label_is_reported_with_its_place() -> None:
    with pytest.raises(DataError, match=r"t.csv:7: unknown class 'bird'; the classes are cat, dog"):
        find_classes(["cat", "dog"], "f").number("bird", "t.csv:7")


@pytest.mark.parametrize(
    "pair", [("cat", "Cat"), ("cafe", "café"), ("1", "01"), ("1.1", "1.10"), ("a b", "a_b"), ("１", "1"), ("ﬁn", "fin")]
)
def test_labels_that_look_like_one_are_warned_about(pair: tuple[str, str]) -> None:
    (warning,) = near_duplicates([*pair, "other"])
    assert all(repr(name) in warning for name in pair)


@pytest.mark.parametrize("pair", [("a", "b"), ("1", "-1"), ("1", "2"), ("c", "c++")])
def test_labels_that_do_not(pair: tuple[str, str]) -> None:
    assert near_duplicates(pair) == []


def test_invisible_characters_do_not_make_a_class() -> None:
    assert same_label("\ufeffyes") == same_label("yes\u200b") == "yes"
    assert same_label("می‌خواهم") == "می‌خواهم"  # a joiner is a letter's form
