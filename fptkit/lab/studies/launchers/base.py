"""What every launcher can do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fptkit.errors import UsageError
from fptkit.lab.studies.job import Job, JobResult

LauncherName = Literal["local", "ray", "slurm"]

LAUNCHERS: tuple[LauncherName, ...] = ("local", "ray", "slurm")

WORKER_MEMORY_MIB = 2048
"""Memory a run on a processor is reckoned with: GPT-2 base, frozen in bfloat16, and a batch take about 1.5 GiB."""


@dataclass(frozen=True)
class LauncherOptions:
    """How workers are started.

    Args:
        name: by whom.
        workers: runs at a time; None: as many as there are processors and memory for.
        threads: processor threads of each run; None: the machine's, divided by the workers.
        slurm: parameters of the Slurm jobs, as submitit names them.
    """

    name: LauncherName = "local"
    workers: int | None = None
    threads: int | None = None
    slurm: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """A job that is over.

    Args:
        job: which.
        result: what it came to; None where its worker died first.
        death: how the worker died, such as ``killed by signal 9``.
    """

    job: Job
    result: JobResult | None
    death: str = ""


class Launcher(Protocol):
    """Starts jobs, each in a process of its own.

    Attributes:
        slots: jobs it takes at a time.
        threads: processor threads of each.
        description: one line for the header.
    """

    slots: int
    threads: int
    description: str

    def start(self, job: Job) -> None:
        """Start a job. Called only while fewer than ``slots`` are under way."""
        ...

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """Jobs that ended since the last call; waits for one at most so long."""
        ...

    def stop(self) -> None:
        """Ask the jobs under way to save and end. They are still to be waited for."""
        ...

    def close(self) -> None:
        """End whatever is still under way, at once, and let go of all processes."""
        ...


def share_processors(options: LauncherOptions, *, devices: int = 0) -> tuple[int, int]:
    """Workers and threads of each on this machine.

    One thread a run where nothing else is asked: small models lose more by dividing a step than they gain, and a run's
    last digits then do not depend on how many run beside it.

    Args:
        options: what the user fixed.
        devices: accelerators; a run takes a whole one.
    """
    processors = available_processors()
    if options.workers is not None:
        return options.workers, options.threads or max(processors // options.workers, 1)
    if devices:
        return devices, options.threads or max(processors // devices, 1)
    workers = max(min(processors // (options.threads or 1), _memory_mib() // WORKER_MEMORY_MIB), 1)
    return workers, options.threads or max(processors // workers, 1)


def available_processors() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def missing_extra(extra: str, err: ImportError) -> UsageError:
    """A launcher's library is not installed."""
    return UsageError(f"--launcher {extra} needs a package that is missing ({err}): pip install 'fptkit[{extra}]'")


def _memory_mib() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (AttributeError, OSError, ValueError):
        return 2**20  # a system that does not tell: the processors decide
