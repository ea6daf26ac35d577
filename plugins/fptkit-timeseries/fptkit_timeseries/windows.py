"""Windows of series: a context that the model sees, and a horizon to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fptkit import Batch
from fptkit_timeseries.series import Series, carry_forward, moments, scale

SPLITS = ("train", "validation", "test")

_FLOOR = 0.01
"""Smallest standard deviation by which a window is divided, as a fraction of that of the series' training steps: if the
values in the context are constant, the next real change must not become an error of thousands."""


@dataclass(frozen=True)
class Timeline:
    """Concatenated series with the borders of their splits.

    Args:
        values: (S, C) values; missing ones are filled with the last known one.
        known: (S,) whether all channels are known at the step.
        starts: (N,) start of each series in ``values``.
        firsts: (N,) first step of each series by which every channel has had a known value.
        borders: (N, 3) steps at which train, validation and test end in each series; the last is its length.
        deviation: (N, C) standard deviation of each series' training steps; 1 if it is zero or unknown.
    """

    values: Series
    known: NDArray[np.bool_]
    starts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    borders: NDArray[np.int64]
    deviation: NDArray[np.float64]


def make_timeline(
    series: Sequence[Series], *, validation_share: float, test_share: float, standardise: bool
) -> Timeline:
    """Divide every series into train, validation and test by time, and concatenate the series.

    Args:
        series: arrays (T, C), NaN for missing values; every channel must have a known value.
        validation_share: fraction of the steps of each series for validation.
        test_share: fraction of the steps of each series for test, the last ones.
        standardise: scale each channel to mean 0 and standard deviation 1 over its training steps.
    """
    ends = [
        (int(len(each) * (1 - validation_share - test_share)), int(len(each) * (1 - test_share)), len(each))
        for each in series
    ]
    stored, deviations = [], []
    for each, (train_end, _, _) in zip(series, ends, strict=True):
        mean, deviation = moments(each[:train_end])
        divisor = scale(deviation)
        stored.append((each - mean) / divisor if standardise else each)
        deviations.append(np.ones_like(divisor[0]) if standardise else divisor[0])
    lengths = np.array([len(each) for each in series], np.int64)
    return Timeline(
        values=np.concatenate([carry_forward(each) for each in stored]),
        known=np.concatenate([~np.isnan(each).any(1) for each in series]),
        starts=np.cumsum(lengths) - lengths,
        firsts=np.array([np.argmax(~np.isnan(each), axis=0).max() for each in series], np.int64),
        borders=np.array(ends, np.int64),
        deviation=np.stack(deviations),
    )


class WindowExamples:
    """A `fptkit.Split` of windows with all targets in one split; no target is in two splits.

    The context of a validation or test window may start before its split, since those values are known by then. Windows
    with a missing target, or that start before all channels are known, are skipped.

    Args:
        timeline: the series.
        split: ``train`` (windows within the training steps), ``validation`` or ``test``.
        context: steps that the model sees.
        horizon: steps to predict.
        stride: steps from one window to the next.
        by_window: scale each window by the mean and standard deviation of its context, per channel.
    """

    size: int | None
    token_counts: NDArray[np.int64] | None = None

    def __init__(
        self, timeline: Timeline, split: str, *, context: int, horizon: int, stride: int, by_window: bool
    ) -> None:
        self.context, self.horizon = context, horizon
        self._timeline, self._by_window = timeline, by_window
        number = SPLITS.index(split)
        places, owners = [], []
        for owner, ends in enumerate(timeline.borders):
            begin = 0 if number == 0 else int(ends[number - 1])  # first step of the split, for targets
            first = max(int(timeline.firsts[owner]), 0 if number == 0 else begin - context)
            steps = np.arange(first, int(ends[number]) - context - horizon + 1, stride) + timeline.starts[owner]
            targets = steps[:, None] + context + np.arange(horizon)
            steps = steps[timeline.known[targets].all(1)]
            places.append(steps)
            owners.append(np.full(len(steps), owner))
        self._places = np.concatenate(places).astype(np.int64)
        self._owners = np.concatenate(owners).astype(np.int64)
        self.size = len(self._places)

    def windows(self, indices: NDArray[np.int64]) -> tuple[Series, Series]:
        """Return contexts (B, context, C) and the following steps (B, horizon, C), in the scale of the task."""
        steps = self._places[indices, None] + np.arange(self.context + self.horizon)
        values = self._timeline.values[steps]
        context, future = values[:, : self.context], values[:, self.context :]
        if not self._by_window:
            return context, future
        mean = context.mean(1, keepdims=True)
        floor = _FLOOR * self._timeline.deviation[self._owners[indices], None]
        deviation = np.maximum(context.std(1, keepdims=True), floor)
        return (context - mean) / deviation, (future - mean) / deviation

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the windows with these indices.

        Shapes: inputs (B, context, C) float32, targets (B, horizon * C) float32, ordered by step, then channel.

        Args:
            indices: indices of the windows, at least one.
            generator: not used; stored windows involve no randomness.
        """
        context, future = self.windows(np.asarray(indices, np.int64))
        targets = future.reshape(len(future), -1).astype(np.float32)
        return Batch(torch.from_numpy(context.astype(np.float32)), torch.from_numpy(targets))
