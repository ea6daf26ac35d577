"""Kinds of inputs with one tensor, and the two kinds of answers of a fixed number of tokens.

A kind defines the shapes and checks of its tensors, their number of tokens, and its default loss and metrics. It does
not depend on encoders or the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fptkit.errors import ShapeError
from fptkit.interfaces.answer_kind import IGNORED, AnswerKind, Seen
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


def check_names(what: str, names: tuple[str, ...], count: int) -> None:
    """Raise if names are given, but not one for each of ``count``."""
    if names and len(names) != count:
        raise ShapeError(f"{what}: {len(names)} names for {count}; give one for each, or none")


def class_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of each example; NaN for one without any label.

    Shapes: logits (B, ..., K), targets (B, ...) -> (B,).
    """
    flat = targets.reshape(len(targets), -1)
    each = nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), flat.flatten(), ignore_index=IGNORED, reduction="none"
    ).view_as(flat)
    return each.sum(1) / (flat != IGNORED).sum(1)  # 0 / 0 is NaN


def class_answers(logits: Tensor, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the most probable classes and their probabilities, one mapping for each example.

    Args:
        logits: (N, ..., K).
        names: of the K classes; empty for their numbers.
    """
    chances = logits.softmax(-1).flatten(1, -2) if logits.ndim > 2 else logits.softmax(-1)[:, None]
    best = chances.max(-1)
    names = names or tuple(map(str, range(logits.shape[-1])))
    return [
        {"class": names[place[0]], "probability": chance[0]}
        if len(place) == 1
        else {"class": [names[each] for each in place], "probability": chance}
        for place, chance in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class Classes(AnswerKind):
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

    name: ClassVar[str] = "classes"
    best_metric: ClassVar[str] = "accuracy"
    dtype: ClassVar[torch.dtype] = torch.int64
    has_probabilities: ClassVar[bool] = True

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

    def head_width(self) -> int:
        """See `AnswerKind.head_width`."""
        return self.width

    def target_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """Return the shape of the targets of ``size`` examples."""
        if self.per_token > 1:
            return (size, self.tokens, self.per_token)
        return (size, self.tokens) if self.tokens > 1 else (size,)

    def prediction_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
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

    def chance(self) -> float:
        """Return one over the number of classes."""
        return 1 / self.count

    def example_losses(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """See `AnswerKind.example_losses`."""
        return class_losses(predictions, targets)

    def seen(self, predictions: Tensor, targets: Tensor | None = None) -> Seen:
        """See `AnswerKind.seen`."""
        return Seen(self, predictions, targets)

    def in_words(self, predictions: Tensor) -> list[dict[str, Any]]:
        """See `AnswerKind.in_words`: ``{"class": name or number, "probability": p}``."""
        return class_answers(predictions, self.names)


@dataclass(frozen=True)
class Values(AnswerKind):
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

    name: ClassVar[str] = "values"
    best_metric: ClassVar[str] = "mean_squared_error"

    width: int
    tokens: int = 1
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_names("names", self.names, self.width)

    def head_width(self) -> int:
        """See `AnswerKind.head_width`."""
        return self.width

    def target_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """Return the shape of the targets of ``size`` examples."""
        return (size, self.tokens, self.width) if self.tokens > 1 else (size, self.width)

    def prediction_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """Return the shape of the predictions of ``size`` examples: the targets' shape."""
        return self.target_shape(size)

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error over all numbers, a scalar."""
        return nn.functional.mse_loss(predictions, targets)

    def metrics(self) -> dict[str, Metric]:
        """Return new default metrics, by name."""
        return {"mean_squared_error": MeanSquaredError()}

    def target_faults(self, targets: Tensor) -> Faults:
        """Yield the possible faults of targets of the right shape."""
        yield targets.dtype != torch.float32, f"targets are {targets.dtype}, expected torch.float32"
        yield not bool(torch.isfinite(targets).all()), "targets have NaN or infinity"

    def example_losses(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """See `AnswerKind.example_losses`."""
        return (predictions - targets).square().flatten(1).mean(1)

    def seen(self, predictions: Tensor, targets: Tensor | None = None) -> Seen:
        """See `AnswerKind.seen`."""
        return Seen(self, predictions, targets)

    def in_words(self, predictions: Tensor) -> list[dict[str, Any]]:
        """See `AnswerKind.in_words`: ``{name: value}``, in the model's scale."""
        names = self.names or tuple(f"value_{number}" for number in range(self.width))
        return [dict(zip(names, row, strict=False)) for row in predictions.flatten(1).tolist()]
