"""Kinds as JSON and back."""

from __future__ import annotations

import json

import pytest

from fptkit.errors import DataError
from fptkit.interfaces import Classes, Grid, Mixed, Symbols, Values, Vectors
from fptkit.interfaces.descriptions import describe, described_input, described_output

INPUTS = [
    Vectors(3),
    Symbols(7, pad=2),
    Grid((4, 5), 3),
    Mixed({"picture": Grid((4, 4)), "words": Symbols(7)}, {"words": 9}),
]
OUTPUTS = [Classes(3), Classes(2, 4, 2, ("no", "yes"), ("a", "b")), Values(2, names=("x", "y")), Values(1, tokens=3)]


@pytest.mark.parametrize("kind", INPUTS, ids=str)
def test_inputs(kind: object) -> None:
    assert described_input(json.loads(json.dumps(describe(kind))), "f") == kind  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", OUTPUTS, ids=str)
def test_outputs(kind: object) -> None:
    assert described_output(json.loads(json.dumps(describe(kind))), "f") == kind  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (3, "f: 3 is not a kind of vectors, symbols, grid"),
        ({"kind": "classes"}, "is not a kind of"),
        ({"kind": "vectors"}, "vectors lacks a field"),
        ({"kind": "vectors", "width": 3, "depth": 4}, "no field 'depth'"),
    ],
)
def test_what_is_no_kind(content: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        described_input(content, "f")
