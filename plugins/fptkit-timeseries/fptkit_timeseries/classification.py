"""The task ``time_series_classification``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fptkit import Batch, Classes, Split, Task, Vectors
from fptkit.errors import DataError, UnknownNameError, UsageError
from fptkit.sources import choose
from fptkit.tasks.reading.cautions import class_warnings, size_warnings
from fptkit.tasks.series.values import Series, interpolate
from fptkit_timeseries.archive import ADVICE, open_source
from fptkit_timeseries.options import ClassificationOptions
from fptkit_timeseries.series import LabelledSeries, moments, scale
from fptkit_timeseries.simulate import simulate_classes


class SeriesExamples:
    """A `fptkit.Split` of series with one class each, padded with zeros on the right.

    Args:
        series: arrays (T, C) without missing values.
        labels: (N,) class of each series.
    """

    size: int | None
    token_counts: NDArray[np.int64] | None

    def __init__(self, series: Sequence[Series], labels: NDArray[np.int64]) -> None:
        counts = np.array([len(each) for each in series], np.int64)
        self.size = len(labels)
        self.token_counts = counts if len(set(counts.tolist())) > 1 else None
        self.targets = labels
        self._counts = counts
        self._series = [torch.from_numpy(each.astype(np.float32)) for each in series]

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the series with these indices, padded on the right to the longest of them.

        Shapes: inputs (B, T, C) float32, targets (B,) int64, lengths (B,) int64, or None if all have T tokens.

        Args:
            indices: indices of the examples, at least one.
            generator: not used; stored examples involve no randomness.
        """
        inputs = torch.nn.utils.rnn.pad_sequence([self._series[index] for index in indices], batch_first=True)
        lengths = torch.from_numpy(self._counts[np.asarray(indices, np.int64)])
        targets = torch.from_numpy(self.targets[np.asarray(indices, np.int64)])
        return Batch(inputs, targets, None if bool((lengths == inputs.shape[1]).all()) else lengths)


class TimeSeriesClassification(Task):
    """Classify time series. Each step of a series is a raw token; the encoder may combine steps into patches.

    Args:
        options: see `ClassificationOptions`.
        seed: the run's seed; data and splits do not depend on it.
        pinned: source that an earlier run of this recipe used; only it is tried.

    Shapes: inputs (B, T, C), targets (B,), logits (B, K).

    Raises:
        SourceError: no listed source is available.
        DataError: the files of a source are damaged or in another format.
        UsageError: there are too few training series to split off a validation split.
    """

    input: Vectors
    output: Classes

    def __init__(self, options: ClassificationOptions, *, seed: int, pinned: str | None = None) -> None:
        def open_entry(entry: str) -> tuple[dict[str, LabelledSeries], int]:
            if entry == "simulated":
                return simulate_classes(options.simulated), options.simulated.classes
            return open_source(entry)

        choice = choose(
            options.source, open_entry, what="series of task time_series_classification", pinned=pinned, advice=ADVICE
        )
        stored, classes = choice.found
        self.source = choice.entry
        self.stand_in = choice.stand_in or choice.entry == "simulated"  # a stand-in even if it is listed first
        data = _set_aside(stored, options)
        prepared = _prepare(data, options)
        self._splits = {name: SeriesExamples(prepared[name], some.labels) for name, some in data.items()}
        self.input = Vectors(data["train"].series[0].shape[1])
        self.output = Classes(classes)
        self.max_tokens = max(len(series) for some in prepared.values() for series in some)
        commonest = int(np.bincount(data["train"].labels).argmax())
        self.majority_accuracy = {name: float((some.labels == commonest).mean()) for name, some in data.items()}
        names = [str(number) for number in range(classes)]
        self.warnings = (
            *size_warnings({name: len(some.labels) for name, some in data.items()}),
            *class_warnings({name: some.labels for name, some in data.items()}, names),
        )
        self.notes = (
            *(f"{entry}: {reason}" for entry, reason in choice.skipped),
            *_source_notes(choice.entry, options),
            *_data_notes(stored, data, classes, options),
        )

    def split(self, name: str) -> Split:
        """Return the split ``train``, ``validation`` or ``test``.

        Raises:
            UnknownNameError: the task has no split of this name.
        """
        if name not in self._splits:
            raise UnknownNameError("split of task time_series_classification", name, self._splits)
        return self._splits[name]


