"""Symbols that follow a procedure: each example obeys its rule, and its probability is the one that is stated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from fptkit.lab.pretraining.options import SyntheticData
from fptkit.lab.pretraining.procedures import PROCEDURES, Example

VALUES = 9


def examples(count: int, **options: object) -> list[Example]:
    """Examples of a source, written one after the other."""
    data = SyntheticData.model_validate(options)
    chance, made = np.random.default_rng(0), []
    for _ in range(count):
        made.append(Example())
        PROCEDURES[data.source](data).write(chance, made[-1])
    return made


# --- readers that know the rules and none of the code


def is_balanced(symbols: list[int]) -> bool:
    open_ones: list[int] = []
    for symbol in symbols:
        if symbol <= VALUES:
            open_ones.append(symbol)
        elif not open_ones or open_ones.pop() + VALUES != symbol:
            return False
    return not open_ones


def is_trace_or_sorting(symbols: list[int]) -> bool:
    if symbols[0] == 3:
        middle = symbols.index(4)
        return sorted(symbols[1:middle]) == symbols[middle + 1 :]
    stack: list[int] = []
    for operation, value in zip(symbols[:-1:2], symbols[1:-1:2], strict=True):
        if operation == 1:
            stack.append(value)
        elif stack.pop() != value:
            return False
    return symbols[-1] == 4


def follows_rule_110(symbols: list[int]) -> bool:
    rows = [[cell - 1 for cell in row] for row in rows_of(symbols, 3)]
    live = {(1, 1, 0), (1, 0, 1), (0, 1, 1), (0, 1, 0), (0, 0, 1)}  # Wolfram 2002: 111 and 000, 100 die
    return all(
        after
        == [
            int((before[place - 1], before[place], before[(place + 1) % len(before)]) in live)
            for place in range(len(before))
        ]
        for before, after in pairwise(rows)
    )


def rows_of(symbols: list[int], end: int) -> list[list[int]]:
    rows: list[list[int]] = [[]]
    for symbol in symbols:
        if symbol == end:
            rows.append([])
        else:
            rows[-1].append(symbol)
    assert rows.pop() == [] or end == 4
    return rows


def is_recalled(symbols: list[int]) -> bool:
    middle = symbols.index(3)
    given, answer = symbols[1:middle], symbols[middle + 1 :]
    if symbols[0] == 1:
        return given == answer
    pairs = dict(zip(given[::2], given[1::2], strict=True))
    return dict(zip(answer[::2], answer[1::2], strict=True)) == pairs and len(answer) == len(given)


def is_remembered(symbols: list[int]) -> bool:
    *strings, asked = "".join(map(str, symbols)).split("4")
    *strings, masked = strings
    fits = all(seen in ("3", bit) for seen, bit in zip(masked, asked, strict=True))
    return asked in strings and fits


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("brackets", is_balanced),
        ("stack", is_trace_or_sorting),
        ("automaton", follows_rule_110),
        ("recall", is_recalled),
        ("bit_memory", is_remembered),
    ],
)
def test_every_example_obeys_the_rule(source: str, rule: Callable[[list[int]], bool]) -> None:
    options = {"source": source, "vocabulary": VALUES, "length": (3, 8), "depth": 5}
    made = examples(60, **options)
    assert all(example.symbols[0] == 0 and rule(example.symbols[1:]) for example in made)
    vocabulary = PROCEDURES[source](SyntheticData.model_validate(options)).vocabulary
    assert max(max(example.symbols) for example in made) == vocabulary - 1


@pytest.mark.parametrize(
    "options",
    [
        {"source": "brackets", "vocabulary": 2, "depth": 1},
        {"source": "stack", "vocabulary": 2, "length": (1, 2), "depth": 1},
        {"source": "automaton", "length": (3, 4), "rows": 2},
        {"source": "recall", "vocabulary": 2, "length": (1, 2)},
        {"source": "bit_memory", "rows": 2, "length": (1, 2)},
    ],
)
def test_the_stated_probabilities_are_those_of_the_examples(options: dict[str, object]) -> None:
    made = examples(2500, **options)
    stated = {tuple(one.symbols): math.exp(-sum(one.nats)) for one in made}
    assert sum(stated.values()) == pytest.approx(1.0, abs=1e-9), "all possible examples occurred, and no others"
    for symbols, found in Counter(tuple(one.symbols) for one in made).items():
        expected = len(made) * stated[symbols]
        assert abs(found - expected) < 5 * math.sqrt(expected) + 1


def test_a_stream_is_made_of_examples_and_depends_on_chance_alone() -> None:
    source = PROCEDURES["recall"](SyntheticData(source="recall", vocabulary=40))
    rows = source.sample(3, 200, np.random.default_rng(1))
    assert rows.shape == (3, 200)
    assert not rows[:, 0].any()
    assert (rows == source.sample(3, 200, np.random.default_rng(1))).all()
    symbols, nats = source.held_out(200, np.random.default_rng(2))
    assert nats.shape == (199,)
    assert not nats[symbols[1:] == 0].any(), "a separator after a complete example is certain"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": "stack", "length": (5, 4)}, "starts above its end"),
        ({"source": "automaton", "length": (2, 4)}, "two neighbours"),
        ({"source": "recall", "vocabulary": 8, "length": (4, 9)}, "different keys"),
        ({"source": "automaton", "rule": 256}, "255"),
    ],
)
def test_sizes_that_cannot_be(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SyntheticData.model_validate(options)


def test_checkpoints_of_earlier_versions_can_be_resumed() -> None:
    before = {"source", "vocabulary", "temperature", "zipf_exponent", "seed", "held_out_tokens"}
    assert set(SyntheticData(source="iid").identity()) == before
    assert set(SyntheticData(source="stack").identity()) == before | {"length", "depth", "rows", "rule"}
