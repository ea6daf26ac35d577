"""Drawn expressions: the distribution against Long Range Arena's recursion and against exact fractions; splits."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest

from fptkit.errors import UsageError
from fptkit.tasks.listops.arrays import Expressions
from fptkit.tasks.listops.generate import TreeOptions, draw, length_shares
from fptkit.tasks.listops.grammar import OPERATORS, decode, evaluate

LONG = TreeOptions(shortest=501, longest=1999, depth=10, arguments=10)


def drawn(
    options: TreeOptions, count: int, *, seed: int = 0, name: str = "train", taken: set[bytes] | None = None
) -> Expressions:
    return draw(options, count, seed=seed, name=name, taken=set() if taken is None else taken)


def texts(some: Expressions) -> list[str]:
    return [decode(some.symbols[start:end]) for start, end in zip(some.offsets, some.offsets[1:], strict=False)]


def recursive(chance: random.Random, level: int, options: TreeOptions) -> list[str]:
    """One tree as Long Range Arena grows it: by recursion, an operator with probability 0.25 above the last level."""
    if level == options.depth or chance.random() > 0.25:
        return [str(chance.randrange(10))]
    arguments = [recursive(chance, level + 1, options) for _ in range(chance.randint(2, options.arguments))]
    return [chance.choice(OPERATORS), *(symbol for argument in arguments for symbol in argument), "]"]


def deepest(text: str) -> int:
    level, most = 0, 0
    for symbol in text.split():
        level += (symbol in OPERATORS) - (symbol == "]")
        most = max(most, level)
    return most


def test_values_are_those_of_the_text() -> None:
    for options, count in ((LONG, 25), (TreeOptions(10, 60, 5, 4), 400), (TreeOptions(4, 9, 2, 7), 300)):
        some = drawn(options, count)
        assert some.values.tolist() == [evaluate(text) for text in texts(some)]


def test_lengths_nesting_and_arguments_stay_in_bounds() -> None:
    some = drawn(TreeOptions(12, 40, 4, 3), 1500)
    assert some.lengths.min() == 12
    assert some.lengths.max() <= 40
    found = texts(some)
    assert {deepest(text) for text in found} == {2, 3}  # four levels of nodes, the last one of digits
    long = drawn(LONG, 200)
    assert 501 <= long.lengths.min() < long.lengths.max() <= 1999
    assert max(map(deepest, texts(long))) == 9


def test_shares_of_small_trees_by_hand() -> None:
    flat = length_shares(TreeOptions(4, 8, 2, 3))
    np.testing.assert_allclose(flat, [0, 0, 0, 0, 0.5, 0.5, 0, 0, 0], atol=1e-12)
    # Two arguments, each a digit (1 symbol) with probability 3/4, else an operator over two digits (4 symbols).
    nested = length_shares(TreeOptions(4, 10, 3, 2))
    np.testing.assert_allclose(nested[[4, 7, 10]], [9 / 16, 6 / 16, 1 / 16], atol=1e-12)
    assert nested.sum() == pytest.approx(1)


def test_shares_against_the_recursion() -> None:
    options = TreeOptions(4, 60, 5, 4)
    chance = random.Random(0)
    lengths = [len(tree) for tree in (recursive(chance, 1, options) for _ in range(40_000)) if len(tree) > 1]
    seen = np.bincount(lengths, minlength=61)[:61] / len(lengths)
    np.testing.assert_allclose(seen, length_shares(options), atol=0.015)


def test_drawn_lengths_have_the_exact_shares() -> None:
    """Chi-square of 6,000 long expressions; at these lengths there are no duplicates."""
    from scipy.stats import chisquare

    options = TreeOptions(60, 259, 6, 6)
    lengths = drawn(options, 6000).lengths
    edges = np.array([60, 64, 68, 72, 76, 80, 90, 100, 110, 120, 140, 160, 180, 260])

    def fit(options: TreeOptions) -> float:
        shares = length_shares(options)[60:]
        expected = np.add.reduceat(shares / shares.sum(), edges[:-1] - 60) * 6000
        return float(chisquare(np.histogram(lengths, edges)[0], expected).pvalue)

    assert fit(options) > 0.001
    assert fit(TreeOptions(60, 259, 6, 5)) < 1e-6  # the test tells other trees apart
    assert fit(TreeOptions(60, 259, 7, 6)) < 1e-6


def test_symbols_are_as_frequent_as_in_the_recursion() -> None:
    options = TreeOptions(60, 150, 6, 6)
    chance = random.Random(0)
    trees = [tree for tree in (recursive(chance, 1, options) for _ in range(40_000)) if 60 <= len(tree) <= 150]
    theirs = [symbol for tree in trees for symbol in tree]
    ours = " ".join(texts(drawn(options, 2000))).split()
    assert len(trees) > 500
    for symbol in (*OPERATORS, "]", *"0123456789"):
        assert ours.count(symbol) / len(ours) == pytest.approx(theirs.count(symbol) / len(theirs), abs=0.004)


def test_arguments_are_as_many_as_in_the_recursion() -> None:
    def counts(some: list[list[str]]) -> np.ndarray:
        found = []
        for symbols in some:
            lists: list[int] = []
            for symbol in symbols:
                if symbol == "]":
                    found.append(lists.pop())
                elif lists:
                    lists[-1] += 1
                if symbol in OPERATORS:
                    lists.append(0)
        return np.bincount(found, minlength=7) / len(found)

    options = TreeOptions(30, 90, 5, 6)
    chance = random.Random(0)
    trees = [tree for tree in (recursive(chance, 1, options) for _ in range(20_000)) if 30 <= len(tree) <= 90]
    np.testing.assert_allclose(counts([text.split() for text in texts(drawn(options, 1500))]), counts(trees), atol=0.02)


def test_no_expression_comes_twice() -> None:
    taken: set[bytes] = set()
    parts = [drawn(TreeOptions(4, 7, 3, 3), 500, name=name, taken=taken) for name in ("test", "validation", "train")]
    found = [text for part in parts for text in texts(part)]
    assert len(set(found)) == len(found) == 1500


def test_a_larger_split_begins_with_the_smaller() -> None:
    options = TreeOptions(20, 50, 4, 4)
    few, many = texts(drawn(options, 10)), texts(drawn(options, 5000))
    assert many[:10] == few
    assert len(many) == 5000


def test_seed_and_split_draw_other_expressions() -> None:
    options = TreeOptions(20, 50, 4, 4)
    base = texts(drawn(options, 20))
    assert texts(drawn(options, 20)) == base
    assert texts(drawn(options, 20, seed=1)) != base
    assert texts(drawn(options, 20, name="test")) != base


def test_the_data_never_change() -> None:
    """The documentation says: the same on every machine and with every version. Made by this code on 2026-11-24."""
    some = drawn(LONG, 50, name="test")
    assert hashlib.sha256(some.symbols.tobytes()).hexdigest() == (
        "1e52022f39c80e89e3449629665bce6f10aea25a4062c99b82fab65647947468"
    )
    assert texts(drawn(TreeOptions(4, 12, 3, 3), 2, name="test")) == [
        "[MAX 7 5 0 ]",
        "[MAX 7 6 1 ]",
    ]


def test_more_than_there_are_is_an_error() -> None:
    with pytest.raises(
        UsageError, match=r"split train: 500 distinct expressions requested, but there are hardly more than 400"
    ):
        drawn(TreeOptions(4, 4, 2, 2), 500)  # four operators, two digits: 400
    assert len(drawn(TreeOptions(4, 4, 2, 2), 400)) == 400


def test_a_length_hardly_any_tree_has_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"a fraction of \S+ has 1,105 to 1,110 symbols; change"):
        drawn(TreeOptions(1105, 1110, 4, 10), 1)
