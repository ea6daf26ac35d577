"""Windows of series: a context that the model sees, and a horizon to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fptkit.interfaces import Batch
from fptkit.tasks.series.values import Series, carry_forward

SPLITS = ("train", "validation", "test")

_FLOOR = 0.01
"""Smallest standard deviation by which a window is divided, as a fraction of that of the series' training steps: if the
values in the context are constant, the next real change must not become an error of thousands."""


@dataclass(frozen=True)
class Timeline:
    """Concatenated series with the borders of their splits.

    Args:
        values: (S, C) values; missing ones are filled with the last known one.
        known: (S,) whether all channels that are predicted are known at the step.
        starts: (N,) start of each series in ``values``.
        firsts: (N,) first step of each series by which every channel has had a known value.
        borders: (N, 3) steps at which train, validation and test end in each series; the last is its length.
        deviation: (N, C) standard deviation of each series' training steps; 1 if it is zero or unknown.
        targets: channels that are predicted.
    """

    values: Series
    known: NDArray[np.bool_]
    starts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    borders: NDArray[np.int64]
    deviation: NDArray[np.float64]
    targets: NDArray[np.int64]


@dataclass(frozen=True)
class Borders:
    """Where the parts of each series are.

    Args:
        begins: (N,) first step that is used.
        ends: (N, 3) steps at which train, validation and test end; the last is the end of the series.
    """

    begins: NDArray[np.int64]
    ends: NDArray[np.int64]


def borders_by_share(
    series: Sequence[Series], *, validation: float, test: float, train: float | None = None
) -> Borders:
    """Where the parts of each series are, by their shares.

    Args:
        series: arrays (T, C).
        validation: fraction of the steps of each series for validation.
        test: fraction of the steps of each series for test, the last ones.
        train: fraction of the steps for training, those before validation; None: all of them.
    """
    ends = [(int(len(each) * (1 - validation - test)), int(len(each) * (1 - test)), len(each)) for each in series]
    begins = [0 if train is None else max(end - round(train * all), 0) for end, _, all in ends]
    return Borders(np.array(begins, np.int64), np.array(ends, np.int64))


def all_test(series: Sequence[Series]) -> Borders:
    """The borders of series of which every step is for test."""
    lengths = np.array([len(each) for each in series], np.int64)
    none = np.zeros_like(lengths)
    return Borders(none, np.stack([none, none, lengths], axis=1))


def make_timeline(
    series: Sequence[Series],
    borders: Borders,
    *,
    deviation: NDArray[np.float64] | None = None,
    targets: Sequence[int] | None = None,
) -> Timeline:
    """Concatenate series, with missing values filled by the last known one.

    Args:
        series: arrays (T, C), NaN for missing values; every channel must have a known value.
        borders: where the parts of each series are.
        deviation: (N, C) standard deviation of each series' training steps; None: 1.
        targets: channels that are predicted; None: all.
    """
    lengths = np.array([len(each) for each in series], np.int64)
    channels = series[0].shape[1]
    wanted = list(range(channels)) if targets is None else list(targets)
    return Timeline(
        values=np.concatenate([carry_forward(each) for each in series]),
        known=np.concatenate([~np.isnan(each[:, wanted]).any(1) for each in series]),
        starts=np.cumsum(lengths) - lengths,
        firsts=np.maximum([np.argmax(~np.isnan(each), axis=0).max() for each in series], borders.begins),
        borders=borders.ends,
        deviation=np.ones((len(series), channels)) if deviation is None else deviation,
        targets=np.array(wanted, np.int64),
    )


def window_scale(context: Series, deviation: NDArray[np.float64]) -> tuple[Series, Series]:
    """Mean of contexts and the deviation by which they are divided, per channel. Shapes: (B, T, C) -> (B, 1, C) each.

    Args:
        context: contexts.
        deviation: standard deviation of the training steps, which bounds the divisor from below; broadcast.
    """
    return context.mean(1, keepdims=True), np.maximum(context.std(1, keepdims=True), _FLOOR * deviation)


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
        self.context, self.horizon, self.targets = context, horizon, timeline.targets
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
        """Return contexts (B, context, C) and the following steps (B, horizon, P) of the channels that are predicted.

        Both are in the scale of the task.
        """
        steps = self._places[indices, None] + np.arange(self.context + self.horizon)
        values = self._timeline.values[steps]
        places = self._timeline.targets
        context, future = values[:, : self.context], values[:, self.context :].take(places, axis=2)
        if not self._by_window:
            return context, future
        mean, deviation = window_scale(context, self._timeline.deviation[self._owners[indices], None])
        return (context - mean) / deviation, (future - mean.take(places, axis=2)) / deviation.take(places, axis=2)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the windows with these indices.

        Shapes: inputs (B, context, C) float32, targets (B, horizon * P) float32, ordered by step, then channel.

        Args:
            indices: indices of the windows, at least one.
            generator: not used; stored windows involve no randomness.
        """
        context, future = self.windows(np.asarray(indices, np.int64))
        targets = future.reshape(len(future), -1).astype(np.float32)
        return Batch(torch.from_numpy(context.astype(np.float32)), torch.from_numpy(targets))
