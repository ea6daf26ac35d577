"""Workers on a Ray cluster: the one at ``RAY_ADDRESS``, or one started on this machine for the study."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fptkit.errors import UsageError
from fptkit.lab.studies.job import Job, carry_out
from fptkit.lab.studies.launchers.base import Ended, LauncherOptions, missing_extra, share_processors


class RayLauncher:
    """Starts runs as Ray tasks. See `fptkit.lab.studies.launchers.base.Launcher`.

    Ray retries nothing: the study decides what to do if a worker dies.

    Args:
        options: workers and threads; on an existing cluster the default is as many workers as its cores allow.

    Raises:
        UsageError: Ray is not installed, or its cluster does not answer.
    """

    def __init__(self, options: LauncherOptions, folder: Path, *, preload: Sequence[str] = ()) -> None:
        try:
            import ray
        except ImportError as err:
            raise missing_extra("ray", err) from err
        self._ray = ray
        self._ours = not ray.is_initialized()
        address = os.environ.get("RAY_ADDRESS")
        workers, threads = share_processors(options)
        if self._ours:
            self._connect(address, workers * threads)
        there = ray.cluster_resources()
        self.threads = options.threads or (1 if address else threads)
        at_once = max(int(there.get("CPU", 1)) // self.threads, 1)
        gpus = int(there.get("GPU", 0))
        self.slots = options.workers or (min(at_once, gpus) if gpus else at_once)
        where = f"Ray at {address}" if address else "Ray on this machine"
        self.description = f"{where}, {self.slots} workers with {self.threads} threads"
        # A new process for every run, as with the other launchers: no run can affect the next.
        self._remote = ray.remote(
            num_cpus=self.threads, num_gpus=min(gpus / self.slots, 1) if gpus else 0, max_retries=0, max_calls=1
        )(carry_out)
        self._under_way: dict[Any, Job] = {}

    def start(self, job: Job) -> None:
        """See `Launcher`."""
        self._under_way[self._remote.options(name=job.name).remote(job)] = job

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """See `Launcher`."""
        if not self._under_way:
            time.sleep(timeout_s)
            return []
        done, _ = self._ray.wait(list(self._under_way), num_returns=1, timeout=timeout_s)
        return [self._ended(reference) for reference in done]

    def stop(self) -> None:
        """See `Launcher`."""
        for reference in self._under_way:
            self._ray.cancel(reference, force=False)

    def close(self) -> None:
        """See `Launcher`."""
        for reference in self._under_way:
            self._ray.cancel(reference, force=True)
        self._under_way.clear()
        if self._ours:
            self._ray.shutdown()

    def _connect(self, address: str | None, processors: int) -> None:
        import logging

        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if address:
                self._ray.init(address=address, **quiet)
            else:
                self._ray.init(address="local", num_cpus=processors, include_dashboard=False, **quiet)
        except (ConnectionError, OSError, RuntimeError, ValueError) as err:
            where = f"the Ray cluster at {address} does not answer" if address else "Ray does not start"
            raise UsageError(f"{where}: {err}") from err

    def _ended(self, reference: Any) -> Ended:
        job = self._under_way.pop(reference)
        try:
            return Ended(job, self._ray.get(reference))
        except self._ray.exceptions.RayError as err:
            lines = str(err).strip().splitlines() or [""]
            return Ended(job, None, f"its worker died: {type(err).__name__}: {lines[0]}")
