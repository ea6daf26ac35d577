"""The base of the input kinds whose inputs are a single tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

Faults: TypeAlias = Iterator[tuple[bool, str]]
"""Pairs of condition and message; a condition may assume that all earlier ones are false."""


class OneTensor(ABC):
    """Base class of the kinds with a single input tensor."""

    name: ClassVar[str]
    dimensions: ClassVar[int]
    varies: ClassVar[bool] = True
    """Whether examples may have different numbers of tokens."""
    fixed_tokens: int | None = None
    """Raw tokens of the longest example; None if the task's ``max_tokens`` decides."""
    tokens_before: ClassVar[int] = 0
    """Raw tokens of the parts before the last one."""

    def tokens_in(self, inputs: Tensor) -> int:
        """Return the raw tokens per example of a batch, including padding."""
        return inputs.shape[1]

    def padded(self, inputs: Tensor) -> Tensor:
        """Return the tensor whose tokens may be padded."""
        return inputs

    def whole_lengths(self, inputs: Tensor) -> Tensor:
        """Return the lengths of a batch in which all tokens are real. Shapes: -> (B,)."""
        return torch.full((len(inputs),), inputs.shape[1])

    def padding(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the number of padding tokens of each example. Shapes: -> (B,)."""
        return inputs.shape[1] - lengths

    def example(self, inputs: Tensor, row: int, length: int | Tensor | None = None) -> Tensor:
        """Return one example of a batch as a batch of size 1, cut to ``length`` tokens."""
        return inputs[row : row + 1, : None if length is None else int(length)]

    def length_faults(self, inputs: Tensor, lengths: Tensor, size: int) -> Faults:
        """Yield the possible faults of a batch's lengths."""
        yield lengths.shape != (size,), f"lengths are {tuple(lengths.shape)}, expected {(size,)}"
        yield int(lengths.min()) < 1, "an example has no tokens"
        yield int(lengths.max()) > inputs.shape[1], "a length exceeds the batch's tokens"

    def faults(self, inputs: Any, size: int, max_tokens: int) -> Faults:
        """Yield the possible faults of inputs that should have ``size`` examples of at most ``max_tokens`` tokens."""
        yield not isinstance(inputs, Tensor), f"inputs are a {type(inputs).__name__}, expected a tensor"
        shape = tuple(inputs.shape)
        yield len(shape) != self.dimensions, f"inputs have shape {shape}, expected {self.dimensions} dimensions"
        yield len(inputs) != size, f"expected {size} examples, got {len(inputs)}"
        yield inputs.shape[1] < 1, "the examples have no tokens"
        yield from self._shape_faults(inputs)
        tokens = self.tokens_in(inputs)
        yield tokens > max_tokens, f"{tokens} tokens exceed max_tokens {max_tokens}"
        yield from self._value_faults(inputs)

    def _shape_faults(self, inputs: Tensor) -> Faults:
        yield from ()

    @abstractmethod
    def _value_faults(self, inputs: Tensor) -> Faults:
        """Yield the possible faults of dtype, range and width."""


def number_faults(inputs: Tensor, what: str) -> Faults:
    """Yield the possible faults of real numbers; ``what`` names them in messages."""
    yield inputs.dtype != torch.float32, f"{what} are {inputs.dtype}, expected torch.float32"
    yield not bool(torch.isfinite(inputs).all()), "inputs have NaN or infinity"
