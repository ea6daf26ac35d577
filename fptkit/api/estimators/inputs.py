"""What an estimator can be given: a table, series of equal or unequal length, or texts; as inputs of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fptkit.interfaces import Batch, Grid, InputKind, Symbols, Vectors

Form = Literal["table", "series", "ragged", "texts"]

BYTES = 257
"""Symbols of texts: padding, then the 256 bytes of UTF-8."""


def form_of(given: Any) -> Form | None:
    """The form of inputs by their look: ``texts``, ``ragged``, or None for what becomes an array of numbers."""
    if isinstance(given, np.ndarray):
        entries: Sequence[Any] = list(given) if given.ndim == 1 else []
    elif isinstance(given, (list, tuple)):
        entries = given
    elif type(given).__name__ == "Series" and hasattr(given, "tolist"):  # of pandas or Polars
        entries = given.tolist()
    else:
        return None
    if entries and all(isinstance(entry, str) for entry in entries):
        return "texts"
    arrays = entries and all(isinstance(entry, np.ndarray) and entry.ndim == 2 for entry in entries)
    return "ragged" if arrays and len({len(entry) for entry in entries}) > 1 else None


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each column, or of each number of a series, over training examples.

    Args:
        mean: (F,) float64.
        deviation: (F,) float64; 1 for what is constant.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.float64]) -> Scaling:
        """Measure rows. Shapes: (N, F)."""
        largest = np.abs(rows).max(0)
        unit = np.where(largest > 0, largest, 1.0)  # squares of large numbers would overflow
        scaled = rows / unit
        mean, deviation = scaled.mean(0), scaled.std(0)
        constant = deviation <= 1e-12
        return cls(mean * unit, np.where(constant, 1.0, deviation * unit))

    def apply(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """Centre and scale. Shapes: (..., F) -> (..., F)."""
        found: NDArray[np.float32] = ((rows - self.mean) / self.deviation).astype(np.float32)
        return found

    def undo(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of `apply`. Shapes: (..., F) -> (..., F)."""
        return rows * self.deviation + self.mean


@dataclass(frozen=True)
class Prepared:
    """Examples in memory.

    Args:
        inputs: (N, T, F) float32 or (N, T) int64, padded with zeros; (N, T, 1, 1) float32 for a grid.
        lengths: (N,) int64 tokens of each example; None if all are equal.
    """

    inputs: Tensor
    lengths: Tensor | None

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, rows: Tensor, targets: Tensor) -> Batch:
        """Some examples with their targets, padded to the longest of them."""
        if self.lengths is None:
            return Batch(self.inputs[rows], targets)
        lengths = self.lengths[rows]
        return Batch(self.inputs[rows][:, : int(lengths.max())], targets, lengths)


@dataclass(frozen=True)
class InputPlan:
    """How inputs of an estimator become inputs of its model. Made from training examples by `plan_for`.

    Args:
        form: form of the inputs.
        kind: input kind of the model.
        max_tokens: raw tokens of the longest training example; longer texts are cut.
        scaling: of numbers; None for texts.
    """

    form: Form
    kind: InputKind
    max_tokens: int
    scaling: Scaling | None

    def prepare(self, given: Any) -> Prepared:
        """Prepare examples of the form of the training examples.

        Args:
            given: for a table (N, F), for series (N, T, F) float64; a list of (T, F) arrays, or of texts.

        Raises:
            ValueError: an example is empty, longer than the model takes, or of another width.
        """
        if self.form == "texts":
            return self._texts(given)
        assert self.scaling is not None
        if self.form == "table":
            scaled = torch.from_numpy(self.scaling.apply(given))
            return Prepared(scaled[:, :, None, None] if isinstance(self.kind, Grid) else scaled[:, :, None], None)
        width = len(self.scaling.mean)
        for row, series in enumerate(given):
            if np.ndim(series) != 2 or series.shape[1] != width or not 1 <= len(series) <= self.max_tokens:
                raise ValueError(
                    f"X[{row}] has shape {np.shape(series)}; expected 1 to {self.max_tokens} steps of {width} numbers, "
                    "as in fit"
                )
        if self.form == "series":
            return Prepared(torch.from_numpy(self.scaling.apply(given)), None)
        return _padded([torch.from_numpy(self.scaling.apply(series)) for series in given])

    def _texts(self, given: Sequence[str]) -> Prepared:
        rows = []
        for row, text in enumerate(given):
            data = text.encode("utf-8", "surrogatepass")[: self.max_tokens]
            if not data:
                raise ValueError(f"X[{row}] is an empty text; leave it out")
            rows.append(torch.tensor(list(data), dtype=torch.int64) + 1)
        return _padded(rows)


def plan_for(form: Form, given: Any, *, grid: bool) -> InputPlan:
    """The plan for training examples.

    Args:
        form: their form.
        given: the examples, as in `InputPlan.prepare`.
        grid: whether the encoder takes the columns of a table as cells of a grid, else as a sequence of numbers.

    Raises:
        ValueError: they have no numbers, or series of different width.
    """
    if form == "texts":
        longest = max(len(text.encode("utf-8", "surrogatepass")) for text in given)
        return InputPlan(form, Symbols(BYTES), max(longest, 1), None)
    if form == "table":
        kind = Grid((given.shape[1], 1)) if grid else Vectors(1)
        return InputPlan(form, kind, given.shape[1], Scaling.of(given))
    widths = {series.shape[1] for series in given}
    if len(widths) > 1 or 0 in widths:
        raise ValueError(f"the series have {', '.join(map(str, sorted(widths)))} numbers per step; expected one width")
    steps = np.concatenate(list(given)).astype(np.float64)
    return InputPlan(form, Vectors(widths.pop()), max(map(len, given)), Scaling.of(steps))


def _padded(rows: Sequence[Tensor]) -> Prepared:
    lengths = torch.tensor([len(row) for row in rows])
    return Prepared(torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True), lengths)
