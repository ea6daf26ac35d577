"""Atomic writes, JSON with clear errors, locked folders, and the names of the files in a run folder. Light."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fptkit.errors import DataError, FptkitError, UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

SUMMARY = "summary.json"
"""Result and status of a run."""

RECIPE = "recipe.yaml"
"""The resolved recipe of a run."""

ENVIRONMENT = "environment.json"
"""Environment of a run: versions, platform, plugins, digests of the code."""

MODEL = "model.json"
"""Names and digests of the trained tensors of a run that ended; they are in ``model.safetensors``."""

METRICS = "metrics.jsonl"
"""One line for each report of training, validation and test."""

PREPARATION = "preparation.json"
"""How a run's inputs were prepared, and what its model takes and gives: enough to predict without the data."""

SHARED = "fptkit.json"
"""Names and digests of the files of a run that was pushed; a folder with it came from a hub."""

ASSESSMENT = "assessment.json"
"""How good a run's answers to its test splits were: confusion, per class, calibration, the worst errors."""

RUN_REPORT = "report.html"
"""The report of a run, for a browser."""

EVALUATIONS = "evaluations.jsonl"
"""One line for each evaluation of a trained run: of a split again, or of other files."""

ADDRESS = "address"
"""File in the folder of a study's run with its full address; the folder's name has only its beginning."""

CHECKPOINTS = "checkpoints"
"""Folder of a run's checkpoints."""

_MOST_DIGITS = 300
"""Of a whole number in JSON; floats hold 308."""

OWN_DIGEST = "own_digest"
"""Key of a JSON object with the digest of its other entries."""

LOCK = ".lock"
"""Locked by the process that uses a run folder."""


@contextlib.contextmanager
def replacing(path: Path, *, flush: bool = False) -> Iterator[Path]:
    """Replace a file atomically, with any code that writes a file.

    The block writes to the path it receives. That file replaces ``path`` at the end of the block, and is removed if the
    block raises. Readers find the old file or the new one; if several processes write at once, one wins.

    Args:
        path: the file to replace or create; its folder must exist.
        flush: whether to flush to disk, so that the file survives a power failure.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex[:12]}.part")
    try:
        yield partial
        if flush:
            with partial.open("r+b") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    if flush:
        flush_folder(path.parent)


def write_bytes(path: Path, data: bytes, *, flush: bool = False, mode: int = 0o666) -> None:
    """Write a file atomically, see `replacing`.

    Args:
        path: the file to replace or create.
        data: its content.
        flush: whether to flush to disk, so that the file survives a power failure.
        mode: permissions, before the umask applies.
    """
    with replacing(path, flush=flush) as partial:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(partial, flags, mode), "wb") as file:
            file.write(data)


def write_text(path: Path, text: str, *, flush: bool = False) -> None:
    """Write a text file in UTF-8 atomically, see `replacing`."""
    write_bytes(path, text.encode("utf-8"), flush=flush)


def write_json(path: Path, content: Mapping[str, Any], *, flush: bool = False) -> None:
    """Write a JSON file atomically, see `replacing`."""
    write_text(path, json.dumps(content, indent=2) + "\n", flush=flush)


def write_sealed(path: Path, content: Mapping[str, Any], *, flush: bool = False) -> None:
    """Write a JSON file with its own digest, so that `read_json` finds out if it was altered; see `replacing`."""
    write_json(path, sealed(content), flush=flush)


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the digest of its other entries, as the last of them."""
    plain = json.loads(json.dumps(content))  # keys that are numbers become texts, and sort as such
    return {**content, OWN_DIGEST: _digest_of(plain)}


def is_intact(content: dict[str, Any]) -> bool:
    """Whether a JSON object has its own digest, which is taken out of it; one without a digest is taken as it is."""
    own = content.pop(OWN_DIGEST, None)
    return own is None or own == _digest_of(content)


