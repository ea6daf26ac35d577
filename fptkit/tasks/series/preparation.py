"""The preparation of series: channels, scaling, missing values; and the target, or the windows of a forecast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from fptkit.errors import DataError
from fptkit.interfaces import Batch, Classes, Examples, Metric, Preparation, Shown, Values, Vectors
from fptkit.tasks.own_data.metrics import AbsoluteError
from fptkit.tasks.own_data.target import Target
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.scaling import Moments, moments, standardise
from fptkit.tasks.series.options import Layout
from fptkit.tasks.series.reader import find_series, joined, read_series
from fptkit.tasks.series.values import Read, Series, carry_forward, interpolate
from fptkit.tasks.series.windows import WindowExamples, all_test, make_timeline, window_scale


class Forecast(BaseModel):
    """What is forecast.

    Args:
        history: steps that a forecast sees.
        horizon: steps that are forecast.
        targets: places of the channels that are forecast.
        stride: steps from one window to the next in evaluations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    history: int
    horizon: int
    targets: tuple[int, ...]
    stride: int = 1


class SeriesPreparation(Preparation):
    """How a series becomes tokens, one per step.

    Args:
        layout: how files are read.
        channels: names of the channels.
        normalisation: how values are scaled, see `SeriesOptions`.
        mean: mean of each channel over the training steps.
        deviation: their standard deviation; 0 for a channel that is constant there.
        fill: what becomes of missing values.
        longest: steps after which longer series are cut; the longest series that was seen, if there is no limit.
        target: what is predicted; None if it is a forecast.
        forecast: what is forecast; None if it is not.
    """

    layout: Layout
    channels: tuple[str, ...]
    normalisation: Literal["train", "channel", "series", "window", "none"]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    fill: Literal["interpolate", "mask", "refuse"]
    longest: int
    target: Target | None = None
    forecast: Forecast | None = None

    @property
    def input(self) -> Vectors:
        """The channels, and with ``fill: mask`` as many marks."""
        return Vectors(len(self.channels) * (2 if self.fill == "mask" else 1))

    @property
    def output(self) -> Classes | Values:
        """That of the target, or the steps of the forecast, by step, then channel."""
        if self.target is not None:
            return self.target.output
        assert self.forecast is not None
        names = [self.channels[place] for place in self.forecast.targets]
        steps = range(1, self.forecast.horizon + 1)
        return Values(len(names) * len(steps), names=tuple(f"{name} +{step}" for step in steps for name in names))

    @property
    def max_tokens(self) -> int:
        """Steps of the longest series, or the history of a forecast."""
        return self.longest if self.forecast is None else self.forecast.history

    def read(self, source: Sequence[str]) -> Examples:
        """Read new series, labelled or not. Of a forecast, their last steps are the history.

        Raises:
            DataError: a file is damaged, or the channels are not those of the training data.
            SourceError: there is no such file.
        """
        found = find_series({"all": tuple(source)}, own=False)
        read = joined([self._chosen(read_series(path, "all", self.layout)) for path in found.files])
        wanted = () if self.target is None else self.target.columns
        labels = {name: read.labels[name] for name in wanted} if set(wanted) <= read.labels.keys() else {}
        return Examples(read.series, read.names, labels, notes=(*found.notes, *read.notes))

    def prepare(self, examples: Examples) -> Batch:
        """See `fptkit.Preparation.prepare`. Content: (T, C), or (T,) for one channel. Shapes: inputs (B, T, C) float32.

        Raises:
            DataError: a series has missing values that are refused, is too short for a forecast, or far out of the
                range of the training data.
        """
        prepared = [
            self._history(each, name) if self.forecast else self._tokens(each, name)
            for each, name in zip(_arrays(examples), examples.names, strict=True)
        ]
        for tokens, name in zip(prepared, examples.names, strict=True):
            if not np.isfinite(tokens).all():
                raise DataError(f"{name}: values so far from those of the training data cannot be scaled; correct them")
        lengths = torch.tensor([len(each) for each in prepared])
        inputs = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(each) for each in prepared], batch_first=True)
        equal = bool((lengths == lengths[0]).all())
        return Batch(inputs, self._targets(examples), None if equal else lengths)

    def show(self, content: Any) -> Shown:
        """The series in the unit of the data. Content: an array (T, C)."""
        return Shown(series=np.asarray(content, np.float64), channels=self.channels)

    def labelled_batches(self, examples: Examples, size: int) -> Iterator[Batch] | None:
        """See `fptkit.Preparation.labelled_batches`: all windows of the series, as in training.

        Raises:
            DataError: no series is long enough.
        """
        if self.forecast is None:
            return None
        scaled = [self.scaled(each, name) for each, name in zip(_arrays(examples), examples.names, strict=True)]
        timeline = make_timeline(scaled, all_test(scaled), targets=self.forecast.targets)
        windows = WindowExamples(
            timeline,
            "test",
            context=self.forecast.history,
            horizon=self.forecast.horizon,
            stride=self.forecast.stride,
            by_window=self.normalisation == "window",
        )
        if not windows.size:
            raise DataError(
                f"{examples.names[0]}: no series has a window of history {self.forecast.history} and horizon "
                f"{self.forecast.horizon} without a missing target; add steps"
            )
        places = range(0, windows.size, size)
        count, chance = windows.size, torch.Generator()
        return (windows.batch(range(start, min(start + size, count)), chance) for start in places)

    @property
    def scale_varies(self) -> bool:
        """See `fptkit.Preparation.scale_varies`: windows may scale themselves."""
        return self.normalisation == "window"

    def metrics(self) -> dict[str, Metric]:
        """New metrics of the target, or of the forecast: mean squared error in the model's scale, and mean absolute
        errors of each channel in the unit of the data, or with ``normalisation: window`` in the scale of each history.
        """
        if self.target is not None:
            return self.target.metrics()
        assert self.forecast is not None
        found = dict(self.output.metrics())
        for number, place in enumerate(self.forecast.targets):
            unit = (self.deviation[place] or 1.0) if self.normalisation == "train" else 1.0
            suffix = "" if len(self.forecast.targets) == 1 else f"_{self.channels[place]}"
            found[f"mean_absolute_error{suffix}"] = AbsoluteError(slice(number, None, len(self.forecast.targets)), unit)
        return found

    def scaled(self, series: Series, name: str) -> Series:
        """A series in the scale of the model, with NaN for missing values; marks are added with ``fill: mask``.

        Shapes: (T, C) -> (T, C or 2 * C).

        Raises:
            DataError: it has missing values and ``fill`` is ``refuse``, or has other channels.
        """
        if series.shape[1] != len(self.channels):
            raise DataError(f"{name}: {series.shape[1]} channels, but the training data have {len(self.channels)}")
        missing = np.isnan(series)
        if self.fill == "refuse" and missing.any():
            step = int(np.flatnonzero(missing.any(1))[0])
            raise DataError(
                f"{name}: step {step + 1} has a missing value; fill it in, or set the option fill to interpolate or "
                "mask"
            )
        values = standardise(series, self._moments(series)) if self.normalisation != "none" else series
        return np.concatenate([values, missing], axis=1) if self.fill == "mask" else values

    def answers_to(self, examples: Examples, predictions: Any) -> list[dict[str, Any]]:
        """See `fptkit.Preparation.answers_to`: forecasts in the unit of the data, also if windows scale themselves."""
        return self.answers(predictions, examples)

    def answers(self, predictions: Any, examples: Examples | None = None) -> list[dict[str, Any]]:
        """See `fptkit.Preparation.answers`; forecasts are in the unit of the data.

        Args:
            predictions: logits or numbers of N examples.
            examples: the examples; with ``normalisation: window`` forecasts are in the unit of the data only with them,
                and otherwise in the scale of each history.
        """
        if self.target is not None:
            return self.target.answers(predictions)
        assert self.forecast is not None
        output, places = self.output, list(self.forecast.targets)
        assert isinstance(output, Values)
        values = predictions.detach().double().cpu().numpy().reshape(len(predictions), self.forecast.horizon, -1)
        if self.normalisation == "window" and examples is not None:
            parts = [self._window(each, name) for each, name in zip(_arrays(examples), examples.names, strict=True)]
            values = values * np.stack([deviation[0, :, places].T for _, _, deviation in parts])
            values = values + np.stack([mean[0, :, places].T for _, mean, _ in parts])
        if self.normalisation == "train" or (self.normalisation == "window" and examples is not None):
            found = self._moments(values)
            values = values * found.divisor[places] + found.mean[places]
        return [dict(zip(output.names, row.ravel().tolist(), strict=True)) for row in values]

    def _moments(self, series: Series) -> Moments:
        if self.normalisation in ("channel", "series"):
            return moments(series, axis=0 if self.normalisation == "channel" else None)
        return Moments(np.array(self.mean), np.array(self.deviation))

    def _tokens(self, series: Series, name: str) -> NDArray[np.float32]:
        return _narrow(interpolate(self.scaled(series[: self.longest], name)))

    def _history(self, series: Series, name: str) -> NDArray[np.float32]:
        """The last steps of a series as the history of a forecast."""
        if self.normalisation == "window":
            context, mean, deviation = self._window(series, name)
            return _narrow(((context - mean) / deviation)[0])
        return _narrow(self._context(series, name))

    def _window(self, series: Series, name: str) -> tuple[Series, Series, Series]:
        """The last steps, their mean, and their deviation. Shapes: (1, T, C), (1, 1, C), (1, 1, C)."""
        context = self._context(series, name)[None]
        return context, *window_scale(context, np.ones(context.shape[2]))

    def _context(self, series: Series, name: str) -> Series:
        assert self.forecast is not None
        if len(series) < self.forecast.history:
            raise DataError(
                f"{name}: {len(series)} steps, but a forecast needs a history of {self.forecast.history}; add "
                "earlier ones"
            )
        return carry_forward(self.scaled(series, name))[-self.forecast.history :]

    def _targets(self, examples: Examples) -> Tensor:
        if self.target is not None:
            return self.target.encode(examples)
        return torch.zeros(self.output.target_shape(len(examples)), dtype=torch.float32)

    def _chosen(self, read: Read) -> Read:
        """The channels of the training data, in their order."""
        if read.channels == self.channels:
            return read
        if lacking := [name for name in self.channels if name not in read.channels]:
            raise DataError(
                f"{read.names[0]}: no channel '{lacking[0]}', which the training data have; it has "
                f"{shown(read.channels)}"
            )
        places = [read.channels.index(name) for name in self.channels]
        series = [each[:, places] for each in read.series]
        return Read(series, read.names, self.channels, read.labels, read.columns, read.classes, read.notes, read.step_s)


def scale_of(series: Sequence[Series]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all steps of some series."""
    found = moments(np.concatenate(series))
    return tuple(found.mean[0].tolist()), tuple(found.deviation[0].tolist())


def missing_note(series: Sequence[Series], fill: str) -> tuple[str, ...]:
    """A note about missing values; none if there are none."""
    missing = sum(int(np.isnan(each).sum()) for each in series)
    total = sum(each.size for each in series)
    return (f"{missing:,} of {total:,} values are missing (option fill: {fill})",) if missing else ()


def constant_note(preparation: SeriesPreparation) -> tuple[str, ...]:
    """A note about channels that are constant in training; none if there are none."""
    pairs = zip(preparation.channels, preparation.deviation, strict=True)
    constant = [name for name, deviation in pairs if not deviation]
    return (f"constant in the training data: {', '.join(constant)}",) if constant else ()


def _arrays(examples: Examples) -> list[Series]:
    """The series of examples; in memory they may be lists, and one channel may have no dimension of its own."""
    arrays = [np.asarray(each, np.float64) for each in examples.content]
    return [each[:, None] if each.ndim == 1 else each for each in arrays]


def _narrow(values: Series) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # refused by prepare
        return np.ascontiguousarray(values, np.float32)
