"""TensorBoard: event files on disk. They are written anew when a run is resumed, since they cannot be shortened."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from fptkit.engine.trackers.options import TensorboardOptions
from fptkit.engine.trackers.store import Point, TrackedRun
from fptkit.engine.trackers.tracker import Tracker

FOLDER = "tensorboard"
"""Folder of event files in a run folder, or in the ledger folder of a study."""


class TensorboardStore:
    """Writes event files. See `fptkit.engine.trackers.store.Store`."""

    rewrites = True

    def __init__(self, options: TensorboardOptions) -> None:
        self._options = options
        self._writer: Any = None

    def open(self, run: TrackedRun, known: str) -> str:
        """See `Store`. A run is identified by its folder of event files."""
        folder = Path(known) if known else self._folder_of(run)
        for file in folder.glob("events.out.tfevents.*"):
            file.unlink()
        self._writer = SummaryWriter(str(folder))
        self._writer.add_text("recipe", _table(run.config))
        self._writer.add_text("tags", _table(run.tags))
        self._writer.flush()
        return str(folder.resolve())

    def write(self, points: Sequence[Point]) -> None:
        """See `Store`. In double precision, so that figures are those of ``metrics.jsonl`` to the last digit."""
        for point in points:
            for name, value in point.figures.items():
                self._writer.add_scalar(name, value, point.step, new_style=True, double_precision=True)
        self._writer.flush()

    def close(self, status: str, result: Mapping[str, Any]) -> None:
        """See `Store`."""
        self._writer.add_text("result", _table({"status": status, **result}))
        self._writer.close()

    def _folder_of(self, run: TrackedRun) -> Path:
        given = self._options.folder
        if given is None and not run.study:
            return run.folder / FOLDER
        # The folder of a study's run is LEDGER/runs/ADDRESS.
        place = Path(given) if given is not None else run.folder.parent.parent / FOLDER
        inside = [part for part in (run.study, run.name) if part]
        return _free(place.joinpath(*(re.sub(r"[^\w.,=()-]+", "_", part)[:100] for part in inside)))


def _free(folder: Path) -> Path:
    """The folder, with a number if another run has written there."""
    number, found = 1, folder
    while found.exists():
        number += 1
        found = folder.with_name(f"{folder.name}-{number}")
    return found


def _table(content: Mapping[str, Any]) -> str:
    """A Markdown table, which TensorBoard shows."""
    rows = "".join(f"| {key} | {json.dumps(value).replace('|', chr(92) + '|')} |\n" for key, value in content.items())
    return f"| | |\n|---|---|\n{rows}"


def tensorboard_tracker(options: TensorboardOptions, *, folder: Path) -> Tracker:
    """The tracker ``tensorboard``."""
    return Tracker("tensorboard", TensorboardStore(options), folder)
