"""The metrics file of a run, ``metrics.jsonl``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from fptkit.engine.control import PREFIX
from fptkit.engine.events import Event, Saving, SplitTested, StepsDone, Validated
from fptkit.errors import CheckpointError, DataError, FptkitError, TrainingError
from fptkit.files import whole_number, write_bytes


class MetricsFile:
    """Writes one JSON line for each report of training, validation and test.

    Args:
        path: the file.
        keep_lines: number of lines of an earlier part of the run to keep; later lines came after its last checkpoint,
            and are written again.
        digest: SHA-256 of the lines to keep; empty if it is not known.

    Attributes:
        kept: the lines that were kept.

    Raises:
        CheckpointError: the file has fewer lines than that, or other ones.
    """

    def __init__(self, path: Path, *, keep_lines: int = 0, digest: str = "") -> None:
        lines = path.read_bytes().splitlines(keepends=True) if keep_lines and path.exists() else []
        kept = lines[:keep_lines]
        if len(kept) < keep_lines or (kept and not kept[-1].endswith(b"\n")):
            raise CheckpointError(
                f"{path} holds {len(kept)} lines, but the checkpoint counts {keep_lines}: lines were lost. "
                "Put the file back, or start again in another folder"
            )
        self._lines, self._digest = len(kept), hashlib.sha256(b"".join(kept))
        if digest and self._digest.hexdigest() != digest:
            raise CheckpointError(
                f"{path} was altered: its first {keep_lines} lines do not have the digest in the checkpoint. Put the "
                "file back, or start again in another folder"
            )
        self.kept = _check_lines(path, kept)
        write_bytes(path, b"".join(kept))
        self._path, self._failed = path, False
        self._file = path.open("a", encoding="utf-8")

    def handle(self, event: Event) -> None:
        """See `fptkit.engine.events.Listener`."""
        match event:
            case StepsDone(step, loss, speed, rate):
                record = {"step": step, "split": "train", "loss": loss, "examples_per_second": round(speed, 3)}
                self._write(record if rate is None else {**record, "learning_rate": rate})
            case Validated(step, metrics):
                self._write({"step": step, "split": "validation", **metrics})
            case SplitTested(split, step, metrics):
                self._write({"step": step, "split": split, **metrics})
            case Saving():
                os.fsync(self._file.fileno())  # a checkpoint must not outlive the lines it counts

    def add(self, listener: str, step: int, values: Mapping[str, float]) -> None:
        """Write metrics that a listener added.

        Args:
            listener: its name.
            step: after how many steps.
            values: by name.
        """
        self._write({"step": step, "split": f"{PREFIX}{listener}", **values})

    def facts(self) -> dict[str, Any]:
        """Number of lines so far, and their digest."""
        return {"lines": self._lines, "digest": self._digest.hexdigest()}

    def close(self) -> None:
        """Close the file. A line that could not be written is tried again; its fault was raised before.

        Raises:
            TrainingError: the file cannot be completed, and no fault was raised before.
        """
        try:
            self._file.close()
        except OSError as err:
            if not self._failed:
                raise TrainingError(f"{self._path} cannot be written: {err}; --resume continues the run") from err

    def _write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record) + "\n"
        self._failed = True
        self._file.write(line)
        self._file.flush()
        self._failed = False
        self._lines += 1
        self._digest.update(line.encode())


class _Line(BaseModel):
    """A line of the metrics file; it holds metrics, too."""

    step: int = Field(ge=0, le=2**53)
    split: str


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file.

    Raises:
        DataError: the file is missing, or a line is damaged; a half line at the end, of a run that was killed, is not.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as err:
        raise DataError(f"{path} cannot be read: {err.strerror or err}") from err
    whole = lines[:-1] if lines and not lines[-1].endswith(b"\n") else lines
    return _check_lines(path, whole, DataError)


def undamaged(lines: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    """Those of a metrics file's lines that have a step and a split; any may be damaged, and the last one cut off."""
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            yield _record(line)


def _record(line: str | bytes) -> dict[str, Any]:
    """A line as a record.

    Raises:
        ValueError, RecursionError: it is none.
    """
    record: dict[str, Any] = json.loads(line, parse_int=whole_number)
    _Line.model_validate(record, strict=True)
    return record


def _check_lines(
    path: Path, lines: Sequence[bytes], fault: type[FptkitError] = CheckpointError
) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_record(line.decode()))
        except (ValueError, RecursionError) as err:
            raise fault(
                f"{path}:{number} is damaged: it is no JSON object with a step and a split. Put the file back, or "
                "start again in another folder"
            ) from err
    return found
