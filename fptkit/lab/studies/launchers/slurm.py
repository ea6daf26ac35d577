"""Workers as Slurm jobs, one per run, through submitit."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fptkit.errors import UsageError
from fptkit.lab.studies.job import Job, JobResult, carry_out
from fptkit.lab.studies.launchers.base import Ended, LauncherOptions, missing_extra

SLOTS = 32
"""Default number of jobs submitted at once; Slurm decides when they start."""

FOLDER = "slurm"
"""Folder for submitit's files, inside the ledger's folder."""

POLL_S = 1.0

SHARED = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")
"""Parameters submitit accepts for every cluster; all others are Slurm's own and get its prefix."""


class SlurmLauncher:
    """Submits runs as Slurm jobs. See `fptkit.lab.studies.launchers.base.Launcher`.

    A job that Slurm stops at its time limit, or preempts, saves its state, and submitit submits it again. Jobs outlive
    a killed study; the next call finds them by the locks of their run folders.

    Args:
        options: ``slurm`` holds the parameters, see `parse_parameters`; ``cluster: local`` runs the jobs on this
            machine, for testing.
        folder: folder of the ledger, on a file system that all nodes share.

    Raises:
        UsageError: submitit is not installed, there is no Slurm, or a parameter is unknown.
    """

    def __init__(self, options: LauncherOptions, folder: Path, *, preload: Sequence[str] = ()) -> None:
        try:
            import submitit
        except ImportError as err:
            raise missing_extra("slurm", err) from err
        given = dict(options.slurm)
        cluster = str(given.pop("cluster", "slurm"))
        self.threads = options.threads or int(given.get("cpus_per_task", 1))
        self.slots = options.workers or SLOTS
        given["cpus_per_task"] = self.threads
        given.setdefault("name", "fptkit")
        given.setdefault("timeout_min", 24 * 60)
        try:
            self._executor = submitit.AutoExecutor(folder=folder.resolve() / FOLDER / "%j", cluster=cluster)
            self._executor.update_parameters(**_prefixed(given))
        except (RuntimeError, NameError, ValueError, AssertionError, FileNotFoundError) as err:
            raise UsageError(f"--launcher slurm: {err}") from err
        self._failures = (submitit.core.utils.FailedJobError, submitit.core.utils.UncompletedJobError)
        where = "Slurm" if cluster == "slurm" else f"submitit's {cluster} cluster"
        self.description = f"{where}, up to {self.slots} jobs with {self.threads} threads"
        self._under_way: dict[str, tuple[Job, Any]] = {}

    def start(self, job: Job) -> None:
        """See `Launcher`."""
        handed_in = self._executor.submit(Restartable(), job)
        self._under_way[job.address] = (job, handed_in)

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """See `Launcher`."""
        deadline = time.monotonic() + timeout_s
        while True:
            done = [address for address, (_, handed_in) in self._under_way.items() if handed_in.done()]
            if done or time.monotonic() >= deadline:
                return [self._ended(address) for address in done]
            time.sleep(min(POLL_S, timeout_s))

    def stop(self) -> None:
        """See `Launcher`."""
        for _, handed_in in self._under_way.values():
            controller = getattr(handed_in, "_process", None)
            if controller is not None:
                # For local jobs, submitit's cancel allows one second to save; its controller forwards SIGTERM.
                controller.send_signal(signal.SIGTERM)
            else:
                handed_in.cancel(check=False)

    def close(self) -> None:
        """See `Launcher`."""
        for _, handed_in in self._under_way.values():
            handed_in.cancel(check=False)
        self._under_way.clear()

    def _ended(self, address: str) -> Ended:
        job, handed_in = self._under_way.pop(address)
        try:
            return Ended(job, handed_in.result())
        except self._failures as err:
            lines = str(err).strip().splitlines() or [""]
            return Ended(job, None, f"its Slurm job {handed_in.job_id} died: {lines[0]}")


class Restartable:
    """`carry_out` for submitit: submitted again if Slurm stops it, to resume from its last checkpoint."""

    def __call__(self, job: Job) -> JobResult:
        """Run the job."""
        return carry_out(job)

    def checkpoint(self, job: Job) -> Any:
        """What submitit submits after the time limit or a preemption."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, job)


def parse_parameters(text: str) -> dict[str, str | int]:
    """Parse parameters of Slurm jobs, such as ``partition=gpu,timeout_min=60``.

    Raises:
        UsageError: an entry is not ``name=value``.
    """
    found: dict[str, str | int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UsageError(f"--slurm: expected name=value, such as partition=gpu,timeout_min=60, got '{part}'")
        found[name.strip()] = int(value) if re.fullmatch("[0-9]{1,18}", value.strip()) else value.strip()
    return found


def _prefixed(parameters: Mapping[str, str | int]) -> dict[str, str | int]:
    return {
        name if name in SHARED or name.startswith("slurm_") else f"slurm_{name}": value
        for name, value in parameters.items()
    }
