"""The task ``series`` with ``problem: forecasting``: the next values of a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fptkit.errors import DataError, UnknownNameError, UsageError
from fptkit.interfaces import GivenMetrics, Shown, Split, Values, Vectors
from fptkit.interfaces.task import Task
from fptkit.tasks.reading.cautions import size_warnings
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.options import SplitOptions
from fptkit.tasks.reading.paths import SourceFiles, shown_source
from fptkit.tasks.series.baselines import SAMPLE, measure
from fptkit.tasks.series.options import SeriesOptions
from fptkit.tasks.series.preparation import Forecast, SeriesPreparation, constant_note, missing_note, scale_of
from fptkit.tasks.series.reader import find_series, joined, read_series
from fptkit.tasks.series.values import Read
from fptkit.tasks.series.windows import SPLITS, Borders, WindowExamples, all_test, borders_by_share, make_timeline

_DAY = 86_400.0
_SEASONS = ((3600.0, 24), (_DAY, 7), (28 * _DAY, 12), (90 * _DAY, 4))
"""Seconds of a step, and the season of such steps: hours of a day, days of a week, months and quarters of a year."""


class Forecasting(Task):
    """Forecast the next values of series. Each step is a raw token; the encoder may combine steps into patches.

    Splits are consecutive in time, unless the source has its own: training never sees targets of validation or test.
    Scaling comes from training steps only. Naive forecasts on the same windows are in the notes.

    Args:
        options: see `SeriesOptions`.
        seed: the run's seed; data and splits do not depend on it.
        pinned: not used.

    Shapes: inputs (B, history, C), targets and predictions (B, horizon * P) for P channels that are forecast, by step,
    then channel.

    Raises:
        SourceError: a file does not exist.
        DataError: a file is damaged, or the series differ in their channels.
        UsageError: a channel in the options is missing, or the series are too short for history and horizon.
    """

    input: Vectors
    output: Values

    def __init__(self, options: SeriesOptions, *, seed: int, pinned: str | None = None) -> None:
        files = find_series(options.source, own=options.split.own)
        read = {name: self._read(files, name, options) for name in files.splits}
        self.source = shown_source(options.source)
        whole = joined(list(read.values()))
        self.preparation = self._fit(whole, read, options)
        self._splits = _windows(self.preparation, read, options)
        self.test_splits = tuple(name for name in self._splits if name not in ("train", "validation"))
        _check_windows(self._splits, whole, options)
        self.input, self.output = self.preparation.input, self.preparation.output  # type: ignore[assignment]
        self.max_tokens = options.history
        self.default_encoder = "patches1d" if options.history > 64 else "linear"
        sizes = {name: split.size or 0 for name, split in self._splits.items()}
        self.notes = (
            f"windows: {', '.join(f'{name} {size:,}' for name, size in sizes.items())}; {_divided(read, options)}",
            f"{len(whole.series):,} series of up to {max(map(len, whole.series)):,} steps; forecast: "
            f"{shown(self._names())}; input: {shown(whole.channels)}",
            *files.notes,
            *whole.notes,
            *missing_note(whole.series, options.fill),
            *constant_note(self.preparation),
            *self._baselines(_season(whole, options)),
        )
        self.warnings = tuple(text.split(":")[0] + ", which may overlap" for text in size_warnings(sizes))

    def split(self, name: str) -> Split:
        """Return the split ``train``, ``validation`` or one of ``test_splits``.

        Raises:
            UnknownNameError: the task has no split of this name.
        """
        if name not in self._splits:
            raise UnknownNameError("split of task series", name, self._splits)
        return self._splits[name]

    def show(self, split: str, index: int) -> Shown:
        """See `fptkit.Task.show`: the history, in the unit in which forecasts are reported."""
        assert self.preparation is not None
        history = self._splits[split].windows(np.array([index]))[0][0]
        channels = self.preparation.channels
        history = history[:, : len(channels)]  # without the marks of missing values
        if self.preparation.normalisation == "train":
            deviation = np.array([one or 1.0 for one in self.preparation.deviation])
            history = history * deviation + np.array(self.preparation.mean)
        return Shown(series=history, channels=channels)

    def metrics(self) -> GivenMetrics:
        """Return mean squared error, which chooses the best step, in the model's scale, and mean absolute errors.

        They are in the unit of the data for each channel that is forecast, or with ``normalisation: window`` one in the
        scale of each history.
        """
        assert self.preparation is not None
        return self.preparation.metrics()

    preparation: SeriesPreparation | None

    def _read(self, files: SourceFiles, split: str, options: SeriesOptions) -> Read:
        layout = options.reading()
        return joined([read_series(path, split, layout) for path in files.splits[split]])

    def _fit(self, whole: Read, read: Mapping[str, Read], options: SeriesOptions) -> SeriesPreparation:
        """The preparation, measured on the training steps."""
        if lacking := [name for name in options.target if name not in whole.channels]:
            raise UsageError(
                f"task.target: {whole.names[0]} has no channel '{lacking[0]}'; it has {shown(whole.channels)}"
            )
        pool = _pool(read)
        borders = _borders(pool, [name for name in read if name not in ("all", "train")], options.split)
        train = [
            each[begin:end] for each, begin, end in zip(pool.series, borders.begins, borders.ends[:, 0], strict=True)
        ]
        if not sum(map(len, train)):
            raise UsageError(f"task series: {pool.names[0]} is too short for a training part; add data")
        mean, deviation = scale_of(train)
        targets = tuple(whole.channels.index(name) for name in options.target or whole.channels)
        if constant := [whole.channels[place] for place in targets if not deviation[place]]:
            raise DataError(
                f"task series: channel '{constant[0]}' has the same value at every training step, so there is "
                "nothing to forecast; leave it out (options target and ignore)"
            )
        return SeriesPreparation(
            layout=options.reading(),
            channels=whole.channels,
            normalisation=options.normalisation,
            mean=mean,
            deviation=deviation,
            fill=options.fill,
            longest=max(map(len, whole.series)),
            forecast=Forecast(
                history=options.history, horizon=options.horizon or 1, targets=targets, stride=options.stride
            ),
        )

    def _names(self) -> list[str]:
        assert self.preparation is not None
        assert self.preparation.forecast is not None
        return [self.preparation.channels[place] for place in self.preparation.forecast.targets]

    def _baselines(self, season: int | None) -> list[str]:
        """Errors of the naive forecasts on validation and test, to compare the model's with."""
        notes = []
        for name, split in self._splits.items():
            if name != "train":
                errors = ", ".join(map(str, measure(self._splits["train"], split, season)))
                sampled = f" ({SAMPLE:,} windows)" if (split.size or 0) > SAMPLE else ""
                notes.append(f"{name}{sampled}: squared (absolute) error, in the model's scale, of {errors}")
        return notes