def is_sealed(path: Path) -> bool:
    """Whether a JSON file holds its own digest; those of fptkit 0.1.0 do not."""
    try:
        return OWN_DIGEST in json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError, TypeError):
        return False


def _digest_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of an object, which does not depend on spaces and the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def flush_folder(folder: Path) -> None:
    """Flush renames in a folder to disk, if the system can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_json(
    path: Path, fault: type[FptkitError] = DataError, *, where: str = "", altered: bool = False
) -> dict[str, Any]:
    """Read the JSON object in a file, without its own digest if it has one.

    A byte-order mark is skipped. ``NaN`` and ``Infinity`` are accepted, since Python and transformers write them.

    Args:
        path: the file.
        fault: error to raise.
        where: what the file belongs to, put before the message.
        altered: read it although its content does not have its own digest, to show what was altered.

    Raises:
        FptkitError: of kind ``fault``: the file is missing, cannot be read, is not JSON in UTF-8, is nested too deeply,
            is not an object, or was altered.
    """
    subject = f"{where}: {path}" if where else str(path)
    content = _object_in(path, fault, subject)
    if altered:
        content.pop(OWN_DIGEST, None)
    elif not is_intact(content):
        raise fault(f"{subject} was altered: its content does not have the digest in it; replace it by an intact copy")
    return content


def whole_number(digits: str) -> int:
    """The number, for ``parse_int`` of `json.loads`.

    Raises:
        ValueError: floats cannot hold it, which whoever calculates with it would find out.
    """
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits):,} digits is too large")
    return int(digits)


def _object_in(path: Path, fault: type[FptkitError], subject: str) -> dict[str, Any]:
    """The JSON object in a file, with its own digest."""
    try:
        if path.exists() and not path.is_file():  # a pipe would wait for a writer
            raise fault(f"{subject} cannot be read: it is a folder, pipe or device")
        content = json.loads(path.read_bytes().decode("utf-8-sig"), parse_int=whole_number)
    except FptkitError:
        raise
    except Exception as err:  # as `fptkit.sources.decoding`, which is above this file
        raise fault(f"{subject} {_problem_of(err)}") from err
    if not isinstance(content, dict):
        raise fault(f"{subject} does not hold a JSON object")
    return content


def _problem_of(err: Exception) -> str:
    """What is wrong with a JSON file, and what to do."""
    if isinstance(err, FileNotFoundError):
        return "is missing; check the path, or put the file back"
    if isinstance(err, OSError):
        return f"cannot be read: {err.strerror or err}"
    if isinstance(err, RecursionError):
        return "is not readable as JSON: it is nested too deeply"
    if isinstance(err, MemoryError):
        return "is not readable as JSON: it needs more memory than there is"
    text = f"byte {err.start} is not UTF-8" if isinstance(err, UnicodeDecodeError) else str(err)
    return f"is not readable as JSON: {text}; replace it by an intact copy"


def find_json(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file; empty if it is missing or unreadable. Not checked: nothing may rest on it."""
    try:
        return read_json(path, altered=True)
    except DataError:
        return {}


@cache
def _summary_model() -> type[BaseModel]:
    """What decisions rest on in a summary; it may hold more. Made late, so that listings do not load pydantic."""
    from pydantic import Field, create_model

    metrics = create_model(
        "Metrics",
        validation=(dict[str, float | None] | None, None),
        test=(dict[str, dict[str, float | None]] | None, None),
    )
    return create_model(
        "Summary",
        status=(str | None, None),
        reason=(str, ""),
        steps=(int, Field(default=0, ge=0)),
        best_step=(int, Field(default=0, ge=0)),
        times_tested=(int, Field(default=0, ge=0)),
        evaluation_parts=(int, Field(default=1, ge=1)),
        flops_per_step=(float | None, None),
        seconds=(float, 0.0),
        metrics=(metrics | None, None),
        data=(dict[str, Any] | None, None),
    )


