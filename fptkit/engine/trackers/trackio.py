"""trackio: a run in a local database, or in a Hugging Face Space."""

from __future__ import annotations

import contextlib
import io
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trackio

from fptkit.engine.trackers.options import TrackioOptions
from fptkit.engine.trackers.store import Point, TrackedRun
from fptkit.engine.trackers.tracker import Tracker


class TrackioStore:
    """Writes a run of trackio. See `fptkit.engine.trackers.store.Store`."""

    rewrites = False

    def __init__(self, options: TrackioOptions) -> None:
        self._options = options
        self._run: Any = None

    def open(self, run: TrackedRun, known: str) -> str:
        """See `Store`. A run is identified by its name, so it gets one that no other run has."""
        name = known or f"{run.name} {uuid.uuid4().hex[:6]}"
        with contextlib.redirect_stdout(io.StringIO()):  # advice about its dashboard
            self._run = trackio.init(
                project=self._options.project,
                name=name,
                group=run.study or None,
                space_id=self._options.space,
                config={**run.config, **{f"tag.{key}": value for key, value in run.tags.items()}},
                resume="allow" if known else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return str(getattr(self._run, "name", name))

    def write(self, points: Sequence[Point]) -> None:
        """See `Store`."""
        for point in points:
            self._run.log(dict(point.figures), step=point.step)

    def close(self, status: str, result: Mapping[str, Any]) -> None:
        """See `Store`. trackio has no place for a result but the run's configuration."""
        self._run.config.update({f"result.{key}": value for key, value in {"status": status, **result}.items()})
        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()  # not that of the run, which trackio would end again when the process ends


def trackio_tracker(options: TrackioOptions, *, folder: Path) -> Tracker:
    """The tracker ``trackio``."""
    return Tracker("trackio", TrackioStore(options), folder)
