"""One run as a job for a worker of any launcher: picklable, and executed by one function.

A job contains nothing of the study, and of the machine only paths, which all workers must share.
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
"""File in a run folder with everything the run printed."""

REQUEST = "request.yaml"
"""The recipe as the study requested it; the engine's ``recipe.yaml`` also records the sources used."""

LOCK_PATIENCE_S = 20.0
"""How long a worker waits for the previous worker to release the run folder."""

CARRIED_VARIABLES = ("FPTKIT_", "HF_", "TORCH_", "XDG_")
"""Prefixes of environment variables that locate data, caches and plugins."""


@dataclass(frozen=True)
class Job:
    """A run, or a part of one.

    Args:
        address: address of the run.
        name: name of the run, for people.
        recipe: the resolved recipe as YAML, including the paths of plugin files.
        folder: absolute path of the run folder.
        working_folder: absolute path that relative paths in the recipe start from.
        threads: CPU threads if the recipe does not set them.
        until_step: step to pause at, None for the end of training.
        open_test: whether to evaluate the test splits after training.
        environment: environment variables to set for the run.
        data: digest of the data files that the address was made with; empty if there are none. The run fails if they
            changed since.
        study: name of the study that makes the run, for listeners.
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
    data: str = ""
    study: str = ""


@dataclass(frozen=True)
class JobResult:
    """Result of a job.

    Args:
        status: status of the run now.
        reason: why it failed or diverged.
        seconds: duration of the job, without the start of its process.
    """

    status: Status
    reason: str = ""
    seconds: float = 0.0


def carried_environment() -> dict[str, str]:
    """Environment variables of this process that workers need, too."""
    return {name: value for name, value in os.environ.items() if name.startswith(CARRIED_VARIABLES)}


def carry_out(job: Job) -> JobResult:
    """Execute a job in its own process. All output goes to the run's log.

    Errors of the run do not raise; they are in the result.
    """
    from fptkit.errors import visible

    started = time.monotonic()
    os.environ.update(job.environment)
    os.chdir(job.working_folder)
    status: Status = "failed"
    reason = ""
    try:
        with _logged(job.folder / LOG):
            print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}  {job.name}, process {os.getpid()}", flush=True)
            status, found = _carry_out(job)
            reason = visible(found)
            print(f"--- {status}{f': {reason}' if reason else ''}", flush=True)
    except OSError as err:  # a full disk: what became of the run is known even if its log does not say it
        if status == "failed":
            reason = reason or f"{job.folder / LOG} cannot be written: {err}"
    return JobResult(status, reason, time.monotonic() - started)


def _carry_out(job: Job) -> tuple[Status, str]:
    from fptkit.errors import DivergedError, FptkitError, Interrupted, RecipeError
    from fptkit.specs.guard import plugin_faults

    try:
        with plugin_faults():
            return _run(job)
    except DivergedError as err:
        return "diverged", str(err)
    except (Interrupted, KeyboardInterrupt):
        return "interrupted", ""
    except RecipeError as err:
        traceback.print_exc()
        return "failed", err.located  # a study shows only the first line of a reason
    except FptkitError as err:
        traceback.print_exc()
        return "failed", str(err)
    except Exception as err:  # from libraries: the study continues, the log has the traceback
        traceback.print_exc()
        return "failed", f"{type(err).__name__}: {err}"


def _run(job: Job) -> tuple[Status, str]:
    """Carry out the run; raises what it raises."""
    from fptkit.engine.run import RunRequest, run

    _limit_threads(job.threads)
    loaded = _load(job)
    _check_data(job, loaded)
    _wait_for_lock(job.folder)
    summary = run(
        RunRequest(
            loaded,
            job.folder,
            resume=True,
            open_test=job.open_test,
            pause_at=job.until_step,
            study=job.study,
            title=job.name,
        )
    )
    return summary["status"], str(summary.get("reason", ""))


def _load(job: Job) -> LoadedRecipe:
    from fptkit.recipe.load import load_recipe

    path = job.folder / REQUEST
    write_text(path, job.recipe)
    return load_recipe(str(path))


def _check_data(job: Job, loaded: LoadedRecipe) -> None:
    """Check that the data are still those that the run is addressed by.

    Raises:
        DataError: they are not.
    """
    from fptkit.errors import DataError
    from fptkit.lab.studies.address import data_of

    if job.data and (found := data_of(loaded.recipe, loaded.registry)) != job.data:
        raise DataError(
            f"{loaded.name}: the data changed since the study began: their digest was {job.data} and is now "
            f"{found or 'that of no file'}; start the study again, which makes new runs"
        )


def _limit_threads(threads: int) -> None:
    """Set the number of threads for libraries that read the environment, and for torch, which has read it already.

    The recipe is not changed: a run that resumes on another machine must have the same recipe.
    """
    import torch

    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    torch.set_num_threads(threads)


def _wait_for_lock(folder: Path) -> None:
    """Wait for an abandoned worker to release the folder; if it does not, the run reports the lock."""
    import filelock

    with contextlib.suppress(filelock.Timeout, OSError), filelock.FileLock(folder / LOCK, timeout=LOCK_PATIENCE_S):
        pass


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Append both output streams, including those of C libraries, to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    before = [os.dup(number) for number in (1, 2)]
    # Messages may quote file names that are no text.
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            # Ray and submitit replace the workers' streams by objects that write elsewhere.
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
        finally:
            try:
                file.flush()
            finally:
                for number, kept in zip((1, 2), before, strict=True):
                    os.dup2(kept, number)
                    os.close(kept)