def _set_aside(stored: dict[str, LabelledSeries], options: ClassificationOptions) -> dict[str, LabelledSeries]:
    """Split a stratified fraction of the training series off for validation; train keeps one per class or more."""
    labels = stored["train"].labels
    chance = np.random.Generator(np.random.PCG64(options.split_seed))
    aside = []
    for label in np.unique(labels):
        members = chance.permutation(np.flatnonzero(labels == label))
        aside.append(members[: min(round(options.validation_share * len(members)), len(members) - 1)])
    validation = np.sort(np.concatenate(aside))
    if not len(validation):
        raise UsageError(
            f"time_series_classification: {len(labels)} training series leave none for validation with "
            f"validation_share {options.validation_share}; raise it"
        )
    train = np.setdiff1d(np.arange(len(labels)), validation)
    return {
        "train": stored["train"].choose(train),
        "validation": stored["train"].choose(validation),
        "test": stored["test"],
    }


def _prepare(data: dict[str, LabelledSeries], options: ClassificationOptions) -> dict[str, list[Series]]:
    """Crop the series, normalise them by their known values, and fill missing values."""
    cropped = {name: [each[: options.max_length] for each in some.series] for name, some in data.items()}
    if options.missing == "refuse":
        for name, some in cropped.items():
            if holes := [place for place, each in enumerate(some) if np.isnan(each).any()]:
                raise DataError(
                    f"series {holes[0]} of {name} has missing values; set the option missing to interpolate or zero"
                )
    mean, deviation = moments(np.concatenate(cropped["train"]))  # (1, C) of the training split
    prepared: dict[str, list[Series]] = {}
    for name, some in cropped.items():
        prepared[name] = []
        for each in some:
            if options.normalisation in ("channel", "series"):
                mean, deviation = moments(each, axis=0 if options.normalisation == "channel" else None)
            scaled = each if options.normalisation == "none" else (each - mean) / scale(deviation)
            filled = np.nan_to_num(scaled) if options.missing == "zero" else interpolate(scaled)
            prepared[name].append(filled)
    return prepared


def _source_notes(entry: str, options: ClassificationOptions) -> tuple[str, ...]:
    if entry == "simulated":
        return (
            f"simulated chirps (seed {options.simulated.seed}): no real data, not comparable with published results",
        )
    if entry.startswith("path:"):
        return (f"series of {entry.removeprefix('path:')}: not comparable with results on other copies",)
    return ()


def _data_notes(
    stored: dict[str, LabelledSeries], data: dict[str, LabelledSeries], classes: int, options: ClassificationOptions
) -> list[str]:
    lengths = [len(series) for some in data.values() for series in some.series]
    steps = f"{min(lengths)}" if min(lengths) == max(lengths) else f"{min(lengths)} to {max(lengths)}"
    channels = data["train"].series[0].shape[1]
    sizes = ", ".join(f"{name} {len(some.labels):,}" for name, some in data.items())
    notes = [f"series: {sizes}; {classes} classes; {channels} channel{'s'[: channels > 1]} of {steps} steps"]
    if options.max_length is not None and (long := sum(length > options.max_length for length in lengths)):
        notes.append(f"{long:,} series are cropped to their first {options.max_length:,} steps")
    missing = sum(int(np.isnan(series).sum()) for some in stored.values() for series in some.series)
    if missing:
        notes.append(f"{missing:,} missing values: {options.missing}")
    return notes
