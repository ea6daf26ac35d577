"""The interface of launchers, and how workers share a machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fptkit.errors import UsageError
from fptkit.lab.studies.job import Job, JobResult
from fptkit.specs import limits

LauncherName = Literal["local", "ray", "slurm"]

LAUNCHERS: tuple[LauncherName, ...] = ("local", "ray", "slurm")

WORKER_MEMORY_MIB = 2048
"""Memory assumed for a run on a CPU: GPT-2 base, frozen in bfloat16, and a batch take about 1.5 GiB."""


@dataclass(frozen=True)
class LauncherOptions:
    """How workers are started.

    Args:
        name: the launcher.
        workers: number of concurrent runs; None: as many as cores and memory allow.
        threads: CPU threads per run; None: cores / workers.
        slurm: parameters of the Slurm jobs, with submitit's names.

    Raises:
        UsageError: ``workers`` or ``threads`` is below 1 or above its limit.
    """

    name: LauncherName = "local"
    workers: int | None = None
    threads: int | None = None
    slurm: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, most in (
            ("workers", self.workers, limits.WORKERS),
            ("threads", self.threads, limits.THREADS),
        ):
            if value is not None and not 1 <= value <= most:
                raise UsageError(f"{name}: expected a number from 1 to {most:,}, got {value}")


@dataclass(frozen=True)
class Ended:
    """A job that has ended.

    Args:
        job: the job.
        result: its result; None if its worker died first.
        death: how the worker died, such as ``its worker was killed by signal 9``; empty if it did not.
    """

    job: Job
    result: JobResult | None
    death: str = ""


class Launcher(Protocol):
    """Starts each job in a separate process.

    Attributes:
        slots: number of concurrent jobs.
        threads: CPU threads per job.
        description: one line for the header.
    """

    slots: int
    threads: int
    description: str

    def start(self, job: Job) -> None:
        """Start a job. Called only while fewer than ``slots`` jobs are running."""
        ...

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """Return the jobs that ended since the last call; wait up to ``timeout_s`` seconds for one."""
        ...

    def stop(self) -> None:
        """Ask the running jobs to save and end. Call `wait` for them afterwards."""
        ...

    def close(self) -> None:
        """Kill the jobs that are still running, and release all processes."""
        ...


def share_processors(options: LauncherOptions, *, devices: int = 0) -> tuple[int, int]:
    """Number of workers, and of CPU threads per worker, on this machine.

    The default is one thread per run: small models lose more than they gain by splitting a step, and a run's last
    digits then do not depend on how many other runs there are.

    Args:
        options: the user's settings.
        devices: number of accelerators; each run takes one.

    Returns:
        The number of workers and the number of threads of each.
    """
    processors = available_processors()
    if options.workers is not None:
        return options.workers, options.threads or max(processors // options.workers, 1)
    if devices:
        return devices, options.threads or max(processors // devices, 1)
    workers = max(min(processors // (options.threads or 1), _memory_mib() // WORKER_MEMORY_MIB), 1)
    return workers, options.threads or max(processors // workers, 1)


def available_processors() -> int:
    """Number of CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def missing_extra(extra: str, err: ImportError) -> UsageError:
    """The error for a launcher with a missing library.

    Args:
        extra: the launcher and the extra of fptkit to install.
        err: the failed import.
    """
    return UsageError(f"--launcher {extra} needs a package that is missing ({err}): pip install 'fptkit[{extra}]'")


def _memory_mib() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (AttributeError, OSError, ValueError):
        return 2**20  # unknown memory: only the cores limit the workers
