"""Sources of symbols that follow a procedure: nested brackets, a stack, a cellular automaton, recall, bits to remember.

A source is an endless stream of independent examples, each after a separator, symbol 0. Everything that a procedure
determines can be predicted from the example so far; what it chooses has a known probability. So the loss of a perfect
model that sees the whole example is known for each symbol.

Source: which procedures are used to pretrain transformers follows Wu et al. 2022 (arXiv 2206.10139: copying, sorting,
stacks), Hu et al. 2025 (arXiv 2502.19249: nested brackets), Zhang et al. 2024 (arXiv 2410.02536: Rule 110) and Shinnick
et al. 2025 (arXiv 2505.22308: most of them); Bit Memory is that of Lu et al. 2021. The symbols and sizes are ours.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fptkit.lab.pretraining.options import SyntheticData

SEPARATOR = 0
"""Symbol before each example."""


class Example:
    """An example that is being written: its symbols, and how surprising each is given those before it in the example.

    Attributes:
        symbols: the symbols so far; the first is the separator.
        nats: for each symbol, minus the logarithm of its probability.
    """

    def __init__(self) -> None:
        self.symbols: list[int] = [SEPARATOR]
        self.nats: list[float] = [0.0]

    def add(self, symbol: int, nats: float = 0.0) -> None:
        """Append a symbol; without ``nats`` it is certain."""
        self.symbols.append(symbol)
        self.nats.append(nats)


class Procedure(ABC):
    """A source of examples.

    Args:
        data: options of the source.
    """

    summary: ClassVar[str]
    """What the examples are, for the model card."""

    lesson: ClassVar[str]
    """What can be learnt from them, for the model card."""

    def __init__(self, data: SyntheticData) -> None:
        self.data = data

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of symbols, the separator included."""

    @abstractmethod
    def write(self, chance: np.random.Generator, example: Example) -> None:
        """Write an example behind its separator."""

    def sample(self, rows: int, length: int, chance: np.random.Generator) -> NDArray[np.int64]:
        """Sample sequences; each begins with a new example. Shapes: -> (rows, length)."""
        return np.stack([self._stream(length, chance)[0] for _ in range(rows)])

    def held_out(self, length: int, chance: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """One sequence, and the loss of a perfect model on each symbol except the first, in nats.

        Shapes: -> (length,), (length - 1,).
        """
        symbols, nats = self._stream(length, chance)
        return symbols, nats[1:]

    def _stream(self, length: int, chance: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        symbols: list[int] = []
        nats: list[float] = []
        while len(symbols) < length:
            example = Example()
            self.write(chance, example)
            symbols += example.symbols
            # Where the previous example ends is part of that example; a separator behind it is certain.
            nats += example.nats
        return np.asarray(symbols[:length], np.int64), np.asarray(nats[:length])

    def _size(self, chance: np.random.Generator) -> int:
        """Size of an example, uniform over ``data.length``."""
        return int(chance.integers(self.data.length[0], self.data.length[1] + 1))

    def _ends(self, size: int) -> float:
        """Nats of the fact that an example ends at ``size``; 0 if it had to."""
        least, most = self.data.length
        return math.log(most - size + 1) if size >= least else math.inf

    def _continues(self, size: int) -> float:
        """Nats of the fact that an example does not end at ``size``."""
        least, most = self.data.length
        return math.log((most - size + 1) / (most - size)) if size >= least else 0.0


class Brackets(Procedure):
    """Words of nested brackets: symbols 1 ... k open, k + 1 ... 2k close. A word ends when all are closed."""

    summary = (
        "balanced words of {vocabulary:,} types of brackets, at most {depth} deep: a bracket opens or closes with "
        "equal probability, and a word ends when everything is closed (Dyck language)"
    )
    lesson = "which bracket closes next, from any distance"

    @property
    def vocabulary(self) -> int:
        return 2 * self.data.vocabulary + 1

    def write(self, chance: np.random.Generator, example: Example) -> None:
        types, deepest = self.data.vocabulary, self.data.depth
        any_type = math.log(types)
        stack: list[int] = []
        while stack or len(example.symbols) == 1:
            free = 0 < len(stack) < deepest
            choice = math.log(2) if free else 0.0
            if not stack or (free and chance.random() < 0.5):  # a fair coin
                stack.append(int(chance.integers(types)))
                example.add(1 + stack[-1], choice + any_type)
            else:
                example.add(1 + types + stack.pop(), choice)


class Stack(Procedure):
    """Traces of a stack and of sorting. Symbols: push, pop, sort, result, then the values."""

    PUSH, POP, SORT, RESULT, FIRST = 1, 2, 3, 4, 5
    summary = (
        "half of them traces of a stack of at most {depth} values (push with a value, or pop followed by the value "
        "that comes off), half lists of values followed by the same in order; {vocabulary:,} values, {length[0]} to "
        "{length[1]} operations or values"
    )
    lesson = "to remember values in the order of a stack, and to sort"

    @property
    def vocabulary(self) -> int:
        return self.data.vocabulary + self.FIRST

    def write(self, chance: np.random.Generator, example: Example) -> None:
        if chance.random() < 0.5:  # a fair coin
            self._sort(chance, example)
        else:
            self._trace(chance, example)

    def _sort(self, chance: np.random.Generator, example: Example) -> None:
        size, any_value = self._size(chance), math.log(self.data.vocabulary)
        example.add(self.SORT, math.log(2))
        values = chance.integers(self.data.vocabulary, size=size).tolist()
        for place, value in enumerate(values):
            example.add(self.FIRST + value, any_value + self._continues(place))
        example.add(self.RESULT, self._ends(size))
        for value in sorted(values):
            example.add(self.FIRST + value)

    def _trace(self, chance: np.random.Generator, example: Example) -> None:
        any_value = math.log(self.data.vocabulary)
        stack: list[int] = []
        size = self._size(chance)
        for number in range(size):
            # The first operation also says that this is a trace and no sorting; it is always a push.
            choice = self._continues(number) if number else math.log(2)
            if 0 < len(stack) < self.data.depth:
                choice += math.log(2)
                pushes = bool(chance.random() < 0.5)  # a fair coin
            else:
                pushes = not stack
            example.add(self.PUSH if pushes else self.POP, choice)
            if pushes:
                stack.append(int(chance.integers(self.data.vocabulary)))
                example.add(self.FIRST + stack[-1], any_value)
            else:
                example.add(self.FIRST + stack.pop())
        example.add(self.RESULT, self._ends(size))


class Automaton(Procedure):
    """Rows of an elementary cellular automaton on a ring. Symbols: cells 1 and 2, end of a row 3."""

    DEAD, END = 1, 3
    summary = (
        "rows of cells of the elementary cellular automaton of rule {rule} on a ring: a random first row of "
        "{length[0]} to {length[1]} cells, and the {rows} rows that the rule makes of it, the first included"
    )
    lesson = "to apply a local rule to three cells of the row before"

    @property
    def vocabulary(self) -> int:
        return 4

    def write(self, chance: np.random.Generator, example: Example) -> None:
        size, table = self._size(chance), np.array([self.data.rule >> number & 1 for number in range(8)])
        row = chance.integers(2, size=size)
        for place, cell in enumerate(row.tolist()):
            example.add(self.DEAD + cell, math.log(2) + self._continues(place))
        example.add(self.END, self._ends(size))
        for _ in range(self.data.rows - 1):
            row = table[4 * np.roll(row, 1) + 2 * row + np.roll(row, -1)]
            for cell in row.tolist():
                example.add(self.DEAD + cell)
            example.add(self.END)


class Recall(Procedure):
    """Copies, and values looked up by key. Symbols: copy, look up, then, then the values."""

    COPY, LOOK_UP, THEN, FIRST = 1, 2, 3, 4
    summary = (
        "half of them {length[0]} to {length[1]} random symbols followed by a copy of them, half as many pairs of a "
        "key and a value, followed by every key in another order with its value; {vocabulary:,} symbols"
    )
    lesson = "to copy, and to find what followed an earlier occurrence of a symbol"

    @property
    def vocabulary(self) -> int:
        return self.data.vocabulary + self.FIRST

    def write(self, chance: np.random.Generator, example: Example) -> None:
        copies = bool(chance.random() < 0.5)  # a fair coin
        example.add(self.COPY if copies else self.LOOK_UP, math.log(2))
        (self._copy if copies else self._look_up)(chance, example)

    def _copy(self, chance: np.random.Generator, example: Example) -> None:
        size, any_value = self._size(chance), math.log(self.data.vocabulary)
        values = chance.integers(self.data.vocabulary, size=size).tolist()
        for place, value in enumerate(values):
            example.add(self.FIRST + value, any_value + self._continues(place))
        example.add(self.THEN, self._ends(size))
        for value in values:
            example.add(self.FIRST + value)

    def _look_up(self, chance: np.random.Generator, example: Example) -> None:
        size, count = self._size(chance), self.data.vocabulary
        keys = chance.permutation(count)[:size].tolist()
        values = dict(zip(keys, chance.integers(count, size=size).tolist(), strict=True))
        for place, key in enumerate(keys):
            example.add(self.FIRST + key, math.log(count - place) + self._continues(place))
            example.add(self.FIRST + values[key], math.log(count))
        example.add(self.THEN, self._ends(size))
        for place, key in enumerate(chance.permutation(keys).tolist()):
            example.add(self.FIRST + key, math.log(size - place))
            example.add(self.FIRST + values[key])


class BitMemory(Procedure):
    """Strings of bits, one of them again with masked bits, then complete. Symbols: bits 1 and 2, mask 3, next 4."""

    ZERO, MASK, NEXT = 1, 3, 4
    summary = (
        "{rows} random strings of equally many bits, {length[0]} to {length[1]}; then one of them in which each bit is "
        "masked with probability 1/2, then the same without the mask (the paper's Bit Memory as a sequence)"
    )
    lesson = "to recognise a string by some of its bits and to recall the others"

    @property
    def vocabulary(self) -> int:
        return 5

    def write(self, chance: np.random.Generator, example: Example) -> None:
        size, half = self._size(chance), math.log(2)
        strings = chance.integers(2, size=(self.data.rows, size))
        for number, string in enumerate(strings.tolist()):
            for place, bit in enumerate(string):
                example.add(self.ZERO + bit, half + (self._continues(place) if number == 0 else 0.0))
            example.add(self.NEXT, self._ends(size) if number == 0 else 0.0)
        asked, masked = strings[chance.integers(self.data.rows)], chance.random(size) < 0.5
        belief = self._ask(strings, asked, masked, example)
        example.add(self.NEXT)
        for place, bit in enumerate(asked.tolist()):
            belief = self._see(belief, strings[:, place], bit, example, 0.0)

    def _ask(
        self, strings: NDArray[np.int64], asked: NDArray[np.int64], masked: NDArray[np.bool_], example: Example
    ) -> NDArray[np.float64]:
        """Write the masked string. Returns the probability that it is each of the strings, given what is visible."""
        belief = np.full(len(strings), 1 / len(strings))
        for place, bit in enumerate(asked.tolist()):
            if masked[place]:
                example.add(self.MASK, math.log(2))
            else:
                belief = self._see(belief, strings[:, place], bit, example, math.log(2))
        return belief

    def _see(
        self, belief: NDArray[np.float64], bits: NDArray[np.int64], bit: int, example: Example, nats: float
    ) -> NDArray[np.float64]:
        """Write a bit of the string that is asked for; returns the belief after it."""
        fitting = belief * (bits == bit)
        probability = float(fitting.sum())
        example.add(self.ZERO + bit, nats - math.log(probability))
        return fitting / probability


PROCEDURES: dict[str, type[Procedure]] = {
    "brackets": Brackets,
    "stack": Stack,
    "automaton": Automaton,
    "recall": Recall,
    "bit_memory": BitMemory,
}
"""Procedures by the name of their source."""
