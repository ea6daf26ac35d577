"""The files a run leaves: ``metrics.jsonl`` while it goes on, ``summary.json`` at its end."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fptkit.engine.events import Event, SplitTested, StepsDone, Validated


class MetricsFile:
    """Writes one JSON line for each report of training, validation and test.

    Args:
        path: the file.
        keep_lines: lines of an earlier part of the run to keep; what lies behind them was not yet saved when the run
            was cut off, and will be written again.
    """

    def __init__(self, path: Path, *, keep_lines: int = 0) -> None:
        kept = path.read_bytes().splitlines(keepends=True)[:keep_lines] if keep_lines else []
        path.write_bytes(b"".join(kept))
        self._file = path.open("a", encoding="utf-8")

    def handle(self, event: Event) -> None:
        """See `fptkit.engine.events.Listener`."""
        match event:
            case StepsDone(step, loss, speed):
                self._write({"step": step, "split": "train", "loss": loss, "examples_per_second": round(speed, 3)})
            case Validated(step, metrics):
                self._write({"step": step, "split": "validation", **metrics})
            case SplitTested(split, step, metrics):
                self._write({"step": step, "split": split, **metrics})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)
