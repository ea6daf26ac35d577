"""Data sets of the library ``datasets`` (Hugging Face): of the hub, in its cache, or in a folder.

Code of a data set is never run. If the hub does not answer, or must not be asked, the cache is used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fptkit.errors import DataError, SourceError, UsageError
from fptkit.sources.choice import expanded
from fptkit.sources.decoding import decoding
from fptkit.sources.identity import walk
from fptkit.sources.probe import hub_problem
from fptkit.tasks.arrays.names import Wanted, roles
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.paths import split_of


@dataclass(frozen=True)
class HubData:
    """A data set.

    Args:
        splits: for each split, the columns that are used, as arrays or lists.
        classes: names of the classes of the target.
        notes: what is not used.
        digests: fingerprint of each split.
    """

    splits: Mapping[str, Mapping[str, Any]]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)


def hub_files(entry: str) -> list[Path]:
    """The files of a data set on this machine: those of its folder, or of its cache; none before it is fetched."""
    name = entry.removeprefix("hf:").strip()
    folder = expanded(name)
    if folder.exists():
        return list(walk(folder)) if folder.is_dir() else [folder]
    cached = _cache() / name.lower().replace("/", "___")
    return [path for path in walk(cached) if path.suffix == ".arrow"] if cached.is_dir() else []


def _cache() -> Path:
    """The folder of the library's cache, as it finds it itself; the library is not imported."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return expanded(os.environ.get("HF_DATASETS_CACHE") or Path(home) / "datasets")


def read_hub(entry: str, wanted: Wanted, *, config: str | None, revision: str | None) -> HubData:
    """Read a data set.

    Args:
        entry: ``hf:OWNER/NAME``, or ``hf:FOLDER``.
        wanted: names that the options give.
        config: its configuration; None for the only one.
        revision: its revision; None for the newest.

    Raises:
        UsageError: the library is not installed, or a column does not exist.
        SourceError: the data set is not available.
        DataError: a column has something else than numbers, pictures or labels.
    """
    try:
        import datasets
    except ImportError as err:
        raise UsageError(f"{entry}: data sets of Hugging Face need datasets: pip install 'fptkit[datasets]'") from err
    name = entry.removeprefix("hf:").strip()
    found = _loaded(datasets, name, entry, config, revision)
    given = dict(found) if isinstance(found, datasets.DatasetDict) else {"all": found}
    splits = {split_of(key) or ("all" if len(given) == 1 else ""): data for key, data in given.items()}
    ignored = [key for key in given if len(given) > 1 and not split_of(key)]
    first = next(iter(given.values()))
    chosen, _ = roles(first.column_names, wanted, entry)
    used = next(iter(chosen.values()))
    columns = [used.x, *used.y, *([used.lengths] if used.lengths else [])]
    unused = [column for column in first.column_names if column not in columns]
    notes = [f"splits of {entry} that are not used: {shown(ignored)}"] if ignored else []
    notes += [f"columns of {entry} that are not used: {shown(unused)}"] if unused else []
    classes = getattr(first.features[used.y[0]], "names", None) if len(used.y) == 1 else None
    arrays = {
        split: {column: _column(data, column, f"{entry}, {split}, {column}") for column in columns}
        for split, data in splits.items()
        if split
    }
    digests = {f"{entry} {split}": str(data._fingerprint) for split, data in splits.items() if split}
    return HubData(arrays, tuple(classes or ()), tuple(notes), digests)


def _loaded(datasets: Any, name: str, entry: str, config: str | None, revision: str | None) -> Any:
    folder = expanded(name)
    try:
        if folder.is_dir() and any((folder / file).is_file() for file in ("dataset_dict.json", "state.json")):
            return datasets.load_from_disk(str(folder))
        with _quiet(datasets), _offline_if_silent(datasets, folder):
            place = str(folder) if folder.exists() else name
            return datasets.load_dataset(place, config, revision=revision)
    except Exception as err:  # the library, its readers and the hub client raise errors of many kinds
        reason = " ".join((str(err) or type(err).__name__).split())
        raise SourceError("task.source", [(entry, reason[:300])], "Check the name, or fetch it once online.") from err


@contextlib.contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Without progress bars."""
    shown_before = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown_before:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def _offline_if_silent(datasets: Any, folder: Path) -> Iterator[None]:
    """Use the library's cache alone if the hub must not be asked or does not answer; its own attempts take minutes."""
    before = datasets.config.HF_HUB_OFFLINE
    if not folder.exists() and not before:
        datasets.config.HF_HUB_OFFLINE = bool(hub_problem())
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _column(data: Any, column: str, where: str) -> Any:
    """A column as one array, or as a list of arrays if examples have different shapes."""
    import numpy as np

    if type(data.features[column]).__name__ == "Image":
        return _pictures(data, column, where)
    with decoding(where, "a column of a data set", advice="write the data set again"):
        values = data.with_format("numpy")[column][:]
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values
    arrays = [np.asarray(value) for value in values]
    if strange := [row for row, array in enumerate(arrays) if array.dtype.kind not in "biufUS"]:
        kind = type(values[strange[0]]).__name__
        raise DataError(f"{where}[{strange[0]}]: a value of type {kind}; expected numbers, pictures or labels")
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    return arrays


def _pictures(data: Any, column: str, where: str) -> Any:
    """Pictures of one size as an array of bytes."""
    import datasets
    import numpy as np

    from fptkit.tasks.images.pictures import in_threads, read_picture

    with decoding(where, "a column of a data set", advice="write the data set again"):
        encoded: Sequence[Mapping[str, Any]] = data.cast_column(column, datasets.Image(decode=False))[column][:]

    def pixels(row: int) -> Any:
        content = encoded[row]
        source = content["bytes"] if content["bytes"] is not None else Path(content["path"])
        return np.asarray(read_picture(source, f"{where}[{row}]").image)

    found = in_threads(pixels, range(len(encoded)))
    sizes = {array.shape for array in found}
    if len(sizes) > 1:
        raise DataError(
            f"{where}: pictures of {len(sizes)} sizes, but arrays have one; save them as files for the task images"
        )
    return np.stack(found)
