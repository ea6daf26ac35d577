"""MLflow: a run of an experiment, on a tracking server or in local files."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# A server that does not answer must not hold up training for minutes, as MLflow's own defaults do.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

from mlflow import MlflowClient  # reads these variables
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from fptkit.engine.trackers.options import MlflowOptions
from fptkit.engine.trackers.store import Point, TrackedRun
from fptkit.engine.trackers.tracker import Tracker

logging.getLogger("mlflow").setLevel(logging.WARNING)  # its notes about the tables of a new store

AT_ONCE = 100
"""Parameters or tags in one request; MLflow's limit. That of metrics is 1,000."""

LONGEST = 5_000
"""Characters of a value of a parameter or tag; MLflow's limit for tags, below that for parameters."""

STATUS = {"finished": "FINISHED", "validated": "FINISHED", "paused": "SCHEDULED", "interrupted": "KILLED"}
"""MLflow's status for that of a run; others are FAILED."""


class MlflowStore:
    """Writes a run of MLflow. See `fptkit.engine.trackers.store.Store`."""

    rewrites = False

    def __init__(self, options: MlflowOptions) -> None:
        self._options = options
        self._client: Any = None
        self._run = ""

    def open(self, run: TrackedRun, known: str) -> str:
        """See `Store`. Parameters of MLflow never change: if a resumed run has others, they become tags."""
        self._client = MlflowClient(tracking_uri=self._options.uri)
        if known:
            self._run = known
            self._client.update_run(known, status="RUNNING")
            params = self._client.get_run(known).data.params
        else:
            self._run = self._client.create_run(self._experiment(run.study), run_name=run.name).info.run_id
            params = {}
        config = {key: _text(value) for key, value in run.config.items()}
        new = [Param(key, value) for key, value in config.items() if key not in params]
        changed = [RunTag(f"resumed.{key}", value) for key, value in config.items() if params.get(key, value) != value]
        for some in _several(new, AT_ONCE):
            self._client.log_batch(self._run, params=some)
        self._tag([*changed, *(RunTag(key, _text(value)) for key, value in run.tags.items())])
        return self._run

    def write(self, points: Sequence[Point]) -> None:
        """See `Store`."""
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, point.step) for point in points for key, value in point.figures.items()]
        for some in _several(metrics, 1000):
            self._client.log_batch(self._run, metrics=some)

    def close(self, status: str, result: Mapping[str, Any]) -> None:
        """See `Store`. The result becomes tags, which a later end of the run may change."""
        self._tag([RunTag("status", status), *(RunTag(key, _text(value)) for key, value in result.items())])
        self._client.set_terminated(self._run, STATUS.get(status, "FAILED"))

    def _experiment(self, study: str) -> str:
        """Id of the experiment, which is created if it does not exist."""
        name = self._options.experiment or ("fptkit" + (f"/{study}" if study else ""))
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:  # another run of the study was faster
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _tag(self, tags: Sequence[RunTag]) -> None:
        for some in _several(tags, AT_ONCE):
            self._client.log_batch(self._run, tags=some)


def _several(values: Sequence[Any], number: int) -> Iterator[Sequence[Any]]:
    yield from (values[start : start + number] for start in range(0, len(values), number))


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:LONGEST]


def mlflow_tracker(options: MlflowOptions, *, folder: Path) -> Tracker:
    """The tracker ``mlflow``."""
    return Tracker("mlflow", MlflowStore(options), folder)
