"""The shared options."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fptkit.tasks.reading.options import OwnDataOptions, SplitOptions


def source(value: object) -> object:
    return OwnDataOptions.model_validate({"source": value}).model_dump(mode="json")["source"]


@pytest.mark.parametrize(
    "value",
    [
        "path:a.csv",
        ["path:a.csv", "path:b.csv"],
        {"train": "path:a.csv", "test": ["path:b.csv", "path:c.csv"]},
        {"train": "path:a", "validation": "path:b", "test_far": "path:c", "test_near": "path:d"},
    ],
)
def test_a_source_is_saved_as_it_was_written(value: object) -> None:
    assert source(value) == value


def test_a_source_of_all_examples_may_be_named() -> None:
    assert source({"all": ["path:a"]}) == "path:a"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a.csv", "path:FILE_OR_FOLDER"),
        ("path:", "names nothing"),
        ({"test": "path:a"}, "needs train"),
        ({"train": "path:a", "tests": "path:b"}, "'tests' is not a split"),
        ({"train": []}, "names no file"),
        ({}, "name a file"),
        ({"all": "path:a", "train": "path:b"}, "'all' is not a split"),
    ],
)
def test_wrong_sources(value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        source(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0.5, "test": 0.5}, "leave nothing for training"),
        ({"train": 0.8}, "add up to 1.1"),
        ({"time": "t", "group": "g"}, "either by group or by time"),
        ({"time": "t", "column": "c"}, "leave out time or column"),
        ({"column": "c", "stratified": True}, "cannot be stratified"),
        ({"test": 0}, "greater than 0"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_splits(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SplitOptions.model_validate(options)


def test_shares_that_fill_the_split() -> None:
    assert SplitOptions(train=0.7, validation=0.2, test=0.1).train == 0.7
