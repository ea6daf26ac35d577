"""The task ``time_series_forecasting``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torchmetrics

from fptkit import Split, Task, Values, Vectors
from fptkit.errors import DataError, UnknownNameError, UsageError
from fptkit.sources import Unavailable, choose, shown_folder
from fptkit.tasks.series.arrays import read_arrays, split_series
from fptkit.tasks.series.baselines import SAMPLE, measure
from fptkit.tasks.series.ts_file import read_ts
from fptkit.tasks.series.tsv import read_tsv
from fptkit.tasks.series.values import Series
from fptkit.tasks.series.windows import SPLITS, Timeline, WindowExamples, borders_by_share, make_timeline
from fptkit_timeseries.options import ForecastingOptions
from fptkit_timeseries.series import channel_counts, moments, scale
from fptkit_timeseries.simulate import simulate_trends
from fptkit_timeseries.tables import read_csv

_ADVICE = (
    "Use your own file (source: path:FILE): .csv with one series per column, .npz with 'series', .ts or .tsv.\n"
    "Or list 'simulated' as a further source."
)


@dataclass(frozen=True)
class Found:
    """Series to forecast, and notes on them."""

    series: tuple[Series, ...]
    notes: tuple[str, ...] = ()


class TimeSeriesForecasting(Task):
    """Forecast the next values of time series. Each step is a raw token; the encoder may combine steps into patches.

    Splits are consecutive in time: training never sees targets of validation or test, and each split's targets come
    after all targets of the split before.

    Args:
        options: see `ForecastingOptions`.
        seed: the run's seed; data and splits do not depend on it.
        pinned: source that an earlier run of this recipe used; only it is tried.

    Shapes: inputs (B, context, C), targets and predictions (B, horizon * C); C is 1 for independent channels.

    Raises:
        SourceError: no listed source is available.
        DataError: the file of a source is damaged or in another format.
        UsageError: the series are too short for context and horizon, or ``columns`` is set for a file other than CSV.
    """

    input: Vectors
    output: Values

    def __init__(self, options: ForecastingOptions, *, seed: int, pinned: str | None = None) -> None:
        choice = choose(
            options.source,
            lambda entry: _open(entry, options),
            what="series of task time_series_forecasting",
            pinned=pinned,
            advice=_ADVICE,
        )
        self.source = choice.entry
        self.stand_in = choice.stand_in or choice.entry == "simulated"  # a stand-in even if it is listed first
        series = _arrange(choice.found.series, options)
        timeline = _timeline(series, options)
        self._splits = {
            name: WindowExamples(
                timeline,
                name,
                context=options.context,
                horizon=options.horizon,
                stride=options.stride,
                by_window=options.normalisation == "window",
            )
            for name in SPLITS
        }
        _check_windows(self._splits, series, options)
        channels = series[0].shape[1]
        self.input = Vectors(channels)
        self.output = Values(options.horizon * channels)
        self.max_tokens = options.context
        self.notes = (
            *(f"{entry}: {reason}" for entry, reason in choice.skipped),
            *choice.found.notes,
            _sizes_note(self._splits, series, options),
            *_baseline_notes(self._splits, _season(choice.entry, options)),
        )

    def split(self, name: str) -> Split:
        """Return the split ``train``, ``validation`` or ``test``.

        Raises:
            UnknownNameError: the task has no split of this name.
        """
        if name not in self._splits:
            raise UnknownNameError("split of task time_series_forecasting", name, self._splits)
        return self._splits[name]

    def metrics(self) -> torchmetrics.MetricCollection:
        """Return mean squared error, which chooses the best step, and mean absolute error, in the targets' scale."""
        return torchmetrics.MetricCollection(
            {
                "mean_squared_error": torchmetrics.MeanSquaredError(),
                "mean_absolute_error": torchmetrics.MeanAbsoluteError(),
            }
        )


def _open(entry: str, options: ForecastingOptions) -> Found:
    if entry == "simulated":
        made = simulate_trends(options.simulated)
        return Found(
            (made,),
            (f"simulated trends (seed {options.simulated.seed}): no real data, not comparable with published results",),
        )
    path = Path(entry.removeprefix("path:")).expanduser()
    if not path.is_file():
        raise Unavailable(f"there is no file {shown_folder(path)}")
    if options.columns is not None and path.suffix != ".csv":
        raise UsageError(f"time_series_forecasting: the option columns is for CSV files, but the source is {path}")
    if path.suffix == ".csv":
        read = read_csv(path, options.columns)
        unused = (f"columns not used: {', '.join(read.left_out)}",) if read.left_out and options.columns is None else ()
        return Found((read.values,), (f"series: {', '.join(read.names)}", *unused, *read.notes))
    if path.suffix in (".ts", ".tsv"):
        return Found((read_ts if path.suffix == ".ts" else read_tsv)(path).series)
    if path.suffix == ".npz":
        return Found(_read_npz(path))
    raise DataError(f"{path}: expected a file .csv, .npz, .ts or .tsv")


