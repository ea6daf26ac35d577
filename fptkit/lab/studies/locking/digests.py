"""Digests of what a study's runs will read: code, plugins, weights and data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fptkit.engine.code_version import digest_parts, read_source
from fptkit.lab.studies.address import plugin_digests, words_in
from fptkit.lab.studies.plan import Study
from fptkit.options import deciding
from fptkit.sources.download import file_sha256
from fptkit.sources.weights import INDEX, PACKAGED, SINGLE, cached_from_hub, shards_of

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
        if word.startswith(("builtin:", "path:", "hub:"))
    }
    return {entry: _of_weights(entry) for entry in sorted(entries)}


def of_data(study: Study) -> dict[str, str]:
    """Digest of the data of each task, by the task's name in the study; `UNKNOWN` if they are not on this machine.

    Filled when tasks can say what their data are; until then, no digest is known before a run.
    """
    return dict.fromkeys(study.tasks, UNKNOWN)


def _of_weights(entry: str) -> str:
    """Digest of a checkpoint's config and tensors; `UNKNOWN` if it is not complete on this machine."""
    scheme, _, place = entry.partition(":")
    if scheme == "hub":
        repository, _, revision = place.partition("@")
        found = cached_from_hub(repository, revision or None)
        return _of_files([found[0], *_shards(found[1], entry)]) if found else UNKNOWN
    folder = PACKAGED / place if scheme == "builtin" else Path(place).expanduser()
    file = folder / SINGLE if (folder / SINGLE).is_file() else folder / INDEX
    if not file.is_file() or not (folder / "config.json").is_file():
        return UNKNOWN
    return _of_files([folder / "config.json", *_shards(file, entry)])


def _shards(file: Path, entry: str) -> list[Path]:
    return [file] if file.name == SINGLE else [file.with_name(name) for name in shards_of(file, entry)]


def _of_files(files: Iterable[Path]) -> str:
    """Digest of files in this order; text files count with normalised line endings."""
    parts = [
        file_sha256(file) if file.suffix == ".safetensors" else digest_parts([read_source(file)]) for file in files
    ]
    return digest_parts(part.encode() for part in parts)
