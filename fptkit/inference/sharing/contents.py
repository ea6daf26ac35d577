"""The files of a run that are pushed, without anything that belongs to the machine alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fptkit import __version__
from fptkit.engine.checkpoint import read_model_files
from fptkit.engine.preparation import read_preparation
from fptkit.errors import UsageError
from fptkit.files import METRICS, MODEL, PREPARATION, RECIPE, SUMMARY, read_json
from fptkit.inference.sharing.places import (
    paths_in,
    recipe_content,
    recipe_text,
    traces_of_machine,
    without_folders,
    without_known,
)
from fptkit.registry import Registry

FORMAT = 1
TENSORS, CARD = "model.safetensors", "README.md"

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")

_DATA = (".json", ".jsonl", ".yaml", ".safetensors", ".txt", ".model", ".npz", ".npy", ".csv", ".tsv")
"""Endings of the files of a run: data, none of them code."""

_TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}")


def is_data(name: str) -> bool:
    """Whether a file may belong to a shared run: a name without folders and with an ending of data."""
    return bool(_PLAIN.fullmatch(name)) and name.endswith(_DATA)


def shared_files(folder: Path, registry: Registry) -> dict[str, bytes]:
    """The files of a run folder as they are pushed, but for card and manifest: their content by name.

    Args:
        folder: the run folder.
        registry: the plugins of the run.

    Raises:
        CheckpointError: the trained tensors are damaged.
        DataError: another file is.
        UsageError: the preparation has a file that cannot be shared.
    """
    read_model_files(folder, MODEL)  # checks the digest
    recipe, summary = recipe_content(folder / RECIPE), read_json(folder / SUMMARY)
    known = {path for content in (recipe, summary) for path in paths_in(content)}
    recipe = without_folders({**recipe, "listeners": []}, known)  # listeners watch a run; their options may be secret
    preparation = read_preparation(folder, registry).preparation
    found = {
        RECIPE: recipe_text(recipe, folder / RECIPE).encode(),
        PREPARATION: _json(without_known(read_json(folder / PREPARATION), known)),
        MODEL: _json(without_folders(read_json(folder / MODEL), known)),
        TENSORS: (folder / TENSORS).read_bytes(),
        SUMMARY: _json(without_folders(summary, known)),
    }
    if (folder / METRICS).is_file():
        found[METRICS] = (folder / METRICS).read_bytes()
    attached = {} if preparation is None else dict(preparation.attachments())
    if strange := [name for name in attached if not is_data(name) or name in found]:
        raise UsageError(
            f"{strange[0]}, a file of the preparation, cannot be shared; it needs a name such as NAME.json"
        )
    return found | attached


def manifest(files: Mapping[str, bytes]) -> bytes:
    """The content of ``fptkit.json``: the digest of every file. The card is not among them: its owner may edit it."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items()) if name != CARD}
    return _json({"format": FORMAT, "fptkit": __version__, "files": digests})


def check_private(files: Mapping[str, bytes], secret: str | None) -> None:
    """Raise if a file that would be pushed names a folder or user of this machine, or holds a token.

    Args:
        files: content by name.
        secret: the user's token.

    Raises:
        UsageError: it does.
    """
    for name, data in files.items():
        text = data.decode("utf-8", errors="replace")
        if (secret and secret in text) or _TOKEN.search(text):
            raise UsageError(f"{name} holds an access token; nothing was pushed. Remove it from the run's recipe")
        if name != TENSORS and (found := traces_of_machine(text)):
            raise UsageError(
                f"{name} names {found[0]} of this machine; nothing was pushed. Remove it from the run's files"
            )


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