def _pool(read: Mapping[str, Read]) -> Read:
    return read["all"] if "all" in read else read["train"]


def _borders(pool: Read, own: Sequence[str], options: SplitOptions) -> Borders:
    """Where the parts of each series end; splits that the source has of its own take nothing."""
    tested = any(name == "test" or name.startswith("test_") for name in own)
    return borders_by_share(
        pool.series,
        validation=0.0 if "validation" in own else options.validation,
        test=0.0 if tested else options.test,
        train=options.train,
    )


def _windows(
    preparation: SeriesPreparation, read: Mapping[str, Read], options: SeriesOptions
) -> dict[str, WindowExamples]:
    """The windows of each split."""
    assert preparation.forecast is not None
    own = [name for name in read if name not in ("all", "train")]
    borders = _borders(_pool(read), own, options.split)
    found: dict[str, WindowExamples] = {}

    def cut(read: Read, borders: Borders, names: Mapping[str, str]) -> None:
        scaled = [preparation.scaled(each, name) for each, name in zip(read.series, read.names, strict=True)]
        timeline = make_timeline(scaled, borders, targets=preparation.forecast.targets)  # type: ignore[union-attr]
        for name, part in names.items():
            found[name] = WindowExamples(
                timeline,
                part,
                context=options.history,
                horizon=options.horizon or 1,
                stride=options.stride,
                by_window=options.normalisation == "window",
            )

    tested = any(name.startswith("test") for name in own)
    drawn = [name for name in SPLITS if name not in own and not (name == "test" and tested)]
    cut(_pool(read), borders, {name: name for name in drawn})
    for name in own:
        cut(read[name], all_test(read[name].series), {name: "test"})
    order = ["train", "validation", *(name for name in found if name not in ("train", "validation"))]
    return {name: found[name] for name in order}


def _check_windows(splits: Mapping[str, WindowExamples], whole: Read, options: SeriesOptions) -> None:
    if empty := [name for name, split in splits.items() if not split.size]:
        raise UsageError(
            f"task series: the longest series has {max(map(len, whole.series)):,} steps, which leaves no window of "
            f"history {options.history} and horizon {options.horizon} without a missing target in {', '.join(empty)}; "
            "lower history or horizon, or change the shares of split"
        )


def _divided(read: Mapping[str, Read], options: SeriesOptions) -> str:
    own = [name for name in read if name not in ("all", "train")]
    return f"{', '.join(own)} as in the source" if own else "each series is split by time"


def _season(whole: Read, options: SeriesOptions) -> int | None:
    """The season of the option, or that of the steps between dates."""
    if options.season is not None or whole.step_s is None:
        return options.season
    found = [season for seconds, season in _SEASONS if 1 <= whole.step_s / seconds < 1.12]
    return found[0] if found and found[0] <= options.history else None
