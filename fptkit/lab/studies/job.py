"""One run as a worker gets it, whoever starts the worker: picklable, and carried out by one function.

Nothing of the study is in a job, and nothing of the machine that made it but paths, which all workers must see.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fptkit.files import LOCK, write_text
from fptkit.lab.studies.outcome import Status

if TYPE_CHECKING:
    from fptkit.recipe.load import LoadedRecipe

LOG = "log.txt"
"""What a run printed, in its folder."""

REQUEST = "request.yaml"
"""The recipe as the study asked for it; the engine's own ``recipe.yaml`` has the sources that were taken, too."""

LOCK_PATIENCE_S = 20.0
"""How long a worker waits for a folder whose last worker is just ending."""

CARRIED_VARIABLES = ("FPTKIT_", "HF_", "TORCH_", "XDG_")
"""Beginnings of the environment variables that tell where data, caches and plugins are."""


@dataclass(frozen=True)
class Job:
    """A run, or a part of one.

    Args:
        address: of the run.
        name: for people.
        recipe: the resolved recipe as YAML; the plugins in single files it needs stand in it.
        folder: run folder, absolute.
        working_folder: what relative paths in the recipe start from, absolute.
        threads: processor threads, where the recipe does not say.
        until_step: step to pause at, None for the end of training.
        open_test: whether to open the test splits after training.
        environment: variables to set for the run.
    """

    address: str
    name: str
    recipe: str
    folder: Path
    working_folder: Path
    threads: int
    until_step: int | None = None
    open_test: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobResult:
    """What came of a job.

    Args:
        status: of the run now.
        reason: why it failed or diverged.
        seconds: the job took, from the start of its worker's work.
    """

    status: Status
    reason: str = ""
    seconds: float = 0.0


def carried_environment() -> dict[str, str]:
    """The variables of this process that a worker elsewhere needs, too."""
    return {name: value for name, value in os.environ.items() if name.startswith(CARRIED_VARIABLES)}


def carry_out(job: Job) -> JobResult:
    """Carry a run as far as the job says, in a process of its own. Everything printed goes to the run's log.

    Never raises for a fault of the run: that is what the result is for.
    """
    started = time.monotonic()
    os.environ.update(job.environment)
    os.chdir(job.working_folder)
    with _logged(job.folder / LOG):
        print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}  {job.name}, process {os.getpid()}", flush=True)
        status, reason = _carry_out(job)
        print(f"--- {status}{f': {reason}' if reason else ''}", flush=True)
    return JobResult(status, reason, time.monotonic() - started)


def _carry_out(job: Job) -> tuple[Status, str]:
    from fptkit.errors import FptkitError, Interrupted, RecipeError

    try:
        from fptkit.engine.run import RunRequest, run
        from fptkit.errors import DivergedError

        _limit_threads(job.threads)
        loaded = _load(job)
        _wait_for_lock(job.folder)
        try:
            summary = run(RunRequest(loaded, job.folder, resume=True, open_test=job.open_test, pause_at=job.until_step))
        except DivergedError as err:
            return "diverged", str(err)
        status: Status = summary["status"]
        return status, str(summary.get("reason", ""))
    except (Interrupted, KeyboardInterrupt):
        return "interrupted", ""
    except RecipeError as err:
        traceback.print_exc()
        return "failed", err.located  # a study shows the first line of a reason
    except FptkitError as err:
        traceback.print_exc()
        return "failed", str(err)
    except Exception as err:  # whatever a plugin or a library throws: the study goes on, the log has the traceback
        traceback.print_exc()
        return "failed", f"{type(err).__name__}: {err}"


def _load(job: Job) -> LoadedRecipe:
    from fptkit.recipe.load import load_recipe

    path = job.folder / REQUEST
    write_text(path, job.recipe)
    return load_recipe(str(path))


def _limit_threads(threads: int) -> None:
    """For libraries that ask the environment, and for torch, which has asked already.

    Not by the recipe: the folder of a run that goes on elsewhere must not take it for another recipe.
    """
    import torch

    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    torch.set_num_threads(threads)


def _wait_for_lock(folder: Path) -> None:
    """Wait while another worker, that nobody counts with any more, leaves the folder. Who stays is told by the run."""
    import filelock

    with contextlib.suppress(filelock.Timeout, OSError), filelock.FileLock(folder / LOCK, timeout=LOCK_PATIENCE_S):
        pass


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send both output streams, those of C libraries too, to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    before = [os.dup(number) for number in (1, 2)]
    with path.open("a", encoding="utf-8") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            # Workers of Ray and submitit have replaced the streams by objects that write elsewhere.
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
        finally:
            file.flush()
            for number, kept in zip((1, 2), before, strict=True):
                os.dup2(kept, number)
                os.close(kept)
