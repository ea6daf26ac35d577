"""The task ``audio``: predict a class, labels or numbers from a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import UsageError
from fptkit.interfaces import Batch, Examples, Preparation, Split, Vectors
from fptkit.tasks.audio.options import SOUND, AudioOptions
from fptkit.tasks.audio.preparation import AudioPreparation
from fptkit.tasks.audio.reader import (
    Listed,
    find_recordings,
    in_class_folders,
    is_table,
    lists_recordings,
    read_listing,
)
from fptkit.tasks.own_data.prepared import PreparedSplit
from fptkit.tasks.own_data.target import Target
from fptkit.tasks.own_data.task import OwnDataTask
from fptkit.tasks.reading.listed import need_table, repeated_notes, unused_note
from fptkit.tasks.reading.options import TargetOptions
from fptkit.tasks.reading.paths import SourceFiles, empty_folders
from fptkit.tasks.reading.usual import target_columns


class Audio(OwnDataTask):
    """Predict from recordings in class folders, or of a table with paths and labels.

    Channels are averaged, other sample rates are resampled, and longer recordings are cut. A token has the log energy
    in mel bands of some frames, or a patch of samples; shorter recordings have fewer tokens. The level of a recording
    has no effect.

    Args:
        options: see `AudioOptions`.
        seed: the run's seed; data and splits do not depend on it.
        pinned: not used.

    Shapes: inputs (B, T, F); targets (B,) for classes, (B, 1, L) for L labels, (B, width) for numbers.

    Raises:
        SourceError: a file or folder does not exist, or has no recordings.
        DataError: a recording is damaged or in no class folder, or a table does not fit.
        UsageError: a column in the options is missing, or soundfile is needed.
    """

    name, endings = "audio", SOUND

    input: Vectors

    def __init__(self, options: AudioOptions, *, seed: int, pinned: str | None = None) -> None:
        self._seconds: list[float] = []
        self._silent: list[str] = []
        self._rates: set[int] = set()
        if not lists_recordings(options.source):
            need_table(options, ("path", "root"))
            # Folders named 1 to 100 are classes, not numbers, and one may have the name none.
            named = {"problem": "classification", "missing": ("",)} if options.problem == "auto" else {"missing": ("",)}
            options = options.model_copy(update=named)
        super().__init__(options, seed=seed, pinned=pinned)
        lowest = min(*self._rates, options.rate)
        assert self.preparation is not None
        self.preparation = self.preparation.model_copy(update={"lowest_rate": lowest})
        self.warnings = (*self.warnings, *self._empty)
        if self._silent:
            self.warnings = (
                *self.warnings,
                f"{len(self._silent):,} of {len(self._seconds):,} recordings are silent, such as {self._silent[0]}",
            )

    def find(self, options: TargetOptions) -> SourceFiles:
        """See `OwnDataTask.find`: recordings in class folders, or tables."""
        found = find_recordings(options.source, own=options.split.own and options.split.column is None)
        folders = {path: path.relative_to(found.base[path]).parts[:-1] for path in found.files if not is_table(path)}
        used = {path: parts for path, parts in folders.items() if parts}
        self._empty = empty_folders(found, used, "recordings")
        return found

    def read_split(self, files: SourceFiles, split: str, options: TargetOptions) -> Examples:
        """See `OwnDataTask.read_split`. Content: paths of recordings."""
        assert isinstance(options, AudioOptions)
        paths = files.splits[split]
        tables = [path for path in paths if is_table(path)]
        parts = [_examples(read_listing(path, options.path, options.root), str(path), options) for path in tables]
        if recordings := [path for path in paths if not is_table(path)]:
            parts.append(_examples(in_class_folders(files, recordings), "the source of class folders", options))
        if len({tuple(part.labels) for part in parts}) > 1:
            raise UsageError("task.source: tables and folders have different targets; use one kind of source")
        return Examples.joined(parts)

    def fit(
        self, examples: Examples, train: NDArray[np.int64], target: Target, options: TargetOptions
    ) -> AudioPreparation:
        """See `OwnDataTask.fit`; nothing is measured, since each recording is scaled by itself."""
        assert isinstance(options, AudioOptions)

        def samples(ms: float) -> int:
            return max(1, round(ms * options.rate / 1000))

        return AudioPreparation(
            target=target,
            path=options.path,
            rate=options.rate,
            max_samples=max(round(options.max_seconds * options.rate), samples(options.window_ms)),
            crop=options.crop,
            features=options.features,
            window=samples(options.window_ms),
            hop=samples(options.hop_ms),
            bands=options.bands,
            lowest_hz=options.lowest_hz,
            frames_per_token=options.frames_per_token,
            patch=samples(options.patch_ms),
        )

    def make_split(self, preparation: Preparation, examples: Examples, name: str, options: TargetOptions) -> Split:
        """See `OwnDataTask.make_split`; lengths and silent recordings are noted on the way."""
        assert isinstance(preparation, AudioPreparation)
        return PreparedSplit(_Noted(preparation, self._seconds, self._silent, self._rates), examples)  # type: ignore[arg-type]

    def further_notes(self, preparation: Preparation, examples: Mapping[str, Examples]) -> Sequence[str]:
        """Lengths of the recordings, and what is cut or padded."""
        assert isinstance(preparation, AudioPreparation)
        longest, frame = preparation.max_samples / preparation.rate, preparation.window / preparation.rate
        longer = sum(seconds > longest for seconds in self._seconds)
        shorter = sum(seconds < frame for seconds in self._seconds) if preparation.features == "log_mel" else 0
        return (
            f"recordings: {min(self._seconds):.3g} to {max(self._seconds):.3g} seconds, as {preparation.rate:,} "
            f"samples per second and {preparation.input.width} numbers per token",
            *((f"{longer:,} recordings are cut to {longest:g} seconds (max_seconds)",) if longer else ()),
            *((f"{shorter:,} recordings are shorter than a frame, and padded to one",) if shorter else ()),
            *repeated_notes([Path(path) for some in examples.values() for path in some.content]),
        )


class _Noted:
    """A preparation that notes what it hears."""

    def __init__(self, preparation: AudioPreparation, seconds: list[float], silent: list[str], rates: set[int]) -> None:
        self.input, self.output = preparation.input, preparation.output
        self._preparation, self._seconds, self._silent, self._rates = preparation, seconds, silent, rates

    def prepare(self, examples: Examples) -> Batch:
        """See `AudioPreparation.prepare`."""
        clips = [self._preparation.hear(path) for path in examples.content]
        self._seconds += [clip.seconds for clip in clips]
        self._rates.update(clip.rate for clip in clips)
        self._silent += [path for path, clip in zip(examples.content, clips, strict=True) if clip.silent]
        return self._preparation.batch(clips, examples)


def _examples(listed: Listed, where: str, options: AudioOptions) -> Examples:
    split = [name for name in (options.split.group, options.split.time, options.split.column) if name]
    if listed.table is None and split:
        raise UsageError(f"task.split: class folders have no column '{split[0]}'; list the recordings in a table")
    if lacking := [name for name in split if name not in listed.cells]:
        raise UsageError(f"task.split: {where} has no column '{lacking[0]}'; it has {', '.join(listed.cells)}")
    targets = target_columns(listed.cells, options.target, (listed.path, *split), where)
    note = unused_note(listed.table, (listed.path, *targets, *split)) if listed.table is not None else ()
    return Examples(
        list(map(str, listed.paths)),
        listed.names,
        {name: listed.cells[name] for name in targets},
        {name: listed.cells[name] for name in split},
        (*listed.notes, *note),
    )
