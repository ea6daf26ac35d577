"""The files of a source, their splits, and the reader for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fptkit.errors import DataError
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.paths import SourceFiles, find_files, places
from fptkit.tasks.reading.text import file_type
from fptkit.tasks.series.options import ENDINGS, Layout, SeriesOptions

if TYPE_CHECKING:
    from fptkit.tasks.series.values import Read, SeriesFile


def files(options: SeriesOptions, entry: str) -> Iterable[Path]:
    """The files of an entry of ``source``, for the identity of the data; see ``TaskSpec.files``."""
    return find_series({"all": (entry,)}, own=options.split.own and options.split.column is None).files


def find_series(source: Mapping[str, Sequence[str]], *, own: bool) -> SourceFiles:
    """Find the files of a source; of a folder with several formats only those of one, the first in `ENDINGS`.

    Args:
        source: as `find_files`.
        own: whether to look for own splits among files and folders.

    Raises:
        SourceError: there is nothing at a place, or no series.
        DataError: own splits are ambiguous.
    """
    found = find_files(source, ENDINGS, own=False)
    below = {file_type(path) for path in found.files if found.base[path] != path}
    given = {file_type(path) for entries in source.values() for entry in entries for path in places(entry)}
    chosen = next((ending for ending in ENDINGS if ending in below), None)
    return find_files(source, ENDINGS if chosen is None else tuple({chosen, *given} & set(ENDINGS)), own=own)


def read_series(path: Path, split: str, layout: Layout, columns: Sequence[str] = ()) -> Read:
    """Read the series of a file.

    Args:
        path: the file.
        split: the split whose arrays of an ``.npz`` file are read, or ``all``.
        layout: options of reading.
        columns: further columns of a table, by which splits are made.

    Raises:
        DataError: the file is damaged, or does not follow its format; with line number.
        UsageError: a column that the options name is missing.
    """
    from fptkit.tasks.series.arrays import read_npz, read_timeline
    from fptkit.tasks.series.tables import read_steps
    from fptkit.tasks.series.ts_file import read_ts
    from fptkit.tasks.series.tsv import looks_like_ucr, read_tsv
    from fptkit.tasks.table.reader import read_table

    kind = file_type(path)
    if kind == ".npz":
        return (
            read_timeline(path) if layout.forecasting else read_npz(path, split, channels_first=layout.channels_first)
        )
    if kind == ".ts":
        return _of_file(path, read_ts(path))
    if kind in (".tsv", ".txt") and layout.header and looks_like_ucr(path):
        return _of_file(path, read_tsv(path))
    return read_steps(read_table(path, layout.delimiter, header=layout.header), layout, columns)


def joined(parts: Sequence[Read]) -> Read:
    """The series of several files.

    Raises:
        DataError: they differ in their channels, or only some have labels.
    """
    from fptkit.tasks.series.values import Read

    first = parts[0]
    for part in parts[1:]:
        if len(part.channels) != len(first.channels):
            raise DataError(
                f"{part.names[0]}: {len(part.channels)} channels ({shown(part.channels)}), but {first.names[0]} has "
                f"{len(first.channels)}; all files of a source need the same"
            )
        if part.channels != first.channels:
            raise DataError(
                f"{part.names[0]}: the channels are {shown(part.channels)}, but those of {first.names[0]} "
                f"{shown(first.channels)}; write them in the same order"
            )
        if part.labels.keys() != first.labels.keys():
            raise DataError(
                f"{part.names[0]}: other targets than {first.names[0]}; all files of a source need the same"
            )
    return Read(
        [each for part in parts for each in part.series],
        [name for part in parts for name in part.names],
        first.channels,
        {name: [cell for part in parts for cell in part.labels[name]] for name in first.labels},
        {
            name: [cell for part in parts for cell in part.columns[name]]
            for name in first.columns
            if all(name in part.columns for part in parts)
        },
        max((part.classes for part in parts), key=len),
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        first.step_s,
    )


def _of_file(path: Path, read: SeriesFile) -> Read:
    from fptkit.tasks.series.values import Read

    channels = read.series[0].shape[1]
    return Read(
        read.series,
        [f"{path}:{line}" for line in read.lines],
        tuple(f"channel {number + 1}" for number in range(channels)),
        {"class": read.labels} if read.labels else {},
        classes=read.classes,
    )
