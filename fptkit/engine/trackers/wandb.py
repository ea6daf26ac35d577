"""Weights & Biases: a run on its server, or offline files for ``wandb sync``."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from fptkit.engine.trackers.options import WandbOptions
from fptkit.engine.trackers.store import Point, TrackedRun
from fptkit.engine.trackers.tracker import Tracker

INIT_S = 30.0
"""Seconds to wait for the server at the start; without an answer, the run continues without the tracker."""


class WandbStore:
    """Writes a run of Weights & Biases. See `fptkit.engine.trackers.store.Store`."""

    rewrites = False

    def __init__(self, options: WandbOptions) -> None:
        self._options = options
        self._run: Any = None

    def open(self, run: TrackedRun, known: str) -> str:
        """See `Store`. Each line of figures becomes a row with its own ``step``.

        W&B's steps only rise, but the test belongs to the best step, which is before the last one.
        """
        identity = known or uuid.uuid4().hex[:16]
        self._run = wandb.init(
            id=identity,
            resume="allow",
            project=self._options.project or os.environ.get("WANDB_PROJECT") or "fptkit",
            entity=self._options.entity,
            mode=self._options.mode,
            name=run.name,
            group=run.study or None,
            tags=[f"{name}:{value}"[:64] for name, value in run.tags.items()],
            config=dict(run.config),
            allow_val_change=True,  # a resumed run may train longer
            dir=str(run.folder),
            reinit="create_new",
            settings=wandb.Settings(init_timeout=INIT_S, silent=True, console="off", disable_git=True, save_code=False),
        )
        self._run.define_metric("*", step_metric="step")
        return identity

    def write(self, points: Sequence[Point]) -> None:
        """See `Store`."""
        for point in points:
            self._run.log({"step": point.step, **point.figures})

    def close(self, status: str, result: Mapping[str, Any]) -> None:
        """See `Store`."""
        self._run.summary.update({"status": status, **result})
        self._run.finish(exit_code=0 if status in ("finished", "validated", "paused") else 1)


def wandb_tracker(options: WandbOptions, *, folder: Path) -> Tracker:
    """The tracker ``wandb``."""
    return Tracker("wandb", WandbStore(options), folder)
