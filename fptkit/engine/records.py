"""The metrics file of a run, ``metrics.jsonl``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fptkit.engine.events import Event, Saving, SplitTested, StepsDone, Validated
from fptkit.errors import CheckpointError, TrainingError
from fptkit.files import write_bytes


class MetricsFile:
    """Writes one JSON line for each report of training, validation and test.

    Args:
        path: the file.
        keep_lines: number of lines of an earlier part of the run to keep; later lines came after its last checkpoint,
            and are written again.

    Raises:
        CheckpointError: the file has fewer lines than that.
    """

    def __init__(self, path: Path, *, keep_lines: int = 0) -> None:
        lines = path.read_bytes().splitlines(keepends=True) if keep_lines and path.exists() else []
        kept = lines[:keep_lines]
        if len(kept) < keep_lines or (kept and not kept[-1].endswith(b"\n")):
            raise CheckpointError(
                f"{path} holds {len(kept)} lines, but the checkpoint counts {keep_lines}: lines were lost. "
                "Put the file back, or start again in another folder"
            )
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
        self._failed = True
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self._failed = False
