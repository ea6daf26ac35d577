"""The task ``series``: predict a class, labels or numbers from a time series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError, UsageError
from fptkit.interfaces import Examples, Preparation, Vectors
from fptkit.interfaces.task import Task
from fptkit.tasks.own_data.target import Target
from fptkit.tasks.own_data.task import OwnDataTask
from fptkit.tasks.reading.options import TargetOptions
from fptkit.tasks.reading.paths import SourceFiles
from fptkit.tasks.series.arrays import splits_inside
from fptkit.tasks.series.forecasting import Forecasting
from fptkit.tasks.series.options import ENDINGS, SeriesOptions
from fptkit.tasks.series.preparation import SeriesPreparation, constant_note, missing_note, scale_of
from fptkit.tasks.series.reader import find_series, joined, read_series

PATCHED_FROM = 64
"""Steps from which the default encoder makes patches of steps instead of one token of each."""


def make_series(options: SeriesOptions, *, seed: int, pinned: str | None = None) -> Task:
    """The task ``series``: `LabelledSeries`, or `Forecasting` if the problem is forecasting."""
    return (Forecasting if options.forecasts else LabelledSeries)(options, seed=seed, pinned=pinned)


class LabelledSeries(OwnDataTask):
    """Predict a class, several labels or numbers from a time series of any length. A step is a raw token.

    Args:
        options: see `SeriesOptions`.
        seed: the run's seed; data and splits do not depend on it.
        pinned: not used.

    Shapes: inputs (B, T, C); targets (B,) for classes, (B, 1, L) for L labels, (B, width) for numbers.

    Raises:
        SourceError: a file does not exist.
        DataError: a file is damaged, or a series does not fit the others.
        UsageError: a column in the options is missing, or there are no labels.
    """

    name, endings = "series", ENDINGS

    input: Vectors

    def __init__(self, options: SeriesOptions, *, seed: int, pinned: str | None = None) -> None:
        self._channels: tuple[str, ...] = ()
        self._classes: tuple[str, ...] = ()
        super().__init__(options, seed=seed, pinned=pinned)
        self.default_encoder = "patches1d" if self.max_tokens > PATCHED_FROM else "linear"

    def find(self, options: TargetOptions) -> SourceFiles:
        """See `OwnDataTask.find`; the arrays of an ``.npz`` file may be splits."""
        own = options.split.own and options.split.column is None
        found = find_series(options.source, own=own)
        if own and set(found.splits) == {"all"} and len(found.files) == 1 and found.files[0].suffix.lower() == ".npz":
            path = found.files[0]
            if splits := splits_inside(path):
                return SourceFiles(dict.fromkeys(splits.values(), (path,)), notes=found.notes, base=found.base)
        return found

    def read_split(self, files: SourceFiles, split: str, options: TargetOptions) -> Examples:
        """See `OwnDataTask.read_split`. Content: arrays (T, C), NaN for missing values."""
        assert isinstance(options, SeriesOptions)
        columns = [name for name in (options.split.group, options.split.time, options.split.column) if name]
        layout = options.reading()
        read = joined([read_series(path, split, layout, columns) for path in files.splits[split]])
        if self._channels and len(read.channels) != len(self._channels):
            raise DataError(
                f"{read.names[0]}: {len(read.channels)} channels, but the training data have {len(self._channels)}"
            )
        if options.target and (lacking := [name for name in options.target if name not in read.labels]):
            raise UsageError(
                f"task.target: {read.names[0]} has no target '{lacking[0]}'; it has {', '.join(read.labels) or 'none'}"
            )
        if not read.labels:
            raise UsageError(
                f"task.target: {read.names[0]} has no label; name the column to predict, or set horizon to forecast"
            )
        _check_classes(self._classes, read.classes, read.names[0])
        self._channels, self._classes = self._channels or read.channels, self._classes or read.classes
        return Examples(read.series, read.names, read.labels, read.columns, read.notes)

    def declared_classes(self, files: SourceFiles, options: TargetOptions) -> Sequence[str]:
        """The classes that the header of a ``.ts`` file or an array ``classes`` declares."""
        return self._classes

    def fit(
        self, examples: Examples, train: NDArray[np.int64], target: Target, options: TargetOptions
    ) -> SeriesPreparation:
        """See `OwnDataTask.fit`.

        Raises:
            DataError: no channel changes.
        """
        assert isinstance(options, SeriesOptions)
        longest = max(map(len, examples.content))
        longest = min(longest, options.max_steps or longest)
        mean, deviation = scale_of([examples.content[row][:longest] for row in train])
        if not any(deviation):
            raise DataError("task series: every channel has the same value at every training step; check the columns")
        return SeriesPreparation(
            layout=options.reading(),
            channels=self._channels,
            normalisation=options.normalisation,
            mean=mean,
            deviation=deviation,
            fill=options.fill,
            longest=longest,
            target=target,
        )

    def further_notes(self, preparation: Preparation, examples: Mapping[str, Examples]) -> Sequence[str]:
        """Lengths, channels, and what is cut or missing."""
        assert isinstance(preparation, SeriesPreparation)
        every = [each for some in examples.values() for each in some.content]
        lengths = [len(each) for each in every]
        steps = f"{min(lengths):,}" if min(lengths) == max(lengths) else f"{min(lengths):,} to {max(lengths):,}"
        cut = sum(length > preparation.longest for length in lengths)
        return (
            f"series of {steps} steps, {len(preparation.channels)} channels",
            *((f"{cut:,} series are cut to their first {preparation.longest:,} steps (max_steps)",) if cut else ()),
            *missing_note(every, preparation.fill),
            *constant_note(preparation),
        )


def _check_classes(known: Sequence[str], declared: Sequence[str], where: str) -> None:
    """Check that two files declare the same classes.

    Raises:
        DataError: they do not.
    """
    if known and declared and set(known) != set(declared):
        raise DataError(f"{where}: the file declares classes {', '.join(declared)}, but train {', '.join(known)}")
