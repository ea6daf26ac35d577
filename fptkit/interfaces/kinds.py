"""Kinds of inputs and answers of a task.

A kind defines the shapes and checks of its tensors, their number of tokens, and its default loss and metrics. It does
not depend on encoders or the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from fptkit.errors import ShapeError
from fptkit.interfaces.metrics import Accuracy, MeanSquaredError, Metric
from fptkit.interfaces.one_tensor import Faults, OneTensor, number_faults
from fptkit.specs import limits


@dataclass(frozen=True)
class Vectors(OneTensor):
    """Input kind: tokens are real-valued vectors.

    Shapes: inputs (B, T, F) float32.

    Args:
        width: F, numbers per token.

    Example:
        >>> import fptkit
        >>> fptkit.Vectors(width=3).name
        'vectors'
    """

    name: ClassVar[str] = "vectors"
    dimensions: ClassVar[int] = 3

    width: int

    def _value_faults(self, inputs: Tensor) -> Faults:
        shape = tuple(inputs.shape[2:])
        yield shape != (self.width,), f"tokens have {shape} numbers, but the task declares {self.width}"
        yield from number_faults(inputs, "vectors")


@dataclass(frozen=True)
class Symbols(OneTensor):
    """Input kind: tokens are symbols of a finite alphabet.

    Shapes: inputs (B, T) int64.

    Args:
        count: size of the alphabet, including the padding symbol.
        pad: id of the padding symbol.
        vocabulary: digest of the tokenizer whose tokens the symbols are; empty for symbols of another kind.

    Example:
        >>> import fptkit
        >>> fptkit.Symbols(count=5, pad=4).name
        'symbols'
    """

    name: ClassVar[str] = "symbols"
    dimensions: ClassVar[int] = 2

    count: int
    pad: int = 0
    vocabulary: str = ""

    def _value_faults(self, inputs: Tensor) -> Faults:
        yield inputs.dtype != torch.int64, f"symbols are {inputs.dtype}, expected torch.int64"
        least, largest = map(int, inputs.aminmax())
        yield least < 0, f"a symbol is negative: {least}"
        yield largest >= self.count, f"a symbol is not below {self.count}: {largest}"


@dataclass(frozen=True)
class Grid(OneTensor):
    """Input kind: grids of one size with channels, such as images, spectrograms of fixed length, boards.

    Each cell is a raw token, so the task's ``max_tokens`` must be that of the grid; encoders reduce this number.

    Shapes: inputs (B, H, W, C) float32.

    Args:
        size: (H, W), rows and columns.
        channels: C, numbers per cell.

    Raises:
        ShapeError: ``size`` is not two integers >= 1, or ``channels`` is below 1.

    Example:
        >>> import fptkit
        >>> fptkit.Grid((28, 28), channels=1).max_tokens
        784
    """

    name: ClassVar[str] = "grid"
    dimensions: ClassVar[int] = 4
    varies: ClassVar[bool] = False

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

    @property
    def fixed_tokens(self) -> int:  # type: ignore[override]
        """H * W."""
        return self.max_tokens

    def tokens_in(self, inputs: Tensor) -> int:
        """H * W."""
        return self.max_tokens

    def _shape_faults(self, inputs: Tensor) -> Faults:
        shape, declared = tuple(inputs.shape[1:]), (*self.size, self.channels)
        yield shape != declared, f"the grids are {shape}, but the task declares (H, W, C) = {declared}"

    def _value_faults(self, inputs: Tensor) -> Faults:
        yield from number_faults(inputs, "grids")


@dataclass(frozen=True)
class Mixed:
    """Input kind: several named parts of different kinds, whose tokens are concatenated.

    Shapes: inputs are a mapping from names to the tensors of the parts, each with B rows.

    Padding is on the right only, also after encoding. So only the last part may vary in length; every other part has
    the same number of tokens in all examples.

    Args:
        parts: the kind of each part, in the order of their tokens.
        tokens: number of tokens of each part except grids; for the last part, the maximum.

    Raises:
        ShapeError: there are no parts, a kind is invalid, or ``tokens`` lacks a part or names a wrong one.

    Example:
        >>> import fptkit
        >>> kind = fptkit.Mixed({"image": fptkit.Grid((8, 8)), "words": fptkit.Symbols(1000)}, tokens={"words": 20})
        >>> kind.max_tokens, kind.last
        (84, 'words')
    """

    name: ClassVar[str] = "mixed"

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
        wanted = [name for name, kind in self.parts.items() if kind.fixed_tokens is None]
        if sorted(wanted) != sorted(self.tokens):
            raise ShapeError(
                f"Mixed: tokens has {', '.join(map(str, self.tokens)) or 'no parts'}; expected all parts except grids: "
                f"{', '.join(wanted) or 'none'}"
            )
        for name, count in self.tokens.items():
            if not isinstance(count, int) or count < 1:
                raise ShapeError(f"Mixed: tokens of part '{name}' are {count!r}, expected an integer of at least 1")

    @property
    def last(self) -> str:
        """Name of the last part, the only one that may vary in length."""
        return list(self.parts)[-1]

    def tokens_of(self, name: str) -> int:
        """Return the raw tokens of a part; for the last part, the maximum."""
        own = self.parts[name].fixed_tokens
        return self.tokens[name] if own is None else own

    @property
    def max_tokens(self) -> int:
        """Raw tokens of the longest example, over all parts."""
        return sum(self.tokens_of(name) for name in self.parts)

    @property
    def fixed_tokens(self) -> int:
        """Same as ``max_tokens``."""
        return self.max_tokens

    @property
    def varies(self) -> bool:
        """Whether the last part may vary in length."""
        return self.parts[self.last].varies

    @property
    def tokens_before(self) -> int:
        """Raw tokens of the parts before the last one."""
        return self.max_tokens - self.tokens_of(self.last)

    def tokens_in(self, inputs: Mapping[str, Tensor]) -> int:
        """Return the raw tokens per example of a batch, over all parts, including padding."""
        return sum(kind.tokens_in(inputs[name]) for name, kind in self.parts.items())

    def padded(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the tensor whose tokens may be padded: that of the last part."""
        return inputs[self.last]

    def example(self, inputs: Mapping[str, Tensor], row: int, length: int | None = None) -> dict[str, Tensor]:
        """Return one example of a batch as a batch of size 1, its last part cut to ``length`` tokens."""
        return {name: part[row : row + 1, : length if name == self.last else None] for name, part in inputs.items()}

    def faults(self, inputs: Any, size: int, max_tokens: int) -> Faults:
        """Yield the possible faults of inputs that should have ``size`` examples."""
        given = ", ".join(map(str, inputs)) if isinstance(inputs, Mapping) else f"a {type(inputs).__name__}"
        named = isinstance(inputs, Mapping) and tuple(inputs) == tuple(self.parts)
        yield not named, f"inputs are {given}, expected a mapping with the parts {', '.join(self.parts)} in this order"
        for name, part in self.parts.items():
            declared = self.tokens_of(name)
            for wrong, message in part.faults(inputs[name], size, declared):
                yield wrong, f"part '{name}': {message}"
            tokens = part.tokens_in(inputs[name])
            yield (
                name != self.last and tokens != declared,
                f"part '{name}' has {tokens} tokens, but {declared} are declared; only the last part may vary",
            )


