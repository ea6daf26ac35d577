"""Workers on this machine: what happens when a process cannot be started."""

from __future__ import annotations

import multiprocessing.util
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import scripted_worker

from fptkit.errors import FptkitError
from fptkit.lab.studies.job import Job, JobResult
from fptkit.lab.studies.launchers import local
from fptkit.lab.studies.launchers.base import Ended, LauncherOptions
from fptkit.lab.studies.launchers.local import LocalLauncher


def job(number: int, folder: Path) -> Job:
    """A job that nobody carries out."""
    return Job(
        address=str(number),
        name=f"run {number}",
        recipe="no recipe",
        folder=folder / str(number),
        working_folder=folder,
        threads=1,
        until_step=None,
        open_test=False,
        environment={},
    )


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalLauncher]:
    """A launcher whose server has loaded nothing, and whose workers say that their run failed."""
    monkeypatch.setattr(local, "PRELOADED", ())
    monkeypatch.setattr(local, "_work", scripted_worker.work)
    made = LocalLauncher(LauncherOptions(workers=2, threads=1), tmp_path)
    yield made
    made.close()
    local._stop_server()  # those of other tests load the libraries


def ended(launcher: LocalLauncher) -> Ended:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for one in launcher.wait(1.0):
            return one
    raise AssertionError("nothing ended")


@pytest.mark.parametrize("what", ["folder", "sockets"])
def test_runs_go_on_when_the_folder_of_sockets_is_cleaned(launcher: LocalLauncher, tmp_path: Path, what: str) -> None:
    launcher.start(job(0, tmp_path))
    first = ended(launcher)
    folder = Path(multiprocessing.util.get_temp_dir())
    sockets = list(folder.iterdir())
    assert sockets
    if what == "folder":
        shutil.rmtree(folder)
    else:
        for socket in sockets:
            socket.unlink()
    launcher.start(job(1, tmp_path))
    second = ended(launcher)
    assert [(one.job.name, one.result) for one in (first, second)] == [
        (f"run {number}", JobResult("failed", "made up")) for number in range(2)
    ]
    assert folder.is_dir(), "multiprocessing removes it at the end"


def test_a_folder_that_was_removed_is_there_at_the_end(launcher: LocalLauncher) -> None:
    folder = Path(multiprocessing.util.get_temp_dir())
    shutil.rmtree(folder)
    launcher.close()
    assert folder.is_dir()


class Starts:
    """What happens when a process is started: the errors, in order; a started one ends when it is waited for."""

    def __init__(
        self, launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch, errors: list[Exception | None]
    ) -> None:
        self.errors, self.restarts, self.started = errors, 0, list[str]()
        self._launcher = launcher
        monkeypatch.setattr(launcher, "_start", self._start)
        monkeypatch.setattr(local, "_restart_server", self._restart)
        monkeypatch.setattr(local, "wait", lambda sentinels, timeout_s: sentinels[:1])

    def _start(self, job: Job) -> None:
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.started.append(job.name)
        self._launcher._under_way[len(self.started)] = (job, Process(), Receiver(), "")  # type: ignore[assignment]

    def _restart(self, threads: int) -> None:
        self.restarts += 1


class Process:
    exitcode = 3

    def join(self) -> None: ...
    def close(self) -> None: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...


class Receiver:
    def poll(self) -> bool:
        return False

    def close(self) -> None: ...


Script = Callable[[list[Exception | None]], Starts]


@pytest.fixture
def script(launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch) -> Script:
    return lambda errors: Starts(launcher, monkeypatch, errors)


NO_MEMORY = OSError(12, "Cannot allocate memory")


def test_what_cannot_be_started_waits_for_a_run_that_ends(
    launcher: LocalLauncher, script: Script, tmp_path: Path
) -> None:
    starts = script([None, NO_MEMORY, EOFError()])
    launcher.start(job(0, tmp_path))
    launcher.start(job(1, tmp_path))
    assert starts.started == ["run 0"]
    (one,) = launcher.wait(0)
    assert (one.job.name, one.death) == ("run 0", "its worker ended with status 3")
    (one,) = launcher.wait(0)
    assert one.job.name == "run 1"
    assert (starts.started, starts.restarts) == (["run 0", "run 1"], 0)


def test_without_a_run_under_way_the_server_is_restarted_once(
    launcher: LocalLauncher, script: Script, tmp_path: Path
) -> None:
    starts = script([NO_MEMORY, None, ConnectionRefusedError(), None])
    launcher.start(job(0, tmp_path))
    assert (starts.started, starts.restarts) == (["run 0"], 1)
    launcher.wait(0)
    launcher.start(job(1, tmp_path))
    assert (starts.started, starts.restarts) == (["run 0", "run 1"], 2)


def test_a_machine_that_starts_no_worker_is_an_error_and_no_failed_run(
    launcher: LocalLauncher, script: Script, tmp_path: Path
) -> None:
    starts = script([NO_MEMORY, NO_MEMORY])
    with pytest.raises(
        FptkitError, match=r"no worker can be started on this machine: OSError: .*Cannot allocate memory"
    ):
        launcher.start(job(0, tmp_path))
    assert starts.restarts == 1


def test_a_run_that_waits_is_given_up_when_the_study_stops(
    launcher: LocalLauncher, script: Script, tmp_path: Path
) -> None:
    starts = script([None, NO_MEMORY, NO_MEMORY])
    launcher.start(job(0, tmp_path))
    launcher.start(job(1, tmp_path))
    launcher.stop()
    given_up, stopped = launcher.wait(0)
    assert (given_up.job.name, given_up.result, given_up.death) == ("run 1", None, "stopped before it was started")
    assert stopped.job.name == "run 0"
    assert launcher.wait(0) == []
    assert starts.started == ["run 0"]
