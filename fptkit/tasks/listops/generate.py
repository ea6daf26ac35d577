"""Generation of random expressions with Long Range Arena's distribution, many trees at a time.

LRA grows one tree after another by recursion and discards those of the wrong length, which are nearly all. Here a batch
of trees (a wood) grows level by level as arrays, a tree is dropped once it is too long, and only trees of the right
length are written out. The distribution is the same; tests compare it with the exact one.

Source: google-research/long-range-arena, lra_benchmarks/data/listops.py (``generate_tree``, ``VALUE_P``, ``main``).
All randomness comes from the raw 64-bit output of PCG64, which NumPy guarantees (NEP 19), so the same options give the
same data on every machine and with every version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import UsageError
from fptkit.seeds import derive_seed
from fptkit.tasks.listops.arrays import FIRST_DIGIT, Expressions, Ids, Integers, apply_operators, join
from fptkit.tasks.listops.grammar import CLOSE_ID, FIRST_OPERATOR, OPERATORS

OPERATOR_PROBABILITY = 0.25
"""Probability of an operator instead of a digit, at any depth but the last. Source: the use of ``VALUE_P`` in LRA."""

SYMBOLS_OF_A_WOOD = 1 << 22
"""Maximum number of symbols in a batch of trees, which limits memory to about 300 MB."""

RAREST = 1e-5
"""Smallest allowed fraction of trees with the requested length; below it, generation would take hours."""


@dataclass(frozen=True)
class TreeOptions:
    """Distribution of random trees.

    Args:
        shortest: minimum number of symbols, at least 4; round brackets do not count, an operator with its bracket is
            one symbol.
        longest: maximum number of symbols.
        depth: levels of a tree; the last has digits only, so lists nest ``depth - 1`` deep.
        arguments: maximum number of arguments of an operator; the minimum is 2.
    """

    shortest: int
    longest: int
    depth: int
    arguments: int

    @property
    def wood(self) -> int:
        """Number of trees in a batch; a function of these options only, since it affects which trees are drawn."""
        return max(16, min(1 << 12, SYMBOLS_OF_A_WOOD // self.longest))


class _Chance:
    """Uniform random numbers in [0, 1), 53 bits each."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def floats(self, count: int) -> NDArray[np.float64]:
        numbers: NDArray[np.float64] = (self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53
        return numbers


@dataclass
class _Level:
    """The nodes of one level of a batch of trees, tree by tree and in text order.

    Args:
        tree: index of the tree of each node.
        kind: 0 ... 9 for a digit, 10 and above for an operator.
        arguments: number of arguments of each node, 0 for a digit.
    """

    tree: NDArray[np.int32]
    kind: NDArray[np.int8]
    arguments: NDArray[np.int64]

    def keep(self, trees: NDArray[np.bool_], numbers: NDArray[np.int32]) -> _Level:
        """Return the nodes of some of the trees, which are renumbered."""
        kept = trees[self.tree]
        return _Level(numbers[self.tree[kept]], self.kind[kept], self.arguments[kept])


def draw(options: TreeOptions, count: int, *, seed: int, name: str, taken: set[bytes]) -> Expressions:
    """Draw random expressions without duplicates.

    Args:
        options: distribution of the trees.
        count: number of expressions; fewer are a prefix of more.
        seed: seed of the data.
        name: name of the split; each split has its own random stream.
        taken: digests of excluded expressions; those of the drawn ones are added.

    Raises:
        UsageError: hardly any tree has the requested length, or there are too few distinct expressions.
    """
    share = length_shares(options)[options.shortest :].sum()
    if share < RAREST:
        raise UsageError(
            f"listops: of all trees with at most {options.depth} levels and {options.arguments} arguments, only a "
            f"fraction of {share:.1g} has {options.shortest:,} to {options.longest:,} symbols; change length, "
            "max_depth or max_arguments"
        )
    parts: list[Expressions] = []
    found = 0
    barren = 0
    for grown in _woods(options, _Chance(derive_seed(seed, "listops", name))):
        fresh = _new_ones(grown, taken, count - found)
        parts.append(fresh)
        found += len(fresh)
        if found == count:
            return join(parts)
        # A batch has few trees of a rare length, so only duplicates show that no new expressions are left.
        barren = barren + len(grown) if len(fresh) * 50 < len(grown) else 0
        if barren > 20_000:
            raise UsageError(
                f"listops: split {name}: {count:,} distinct expressions requested, but there are hardly more than "
                f"{len(taken):,} with {options.shortest:,} to {options.longest:,} symbols; allow longer ones or make "
                "the splits smaller"
            )
    raise AssertionError("the batches of trees are endless")


def length_shares(options: TreeOptions) -> NDArray[np.float64]:
    """Return the exact distribution of the lengths of trees whose root is an operator: (longest + 1,) fractions.

    Lengths above ``longest`` are omitted, so the sum is below 1.
    """
    size = options.longest + 1
    argument = np.zeros(size)  # distribution of the lengths of a node's text, from the last level upwards
    argument[1] = 1
    shares = np.zeros(size)
    for level in range(options.depth - 1, 0, -1):
        shares = np.zeros(size)
        several = argument
        for _ in range(2, options.arguments + 1):
            several = _convolve(several, argument)
            shares[2:] += several[:-2] / (options.arguments - 1)
        if level > 1:
            argument = OPERATOR_PROBABILITY * shares
            argument[1] += 1 - OPERATOR_PROBABILITY
    return shares


def _convolve(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distribution of the sum of two lengths, to about 1e-16."""
    size = 2 * len(left)
    product = np.fft.irfft(np.fft.rfft(left, size) * np.fft.rfft(right, size), size)
    convolved: NDArray[np.float64] = np.maximum(product[: len(left)], 0)  # rounding errors may be negative
    return convolved


def digests(expressions: Expressions) -> Iterator[bytes]:
    """Yield a 16-byte digest of each expression."""
    data = expressions.symbols.tobytes()
    bounds = expressions.offsets.tolist()
    for start, end in pairwise(bounds):
        yield hashlib.blake2b(data[start:end], digest_size=16).digest()


def _new_ones(grown: Expressions, taken: set[bytes], most: int) -> Expressions:
    """Return the first ``most`` expressions whose digests are not in ``taken``, and add their digests to it."""
    chosen: list[int] = []
    for number, digest in enumerate(digests(grown)):
        if len(chosen) == most:
            break
        if digest not in taken:
            taken.add(digest)
            chosen.append(number)
    return grown if len(chosen) == len(grown) else grown.take(np.array(chosen, np.int64))


def _woods(options: TreeOptions, chance: _Chance) -> Iterator[Expressions]:
    """Yield the expressions of the requested length of one batch after another, endlessly."""
    while True:
        levels, count = _grow(options, chance)
        yield _write(levels, count)


def _grow(options: TreeOptions, chance: _Chance) -> tuple[list[_Level], int]:
    """Grow a batch of trees with operators as roots; return the levels and the number of trees of the right length."""
    count = options.wood
    levels = [_nodes(np.arange(count, dtype=np.int32), chance, options, operators_only=True)]
    lengths = np.full(count, 2)
    for depth in range(2, options.depth + 1):
        parents = levels[-1]
        tree = np.repeat(parents.tree, parents.arguments)
        nodes = _nodes(tree, chance, options, digits_only=depth == options.depth)
        levels.append(nodes)
        lengths = lengths + np.bincount(tree, 1 + (nodes.kind >= 10), minlength=count).astype(np.int64)
        pending = np.bincount(tree, nodes.arguments, minlength=count).astype(np.int64)
        good = lengths + pending <= options.longest
        if depth == options.depth:
            good &= lengths >= options.shortest
        if not good.all():
            numbers = np.cumsum(good, dtype=np.int32) - np.int32(1)
            levels = [level.keep(good, numbers) for level in levels]
            lengths, count = lengths[good], int(good.sum())
    return levels, count


def _nodes(
    tree: NDArray[np.int32],
    chance: _Chance,
    options: TreeOptions,
    *,
    operators_only: bool = False,
    digits_only: bool = False,
) -> _Level:
    """Draw the nodes of these trees; one random number decides kind and arguments of a node."""
    numbers = chance.floats(len(tree))
    arguments = np.zeros(len(tree), np.int64)
    if digits_only:
        return _Level(tree, (numbers * 10).astype(np.int8), arguments)
    probability = 1.0 if operators_only else OPERATOR_PROBABILITY
    operator = numbers < probability
    ways = options.arguments - 1  # 2 ... arguments
    choice = (numbers[operator] / probability * (ways * len(OPERATORS))).astype(np.int64)
    kind = np.empty(len(tree), np.int8)
    kind[operator] = 10 + choice // ways
    arguments[operator] = 2 + choice % ways
    if not operators_only:
        kind[~operator] = (numbers[~operator] - probability) / (1 - probability) * 10
    return _Level(tree, kind, arguments)


def _write(levels: list[_Level], count: int) -> Expressions:
    """Return the trees as text, with their values."""
    sizes, values = _sizes_and_values(levels)
    lengths = sizes[0]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    symbols: Ids = np.empty(int(offsets[-1]), np.uint8)
    starts = offsets[:-1]
    for depth, level in enumerate(levels):
        operator = level.kind >= 10
        symbols[starts] = np.where(operator, level.kind - 10 + FIRST_OPERATOR, level.kind + FIRST_DIGIT)
        symbols[(starts + sizes[depth] - 1)[operator]] = CLOSE_ID
        if depth + 1 < len(levels):
            # An argument starts after its operator and the arguments before it.
            inner = sizes[depth + 1]
            before = np.cumsum(inner) - inner
            counts = level.arguments[operator]
            first = before[np.cumsum(counts) - counts] if len(counts) else counts
            starts = np.repeat(starts[operator] + 1 - first, counts) + before
    return Expressions(symbols, offsets, values.astype(np.int64))


def _sizes_and_values(levels: list[_Level]) -> tuple[list[Integers], NDArray[np.int8]]:
    """Return the text length of every node, by level, and the values of the roots; computed from the last level up."""
    sizes: list[Integers] = []
    values = np.zeros(0, np.int8)
    for level in reversed(levels):
        operator = level.kind >= 10
        size, value = np.ones(len(level.kind), np.int64), level.kind.copy()
        if operator.any():
            counts = level.arguments[operator]
            size[operator] = 2 + np.add.reduceat(sizes[-1], np.cumsum(counts) - counts)
            value[operator] = apply_operators(level.kind[operator] - 10, counts, values)
        sizes.append(size)
        values = value
    return sizes[::-1], values