InputKind: TypeAlias = Vectors | Symbols | Grid | Mixed


KIND_NAMES: Mapping[type, str] = {kind: kind.name for kind in (Vectors, Symbols, Grid, Mixed)}
"""The name of each input kind in ``EncoderSpec.accepts``."""


def check_names(what: str, names: tuple[str, ...], count: int) -> None:
    """Raise if names are given, but not one for each of ``count``."""
    if names and len(names) != count:
        raise ShapeError(f"{what}: {len(names)} names for {count}; give one for each, or none")


@dataclass(frozen=True)
class Classes:
    """Answer kind: classes (classification), at one or more tokens, with one or more answers per token.

    Args:
        count: K, number of classes.
        tokens: R, tokens read out: the last R real tokens. Targets are (B,) for R = 1, else (B, R).
        per_token: answers per read-out token; above 1, targets are (B, R, per_token).
        names: names of the K classes, in the order of their numbers; empty if they have none.
        answers: names of the ``per_token`` answers, such as labels of which an example may have several; empty if they
            have none.

    Raises:
        ShapeError: ``count`` is below 2 or above the limit, ``tokens`` or ``per_token`` below 1, or names are given,
            but not one for each.

    Example:
        >>> import fptkit, torch
        >>> output = fptkit.Classes(3, names=("cat", "dog", "owl"))
        >>> output.target_shape(8), float(output.loss(torch.zeros(8, 3), torch.zeros(8, dtype=torch.int64))) > 1
        ((8,), True)
    """

    best_metric: ClassVar[str] = "accuracy"
    """Metric that chooses the best step by default."""

    count: int
    tokens: int = 1
    per_token: int = 1
    names: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 2 or self.tokens < 1 or self.per_token < 1:
            raise ShapeError(f"{self}: count must be at least 2, tokens and per_token at least 1")
        if self.count > limits.CLASSES:
            raise ShapeError(
                f"{self.count:,} classes; at most {limits.CLASSES:,} are allowed: are these labels numbers?"
            )
        check_names("names", self.names, self.count)
        check_names("answers", self.answers, self.per_token)

    @property
    def width(self) -> int:
        """Numbers that the output layer gives at each read-out token."""
        return self.count * self.per_token

    def target_shape(self, size: int) -> tuple[int, ...]:
        """Return the shape of the targets of ``size`` examples."""
        if self.per_token > 1:
            return (size, self.tokens, self.per_token)
        return (size, self.tokens) if self.tokens > 1 else (size,)

    def prediction_shape(self, size: int) -> tuple[int, ...]:
        """Return the shape of the logits of ``size`` examples: the targets' shape plus (K,)."""
        return (*self.target_shape(size), self.count)

    def arrange(self, raw: Tensor) -> Tensor:
        """Reshape head output to logits. Shapes: (B, R, width) -> the targets' shape plus (K,)."""
        if self.per_token > 1:
            return raw.unflatten(-1, (self.per_token, self.count))
        return raw.squeeze(1) if self.tokens == 1 else raw

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy over answers, a scalar."""
        return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())

    def metrics(self) -> dict[str, Metric]:
        """Return new default metrics, by name."""
        return {"accuracy": Accuracy()}

    def for_metrics(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Flatten logits and targets to one row per answer, for metrics. Shapes: -> (N, K), (N,)."""
        return logits.flatten(0, -2), targets.flatten()

    def target_faults(self, targets: Tensor) -> Faults:
        """Yield the possible faults of targets of the right shape."""
        yield targets.dtype != torch.int64, f"targets are {targets.dtype}, expected torch.int64"
        least, largest = map(int, targets.aminmax())
        yield least < 0, f"a target is negative: {least}"
        yield largest >= self.count, f"a target is not below {self.count}: {largest}"


