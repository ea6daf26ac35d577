"""Digests of what a study's runs will read: code, plugins, weights and data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from fptkit.engine.code_version import digest_parts, read_source
from fptkit.errors import DataError
from fptkit.lab.studies.address import data_of, plugin_digests, words_in
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Study
from fptkit.options import deciding
from fptkit.sources import Unavailable
from fptkit.sources.choice import expanded
from fptkit.sources.formats import INDEX, SINGLE
from fptkit.sources.gguf.entries import find_gguf
from fptkit.sources.identity import Place, Snapshot
from fptkit.sources.weights import PACKAGED, cached_from_hub, shards_of

UNKNOWN = ""
"""Digest of what is not on this machine yet; it equals every other digest."""


def of_plugins(study: Study) -> dict[str, str]:
    """Digest of every plugin component that a cell uses, by its name."""
    found: dict[str, str] = {}
    for cell in study.cells:
        found |= plugin_digests(cell.loaded.recipe, cell.loaded.registry)
    return dict(sorted(found.items()))


def of_weights(study: Study) -> dict[str, str]:
    """Digest of all weights that a cell's backbone may load, by their entry in the recipe; `UNKNOWN` if not here."""
    entries = {
        word
        for cell in study.cells
        for word in words_in(deciding(cell.loaded.recipe)["backbone"])
        if word.startswith(("builtin:", "path:", "package:", "hub:"))
    }
    return {entry: _of_weights(entry) for entry in sorted(entries)}


def of_data(study: Study) -> dict[str, str]:
    """Digest of the files that each task may open, by the task's name in the study; `UNKNOWN` if there are none.

    If arms change a task's data, the digests are joined.

    Raises:
        DataError: a file cannot be read, or changes meanwhile.
    """
    found: dict[str, dict[str, None]] = {task: {} for task in study.tasks}
    for cell in study.cells:
        if digest := data_of(cell.loaded.recipe, cell.loaded.registry, study.data):
            found[cell.name.task][digest] = None
    return {task: ", ".join(sorted(digests)) for task, digests in found.items()}


def differing_data(runs: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[str, ...]:
    """Tasks whose runs opened different data under the same options, in words.

    Args:
        runs: name of the task and summary of each run; without those that vary the data on purpose.
    """
    opened: dict[tuple[str, str, str], Counter[str]] = {}
    for task, summary in runs:
        data = summary.get("data") or {}
        if data.get("digest"):
            options = json.dumps(summary.get("task", {}).get("options"), sort_keys=True)
            opened.setdefault((task, options, data.get("source", "")), Counter())[data["digest"]] += 1
    return tuple(
        f"data of {task} differ between runs: {', '.join(_counted(*one) for one in sorted(found.items()))}"
        for (task, _, _), found in opened.items()
        if len(found) > 1
    )


def opened_by(runs: Iterable[_Run], outcomes: Mapping[str, Outcome]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name of the task and summary of every run, each once; without those that vary the data on purpose.

    Args:
        runs: the runs of each cell.
        outcomes: outcomes of the runs, by address.
    """
    for address, run in {run.address: run for run in runs if run.varied != "data"}.items():
        if address in outcomes:
            yield run.task, outcomes[address].summary


class _Run(Protocol):
    """What is needed of a run of a cell."""

    @property
    def task(self) -> str: ...
    @property
    def varied(self) -> str: ...
    @property
    def address(self) -> str: ...


def _counted(digest: str, count: int) -> str:
    return f"{digest[:12]} ({count} run{'' if count == 1 else 's'})"


def _of_weights(entry: str) -> str:
    """Digest of a checkpoint's config and tensors; `UNKNOWN` if it is not complete on this machine."""
    try:
        return _of_complete(entry)
    except (DataError, OSError, ValueError):  # damaged, or no name of a repository: the run reports it
        return UNKNOWN


def _of_complete(entry: str) -> str:
    scheme, _, place = entry.partition(":")
    if scheme == "hub":
        repository, _, revision = place.partition("@")
        found = cached_from_hub(repository, revision or None)
        return _of_large([found[0], *_shards(found[1], entry)], entry) if found else UNKNOWN
    try:
        gguf = find_gguf(entry)
    except Unavailable:
        return UNKNOWN
    if gguf is not None:
        return _of_large([gguf], entry)
    folder = PACKAGED / place if scheme == "builtin" else expanded(place)
    file = folder / SINGLE if (folder / SINGLE).is_file() else folder / INDEX
    if not file.is_file() or not (folder / "config.json").is_file():
        return UNKNOWN
    files = [folder / "config.json", *_shards(file, entry)]
    return _of_packaged(files) if scheme == "builtin" else _of_large(files, entry)


def _shards(file: Path, entry: str) -> list[Path]:
    return [file] if file.name == SINGLE else [file.with_name(name) for name in shards_of(file, entry)]


def _of_packaged(files: Iterable[Path]) -> str:
    """Digest of small files in this order; line endings of texts are normalised, since checkouts differ in them."""
    return digest_parts(read_source(file) for file in files)


def _of_large(files: Iterable[Path], entry: str) -> str:
    """Digest of files by content, which is read once and then remembered."""
    place = Place.around(files)
    return UNKNOWN if place is None else Snapshot.take([place]).identity(entry).digest