def _read_npz(path: Path) -> tuple[Series, ...]:
    """Read one time axis, ``series`` of shape (T, C) or (T,); or several, ``x_train`` as in `read_labelled`."""
    arrays = read_arrays(path)
    if "series" in arrays:
        values = arrays["series"]
        if values.ndim not in (1, 2) or values.dtype.kind not in "fiu" or not values.size:
            raise DataError(f"{path}: 'series' is {values.dtype} {values.shape}, expected numbers (T, C) or (T,)")
        if np.isinf(values).any():
            raise DataError(f"{path}: 'series' has infinite values")
        return (values.reshape(len(values), -1).astype(np.float64),)
    if "x_train" in arrays:
        return split_series(path, arrays, "train")
    raise DataError(f"{path}: no array 'series' or 'x_train'; it has {', '.join(sorted(arrays)) or 'nothing'}")


def _arrange(series: Sequence[Series], options: ForecastingOptions) -> list[Series]:
    """Return arrays (T, C), each with a known value in every channel; for independent channels (T, 1)."""
    if len(channel_counts(series)) > 1:
        raise DataError("the series differ in their number of channels")
    arranged = list(series)
    if options.channels == "independent":
        arranged = [each[:, [channel]] for each in series for channel in range(each.shape[1])]
    for number, each in enumerate(arranged):
        if np.isnan(each).all(0).any():
            raise DataError(f"series {number} has a channel without any values; exclude it (option columns)")
    return arranged


def _timeline(series: Sequence[Series], options: ForecastingOptions) -> Timeline:
    """The series with their borders, scaled by their own training steps if ``normalisation`` is ``train``."""
    borders = borders_by_share(series, validation=options.validation_share, test=options.test_share)
    found = [moments(each[: ends[0]]) for each, ends in zip(series, borders.ends, strict=True)]
    if options.normalisation == "train":
        series = [(each - mean) / scale(deviation) for each, (mean, deviation) in zip(series, found, strict=True)]
        return make_timeline(series, borders)
    return make_timeline(series, borders, deviation=np.stack([scale(deviation)[0] for _, deviation in found]))


def _check_windows(splits: dict[str, WindowExamples], series: Sequence[Series], options: ForecastingOptions) -> None:
    if empty := [name for name, split in splits.items() if not split.size]:
        raise UsageError(
            f"time_series_forecasting: the longest series has {max(map(len, series)):,} steps, which leaves no "
            f"window of context {options.context} and horizon {options.horizon} in {', '.join(empty)}; "
            "lower context or horizon, or change validation_share and test_share"
        )


def _season(entry: str, options: ForecastingOptions) -> int | None:
    if options.season is not None:
        return options.season
    known = entry == "simulated" and options.simulated.period <= options.context
    return options.simulated.period if known else None


def _sizes_note(splits: dict[str, WindowExamples], series: Sequence[Series], options: ForecastingOptions) -> str:
    sizes = ", ".join(f"{name} {split.size:,}" for name, split in splits.items())
    missing = sum(int(np.isnan(each).sum()) for each in series)
    text = f"windows: {sizes}; {len(series)} series of up to {max(map(len, series)):,} steps; errors in the scale "
    text += {"window": "of each window's context", "train": "of the training steps", "none": "of the data"}[
        options.normalisation
    ]
    return text + (f"; {missing:,} missing values, filled forward in contexts" if missing else "")


def _baseline_notes(splits: dict[str, WindowExamples], season: int | None) -> list[str]:
    """Return the errors of the baselines on validation and test."""
    notes = []
    for name in ("validation", "test"):
        errors = measure(splits["train"], splits[name], season)
        sampled = f" ({SAMPLE:,} windows)" if (splits[name].size or 0) > SAMPLE else ""
        notes.append(f"{name}{sampled}, squared (absolute) error of: " + ", ".join(map(str, errors)))
    return notes
