"""The listener that all trackers share: it decides what is written to the store, and when.

A tracker follows ``metrics.jsonl``, so it holds the same figures, step by step. A store that only appends receives
lines when a checkpoint covers them: steps that a killed run repeats after it is resumed are not in it twice. A small
file in the run folder remembers the store's run and the number of lines written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fptkit.engine.events import Event, RunEnded, RunStarted, RunStopped, Saving
from fptkit.engine.trackers.figures import MetricsReader, config_of, result_of, tags_of
from fptkit.engine.trackers.store import Store, TrackedRun
from fptkit.files import ADDRESS, METRICS, find_json, write_json


class Tracker:
    """Copies the figures of a run into a store.

    Args:
        name: name of the tracker, for its file in the run folder.
        store: where the figures go.
        folder: the run folder.
    """

    def __init__(self, name: str, store: Store, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._file = folder / f"tracker_{name}.json"
        self._reader = MetricsReader(folder / METRICS)
        self._known, self._written, self._covered = "", 0, 0

    def handle(self, event: Event) -> None:
        """See `fptkit.engine.events.Listener`."""
        match event:
            case RunStarted():
                self._start(event)
            case Saving():
                self._covered = self._reader.size()  # written with the next event, when the checkpoint is complete
            case RunEnded(summary):
                self._end(summary, complete=True)
            case RunStopped(summary):
                # A diverged run takes no further steps, so the lines that show how are final.
                self._end(summary, complete=summary["status"] == "diverged")
            case _:
                self._write(self._reader.size() if self._store.rewrites else self._covered)

    def _start(self, event: RunStarted) -> None:
        before = find_json(self._file)
        run = TrackedRun(
            name=_name(event, self._folder),
            study=event.study,
            folder=self._folder,
            config=config_of(self._folder),
            tags=tags_of(event.facts, event.recipe, event.study),
            started=event.step == 0,
        )
        self._known = self._store.open(run, str(before.get("run", "")))
        self._written = 0 if self._store.rewrites else int(before.get("lines", 0))
        self._remember()
        self._write(self._reader.size())  # of a resumed run: the lines that its checkpoint covers

    def _write(self, end: int) -> None:
        """Write the lines up to byte ``end`` that the store does not have yet."""
        points = self._reader.read(end)
        missing = self._reader.lines - self._written
        if points and missing > 0:  # a damaged checkpoint may take a run back before lines that were written
            self._store.write(points[-missing:])
            self._written = self._reader.lines
            self._remember()

    def _end(self, summary: Mapping[str, Any], *, complete: bool) -> None:
        self._write(self._reader.size() if complete or self._store.rewrites else self._covered)
        self._store.close(summary["status"], result_of(summary))

    def _remember(self) -> None:
        write_json(self._file, {"run": self._known, "lines": self._written})


def _name(event: RunStarted, folder: Path) -> str:
    """The name of the run: of its folder, or in a study of its cell and trial, with its address to be unique."""
    if not event.study:
        return folder.resolve().name
    address = folder / ADDRESS
    digits = address.read_text(encoding="utf-8").strip()[:6] if address.exists() else folder.resolve().name[:6]
    return f"{event.title} ({digits})"
