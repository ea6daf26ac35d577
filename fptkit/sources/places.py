"""Where the data of a recipe are: the files and folders that its task would open, known without opening them.

Light: the address of a run is made from it.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fptkit.errors import PluginError, SourceError
from fptkit.options import Options, deciding
from fptkit.sources.choice import expanded
from fptkit.sources.identity import DataIdentity, Place, Snapshot, defined
from fptkit.specs import TaskSpec
from fptkit.specs.base import resolve_target

FilesOf = Callable[[Options, str], Iterable[Path]]
"""Type of ``TaskSpec.files``: the files and folders that an entry of ``source`` stands for."""


class TaskData:
    """The data of a task, before and after it opens them.

    Args:
        spec: the task's record.
        options: its options.
        pinned: source that an earlier run of this recipe used; only this one is looked at.

    Attributes:
        places: for each entry of ``source`` that has files, where they are.
        snapshot: the files as they are now.

    Raises:
        PluginError: the record's ``files`` does not give paths.
    """

    def __init__(self, spec: TaskSpec, options: Options, pinned: str | None = None) -> None:
        self._spec, self._options = spec, options
        entries = dict.fromkeys(_entries(options))
        if pinned in entries:
            entries = {pinned: None}
        self.places = {entry: place for entry in entries if (place := _place_of(spec, options, entry)) is not None}
        self.snapshot = Snapshot.take(self.places.values())

    def identity(self, source: str, extra: Mapping[str, str] | None = None) -> DataIdentity:
        """The identity of what was opened.

        Args:
            source: ``Task.source``: one entry, if only this one was opened.
            extra: digests of data that are not files, by name.

        Raises:
            DataError: a file changed since this object was made, or cannot be read.
        """
        if source in _entries(self._options):
            opened = Snapshot.take([self.places[source]]) if source in self.places else Snapshot.take([])
            self.snapshot.check()
        else:
            opened = self.snapshot
        if opened.files:
            return opened.identity(source, extra)
        content = json.dumps([self._spec.name, source, deciding(self._options)], sort_keys=True)
        return defined(source, content, extra)

    def stated_source(self, source: str) -> str:
        """The source of a task that names none although its options name files; otherwise the given one.

        Args:
            source: ``Task.source``.
        """
        if source != "generated" or not self.snapshot.files or "generated" in _entries(self._options):
            return source
        return ", ".join(entry for entry, place in self.places.items() if place in self.snapshot.files)


def data_digest(spec: TaskSpec, options: Options, pinned: str | None = None) -> str:
    """The digest of all files that a task may open; empty if there are none.

    Args:
        spec: the task's record.
        options: its options.
        pinned: source that an earlier run of this recipe used.

    Raises:
        DataError: a file cannot be read, or changes meanwhile.
    """
    data = TaskData(spec, options, pinned)
    return data.snapshot.identity("").digest if data.snapshot.files else ""


def _place_of(spec: TaskSpec, options: Options, entry: str) -> Place | None:
    """Where the files of an entry are; None if it has none."""
    if spec.files is not None:
        files_of: FilesOf = resolve_target(spec.files, wanted_by=spec)
        try:
            found = [Path(path) for path in files_of(options, entry)]
        except SourceError:  # nothing there, which the task reports
            return None
        except TypeError as err:
            raise PluginError(f"{spec}: files must take (options, entry) and return paths: {err}") from err
        if not found:
            return None
        base = _path(entry)
        return Place(base, tuple(found)) if base is not None and base.exists() else Place.around(found)
    base = _path(entry)
    if base is None:
        return None
    if base.exists():
        return Place(base)
    return Place.around(map(Path, sorted(glob.glob(str(base), recursive=True))))


def _path(entry: str) -> Path | None:
    place = entry.removeprefix("path:").strip()
    return expanded(place) if entry.startswith("path:") and place else None


def _entries(options: BaseModel) -> list[str]:
    """The entries of the option ``source``, then all other texts ``path:PLACE`` and all paths among the options."""
    source = getattr(options, "source", ())
    found = [value for value in _leaves(source) if isinstance(value, str)]
    for name in type(options).model_fields:
        for value in _leaves(getattr(options, name)):
            if isinstance(value, Path):
                found.append(f"path:{value}")
            elif isinstance(value, str) and value.startswith("path:"):
                found.append(value)
    return list(dict.fromkeys(found))


def _leaves(value: Any) -> Iterator[Any]:
    """All values at any depth that are not collections or models."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _leaves(getattr(value, name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value