@dataclass(frozen=True)
class Values:
    """Answer kind: real numbers (regression).

    Args:
        width: numbers per read-out token; targets are (B, width), or (B, R, width) for R > 1.
        tokens: R, tokens read out: the last R real tokens.
        names: names of the numbers; empty if they have none.

    Raises:
        ShapeError: names are given, but not one for each number.

    Example:
        >>> import fptkit
        >>> fptkit.Values(2, names=("x", "y")).target_shape(8)
        (8, 2)
    """

    best_metric: ClassVar[str] = "mean_squared_error"
    """Metric that chooses the best step by default."""

    width: int
    tokens: int = 1
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_names("names", self.names, self.width)

    def target_shape(self, size: int) -> tuple[int, ...]:
        """Return the shape of the targets of ``size`` examples."""
        return (size, self.tokens, self.width) if self.tokens > 1 else (size, self.width)

    def prediction_shape(self, size: int) -> tuple[int, ...]:
        """Return the shape of the predictions of ``size`` examples: the targets' shape."""
        return self.target_shape(size)

    def arrange(self, raw: Tensor) -> Tensor:
        """Reshape head output to predictions. Shapes: (B, R, width) -> the targets' shape."""
        return raw.squeeze(1) if self.tokens == 1 else raw

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error over all numbers, a scalar."""
        return nn.functional.mse_loss(predictions, targets)

    def metrics(self) -> dict[str, Metric]:
        """Return new default metrics, by name."""
        return {"mean_squared_error": MeanSquaredError()}

    def for_metrics(self, predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions and targets unchanged, for metrics."""
        return predictions, targets

    def target_faults(self, targets: Tensor) -> Faults:
        """Yield the possible faults of targets of the right shape."""
        yield targets.dtype != torch.float32, f"targets are {targets.dtype}, expected torch.float32"
        yield not bool(torch.isfinite(targets).all()), "targets have NaN or infinity"