def read_summary(folder: Path) -> dict[str, Any]:
    """Read the summary in a run folder; empty if it is missing, or a half of it is.

    Raises:
        DataError: it was altered, or a value in it is of the wrong type.
    """
    from pydantic import ValidationError

    path = folder / SUMMARY
    try:
        summary = _object_in(path, DataError, str(path))
    except DataError:
        return {}
    advice = "Replace it by an intact copy, or remove it: the run then makes it again from its checkpoint"
    if not is_intact(summary):
        raise DataError(f"{path} was altered: its content does not have the digest in it. {advice}")
    try:
        _summary_model().model_validate(summary, strict=True)
    except ValidationError as err:
        fault = err.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise DataError(f"{path} is damaged: {place}: {fault['msg'].lower()}. {advice}") from err
    return _with_fractions(summary)


def find_summary(folder: Path) -> dict[str, Any]:
    """The summary in a run folder as it is, unchecked, to show it; empty if it is missing or unreadable."""
    return _with_fractions(find_json(folder / SUMMARY))


def _with_fractions(summary: dict[str, Any]) -> dict[str, Any]:
    """Those of fptkit 0.1.0 do not name the metrics that are fractions or accuracies: it went by their names."""
    if "fractions" in summary or "metrics" not in summary:
        return summary
    metrics = summary["metrics"] if isinstance(summary["metrics"], dict) else {}
    tests = metrics["test"] if isinstance(metrics.get("test"), dict) else {}
    splits = [metrics.get("validation"), *tests.values()]
    names = sorted({name for split in splits if isinstance(split, dict) for name in split if was_fraction(name)})
    return {**summary, "fractions": names, "accuracies": names}


def was_fraction(metric: str) -> bool:
    """Whether fptkit 0.1.0 printed a metric in percent, and took it for an accuracy."""
    return "accuracy" in metric


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder that is written completely or not at all.

    The block writes into the folder that it receives, which gets its name at the end, and is removed if the block
    raises.

    Args:
        folder: does not exist yet, or is empty.

    Raises:
        UsageError: it has files already, or cannot be created.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} already exists; choose another --output")
    partial = folder.parent / f".{folder.name[:40]}.{uuid.uuid4().hex[:12]}.part"
    try:
        try:
            partial.mkdir(parents=True)
        except OSError as err:
            raise UsageError(f"{folder} cannot be created: {err}; choose another --output") from err
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def locked_folder(folder: Path, what: str) -> Iterator[None]:
    """Create a folder and lock it against other processes. If nothing was written to it, it is removed at the end.

    Args:
        folder: the folder.
        what: what uses it, for the message: ``run`` or ``pretraining``.

    Raises:
        UsageError: another process uses it, or it cannot be created.
    """
    import filelock

    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:  # an OSError too, so it comes first
        raise UsageError(
            f"{folder} is in use by another {what}; wait until it ends, or choose another folder"
        ) from None
    except (OSError, NotImplementedError) as err:  # the latter: a file system without locks
        raise UsageError(f"{folder}: the {what} folder cannot be used: {err}; choose another folder") from err
    try:
        yield
    finally:
        unused = False
        with contextlib.suppress(OSError):  # the folder may be gone
            unused = {path.name for path in folder.iterdir()} <= {LOCK}
        if unused:  # before the lock is released: a later process then creates and locks a new file
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        if unused:
            with contextlib.suppress(OSError):
                folder.rmdir()


def new_run_folder(name: str) -> Path:
    """Create ``runs/NAME-DATE-TIME``, a folder of this process alone, even if several start in the same second.

    Raises:
        UsageError: it cannot be created.
    """
    inside = re.sub(r"[/\\\x00-\x1f\x7f]", "_", name)[:100]  # a recipe may give any name
    stem = f"{inside}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    for number in itertools.count(1):
        folder = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True, exist_ok=False)
        except FileExistsError:
            continue
        except OSError as err:
            raise UsageError(f"the run folder {folder} cannot be created: {err}") from err
        return folder
    raise AssertionError("unreachable: count() does not end")
