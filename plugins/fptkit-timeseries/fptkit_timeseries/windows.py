"""Windows of series: what the model sees, and what it foretells."""

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
"""Smallest deviation a window is divided by, as a share of that of the series' training steps: where a sensor stood
still in the context, the next real change must not become an error of thousands."""


@dataclass(frozen=True)
class Timeline:
    """Series end to end, with the borders of their splits.

    Args:
        values: (S, C) values; missing ones are the last known one before.
        known: (S,) whether every channel was known at the step.
        starts: where each series begins in ``values``.
        firsts: step of each series at which all its channels are known for the first time.
        borders: for each series the steps at which train, validation and test end; the last one is its length.
        deviation: (N, C) standard deviation of each series' training steps, 1 where there is none.
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
    """Cut every series into train, validation and test by time, and lay them end to end.

    Args:
        series: arrays (T, C), NaN where a value is missing; in every channel one at least is known.
        validation_share: share of the steps of each.
        test_share: share of the steps of each, the last ones.
        standardise: scale each channel to mean 0 and deviation 1 over its training steps.
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
    """A `fptkit.Split` of windows whose targets lie within one split of the time; no target is in two splits.

    The context of a validation or test window may reach back before its split: at that time, those values are known.
    Windows with a missing target, or that begin before all channels are known, are left out.

    Args:
        timeline: the series.
        split: ``train``, whose windows lie within the training steps, ``validation`` or ``test``.
        context: steps seen.
        horizon: steps foretold.
        stride: steps from one window to the next.
        by_window: scale each window by mean and deviation of its context, by channel.
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
            begin = 0 if number == 0 else int(ends[number - 1])  # of the split's own steps, for targets
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
        """Contexts (B, context, C) and what follows (B, horizon, C), in the scale of the task."""
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
        """Shapes: inputs (B, context, C) float32, targets (B, horizon * C) float32: step after step, channels within.

        Args:
            indices: which windows, at least one.
            generator: not used; stored windows leave nothing to chance.
        """
        context, future = self.windows(np.asarray(indices, np.int64))
        targets = future.reshape(len(future), -1).astype(np.float32)
        return Batch(torch.from_numpy(context.astype(np.float32)), torch.from_numpy(targets))
