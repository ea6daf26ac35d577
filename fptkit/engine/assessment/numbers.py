"""Answers that are numbers, accumulated over batches: errors of each number, and pairs of true and predicted ones."""

from __future__ import annotations

import torch
from torch import Tensor

from fptkit.engine.assessment.intervals import of_mean
from fptkit.engine.assessment.records import NumberFigures, NumbersAssessed
from fptkit.interfaces import TokenValues, Values

OUTPUTS = 1024
"""Numbers per example up to which each has its own figures."""

POINTS = 600
"""Examples whose true and predicted numbers are kept, at most."""

PLOTTED = 8
"""Numbers per example for which they are kept."""


class NumberAssessment:
    """Accumulates answers that are numbers, in the unit in which it receives them.

    Args:
        output: kind of the answers; names are taken from it.
    """

    def __init__(self, output: Values | TokenValues) -> None:
        width = output.width * output.tokens
        self._output, self._width = output, width
        self._count = self._examples = self._left_out = self._seen = 0
        self._errors = torch.zeros(3, width, dtype=torch.float64)  # sums of error, absolute and squared error
        self._mean = torch.zeros(width, dtype=torch.float64)  # of the true numbers
        self._spread = torch.zeros(width, dtype=torch.float64)  # sum of their squared distances from it
        self._each = torch.zeros(2, 2, dtype=torch.float64)  # mean over examples, and squared distances from it
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._stride = 1

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Accumulate a batch.

        Args:
            predictions: (B, width), (B, R, width), or (B, T, width) with numbers at every token.
            targets: of the same shape; at every token, those with NaN do not count.
        """
        predicted = predictions.detach().to("cpu", torch.float64).reshape(len(targets), -1, self._width)
        true = targets.detach().to("cpu", torch.float64).reshape(len(targets), -1, self._width)
        counted = torch.ones_like(true[..., 0], dtype=torch.bool)  # (B, rows of an example)
        if self._output.each_token:
            counted = ~true.isnan().all(2)
        finite = (predicted.isfinite().all(2) & true.isfinite().all(2)) | ~counted
        self._left_out += int((~finite.all(1)).sum())
        counted = counted & finite.all(1)[:, None]
        owner = torch.nonzero(counted)[:, 0]
        predicted, true = predicted[counted], true[counted]
        if not len(true):
            return
        before, self._count = self._count, self._count + len(true)
        errors = predicted - true
        self._errors += torch.stack([errors.sum(0), errors.abs().sum(0), errors.square().sum(0)])
        self._mean, self._spread = _merged(self._mean, self._spread, before, true)
        each = torch.stack([errors.abs().mean(1), errors.square().mean(1)], 1)  # (rows, 2)
        if self._output.each_token:
            each = _by_example(each, owner)
        self._each = torch.stack(_merged(self._each[0], self._each[1], self._examples, each))
        self._examples += len(each)
        if self._width <= PLOTTED:
            self._keep(true, predicted)

    def _keep(self, true: Tensor, predicted: Tensor) -> None:
        """Keep every n-th example; n doubles when too many are kept, so they are even over all, in any batches."""
        for row in range(-self._seen % self._stride, len(true), self._stride):
            self._kept.append((true[row], predicted[row]))
        self._seen += len(true)
        while len(self._kept) > POINTS:
            self._kept, self._stride = self._kept[::2], 2 * self._stride

    def result(self) -> NumbersAssessed:
        """The figures over all accumulated batches; NaN where there are none."""
        count = self._examples
        absolute, squared = self._each[0].tolist() if count else (float("nan"), float("nan"))
        spread = self._each[1].tolist()
        return NumbersAssessed(
            examples=count,
            left_out=self._left_out,
            outputs=self._outputs() if count and self._width <= OUTPUTS else (),
            absolute=absolute,
            squared=squared,
            absolute_interval=of_mean(absolute, spread[0], count),
            squared_interval=of_mean(squared, spread[1], count),
            points=self._points(),
        )

    def _outputs(self) -> tuple[NumberFigures, ...]:
        deviations = (self._spread / self._count).sqrt()
        rows = torch.cat([self._errors / self._count, self._mean[None], deviations[None]]).T.tolist()
        return tuple(
            NumberFigures(
                name=name, answers=self._count, bias=bias, absolute=absolute, squared=squared, mean=mean, deviation=dev
            )
            for name, (bias, absolute, squared, mean, dev) in zip(self._names(), rows, strict=True)
        )

    def _names(self) -> list[str]:
        names = self._output.names or tuple(f"value {number + 1}" for number in range(self._output.width))
        if self._output.tokens == 1:
            return list(names)
        return [f"{name} at token {token + 1}" for token in range(self._output.tokens) for name in names]

    def _points(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        if not self._kept:
            return ()
        true, predicted = (torch.stack(some).T.tolist() for some in zip(*self._kept, strict=True))
        return tuple(
            tuple((_short(a), _short(b)) for a, b in zip(*pair, strict=True))
            for pair in zip(true, predicted, strict=True)
        )


def _merged(mean: Tensor, spread: Tensor, count: int, more: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sum of squared distances of ``count`` values with more of them; exact for means far from zero.

    Shapes: mean and spread (W,), more (B, W).

    Source: Chan, Golub, LeVeque 1979, Updating formulae and a pairwise algorithm for computing sample variances.
    """
    own = more.mean(0)
    total, distance = count + len(more), own - mean
    spread = spread + (more - own).square().sum(0) + distance.square() * count * len(more) / total
    return mean + distance * len(more) / total, spread


def _by_example(rows: Tensor, owner: Tensor) -> Tensor:
    """The mean over the rows of each example that has some.

    Shapes: rows (N, 2), owner (N,), the example of each row -> (examples, 2).
    """
    _, place, counts = owner.unique(return_inverse=True, return_counts=True)
    return torch.zeros(len(counts), rows.shape[1], dtype=rows.dtype).index_add(0, place, rows) / counts[:, None]


def _short(value: float) -> float:
    """Enough digits for a picture."""
    return float(f"{value:.5g}")
