"""What a task's inputs and answers are: kinds of input tokens, kinds of answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import Tensor

from fptkit.errors import ShapeError


@dataclass(frozen=True)
class Vectors:
    """Input tokens are real-valued vectors.

    Args:
        width: F, numbers per token.
    """

    width: int


@dataclass(frozen=True)
class Symbols:
    """Input tokens are symbols of a finite alphabet.

    Args:
        count: size of the alphabet, the padding symbol included.
        pad: id of the symbol that fills the right of short examples.
    """

    count: int
    pad: int = 0


@dataclass(frozen=True)
class Grid:
    """Inputs are arrays with two axes and channels, all of one size: images, spectrograms of fixed length, boards.

    A raw token is one cell, so a task over a grid has ``max_tokens`` of the grid's own; an encoder makes fewer of them.

    Args:
        size: (H, W), rows and columns.
        channels: C, numbers per cell.

    Raises:
        ShapeError: a row, column or channel is missing.
    """

    size: tuple[int, int]
    channels: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))
        if len(self.size) != 2 or not all(isinstance(n, int) and n >= 1 for n in (*self.size, self.channels)):
            raise ShapeError(f"{self}: size must be two integers of at least 1, and channels at least 1")

    @property
    def max_tokens(self) -> int:
        """H * W, the number of cells."""
        return self.size[0] * self.size[1]


@dataclass(frozen=True)
class Mixed:
    """Inputs have several named parts of different kinds, whose tokens follow one another.

    Padding stands on the right only, also after encoding. So the last part alone may vary in length; of every other
    one, each example has the same number of tokens.

    Args:
        parts: the kind of each part, in the order of their tokens.
        tokens: for each part that is no grid, how many tokens it has; for the last part, at most.

    Raises:
        ShapeError: there is no part, one is of another kind, or ``tokens`` does not name just the parts it must.
    """

    parts: Mapping[str, Vectors | Symbols | Grid]
    tokens: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", dict(self.parts))
        object.__setattr__(self, "tokens", dict(self.tokens))
        if not self.parts:
            raise ShapeError("Mixed: name at least one part")
        for name, kind in self.parts.items():
            if not isinstance(name, str) or not isinstance(kind, (Vectors, Symbols, Grid)):
                raise ShapeError(f"Mixed: part {name!r} is {kind!r}, expected a name with Vectors, Symbols or Grid")
        wanted = [name for name, kind in self.parts.items() if not isinstance(kind, Grid)]
        if sorted(wanted) != sorted(self.tokens):
            raise ShapeError(
                f"Mixed: tokens names {', '.join(map(str, self.tokens)) or 'no part'}; expected, since a grid has its "
                f"own: {', '.join(wanted) or 'none'}"
            )
        for name, count in self.tokens.items():
            if not isinstance(count, int) or count < 1:
                raise ShapeError(f"Mixed: tokens of part '{name}' are {count!r}, expected an integer of at least 1")

    @property
    def last(self) -> str:
        """Name of the last part, the only one that may vary in length."""
        return list(self.parts)[-1]

    def tokens_of(self, name: str) -> int:
        """Raw tokens of a part; of the last one, at most."""
        kind = self.parts[name]
        return kind.max_tokens if isinstance(kind, Grid) else self.tokens[name]

    @property
    def max_tokens(self) -> int:
        """Raw tokens of the longest example, of all parts together."""
        return sum(self.tokens_of(name) for name in self.parts)


InputKind: TypeAlias = Vectors | Symbols | Grid | Mixed


KIND_NAMES: Mapping[type, str] = {Vectors: "vectors", Symbols: "symbols", Grid: "grid", Mixed: "mixed"}
"""The word of each input kind in ``EncoderSpec.accepts``."""


@dataclass(frozen=True)
class Classes:
    """The answer is one class, at one token or at several, once or several times per token.

    Args:
        count: K, number of classes.
        tokens: R, tokens read out. 1: targets are (B,). More: the last R real tokens, targets (B, R).
        per_token: answers given at each read-out token; above 1, targets are (B, R, per_token).

    Raises:
        ShapeError: fewer than two classes, or no token or answer.
    """

    count: int
    tokens: int = 1
    per_token: int = 1

    def __post_init__(self) -> None:
        if self.count < 2 or self.tokens < 1 or self.per_token < 1:
            raise ShapeError(f"{self}: count must be at least 2, tokens and per_token at least 1")

    @property
    def width(self) -> int:
        """Numbers the output layer gives at each read-out token."""
        return self.count * self.per_token

    def target_shape(self, size: int) -> tuple[int, ...]:
        """Shape of the targets of ``size`` examples."""
        if self.per_token > 1:
            return (size, self.tokens, self.per_token)
        return (size, self.tokens) if self.tokens > 1 else (size,)

    def arrange(self, raw: Tensor) -> Tensor:
        """Raw head output (B, R, width) -> logits whose last axis is the class: the targets' shape plus (K,)."""
        if self.per_token > 1:
            return raw.unflatten(-1, (self.per_token, self.count))
        return raw.squeeze(1) if self.tokens == 1 else raw


@dataclass(frozen=True)
class Values:
    """The answer is real numbers (regression).

    Args:
        width: numbers per read-out token; targets are (B, width), or (B, R, width) when ``tokens`` > 1.
        tokens: R, tokens read out.
    """

    width: int
    tokens: int = 1

    def target_shape(self, size: int) -> tuple[int, ...]:
        """Shape of the targets of ``size`` examples."""
        return (size, self.tokens, self.width) if self.tokens > 1 else (size, self.width)

    def arrange(self, raw: Tensor) -> Tensor:
        """Raw head output (B, R, width) -> predictions of the targets' shape."""
        return raw.squeeze(1) if self.tokens == 1 else raw
