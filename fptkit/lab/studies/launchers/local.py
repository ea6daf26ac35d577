"""Workers on this machine: one process per run, forked from a server process that has loaded the libraries once.

A new Python process takes about 7 s to load torch and the engine; a fork of a process that has loaded them takes some
milliseconds. The server is multiprocessing's own, started before any training, so that no library's threads are forked.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from fptkit.errors import FptkitError
from fptkit.lab.studies.job import Job, JobResult, carry_out
from fptkit.lab.studies.launchers.base import Ended, LauncherOptions, share_processors
from fptkit.numerics.shared_gpu import GPU_FRACTION, USABLE, runs_on_each

PRELOADED = (
    "torch",
    "safetensors.torch",
    "filelock",
    "fptkit.registry",
    "fptkit.recipe.load",
    "fptkit.engine.run",
)
"""Modules that every run loads."""

SAVING_S = 30.0
"""Time for a worker to save its state after its study has died."""


class LocalLauncher:
    """Starts runs on this machine. See `fptkit.lab.studies.launchers.base.Launcher`."""

    def __init__(self, options: LauncherOptions, folder: Path, *, preload: Sequence[str] = ()) -> None:
        self._devices = _devices()
        self.slots, self.threads = share_processors(options, devices=len(self._devices))
        self.description = f"this machine, {_counted(self.slots, 'worker')} with {_counted(self.threads, 'thread')}"
        self._runs_on_each = runs_on_each(self.slots, len(self._devices))
        if self._devices:
            self.description += f", {_counted(len(self._devices), 'GPU')}"
        if self._runs_on_each > 1:
            self.description += f", up to {self._runs_on_each} runs on each"
        self._under_way: dict[int, tuple[Job, BaseProcess, Connection, str]] = {}
        self._waiting: list[Job] = []
        self._given_up: list[Ended] = []
        self._context = _context([*PRELOADED, *preload], self.threads)

    def start(self, job: Job) -> None:
        """See `Launcher`."""
        self._waiting.append(job)
        self._start_waiting()

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """See `Launcher`.

        Raises:
            FptkitError: no process can be started any more.
        """
        self._start_waiting()
        ended, self._given_up = self._given_up, []
        if not self._under_way:
            if not ended:
                time.sleep(timeout_s)
            return ended
        for sentinel in wait(list(self._under_way), 0 if ended else timeout_s):
            assert isinstance(sentinel, int)
            job, process, receiver, _ = self._under_way.pop(sentinel)
            process.join()
            result = _received(receiver)
            receiver.close()
            ended.append(Ended(job, result, "" if result else _death(process.exitcode)))
            process.close()
        return ended

    def _start_waiting(self) -> None:
        """Start the jobs that are not started yet.

        What fails while other runs are under way is tried again at each `wait`: it may lack the memory that they hold.

        Raises:
            FptkitError: no run is under way, and a process cannot be started either by a new server.
        """
        anew = False
        while self._waiting:
            try:
                if anew:
                    _restart_server(self.threads)
                self._start(self._waiting[0])
            except (OSError, EOFError) as err:  # no memory for a process, or the server or its socket is gone
                if self._under_way:
                    return
                if anew:
                    raise FptkitError(
                        f"no worker can be started on this machine: {type(err).__name__}: {err}; what was run before "
                        "is kept, and the same command continues"
                    ) from err
                anew = True
            else:
                del self._waiting[0]
                anew = False

    def _start(self, job: Job) -> None:
        """Start a worker.

        Raises:
            OSError, EOFError: it cannot be started.
        """
        receiver, sender = self._context.Pipe(duplex=False)
        device = self._free_device()
        process = self._context.Process(target=_work, args=(job, sender, device, self._runs_on_each), name=job.name)  # type: ignore[attr-defined]
        try:
            with _without_main():
                process.start()
        except (OSError, EOFError):
            receiver.close()
            raise
        finally:
            sender.close()
        self._under_way[process.sentinel] = (job, process, receiver, device)

    def stop(self) -> None:
        """See `Launcher`."""
        # Not SIGINT, which is blocked in them.
        for _, process, _, _ in self._under_way.values():
            process.terminate()
        self._given_up += [Ended(job, None, "stopped before it was started") for job in self._waiting]
        self._waiting.clear()

    def close(self) -> None:
        """See `Launcher`."""
        for _, process, receiver, _ in self._under_way.values():
            process.kill()
            process.join()
            receiver.close()
        self._under_way.clear()
        _keep_folder()

    def _free_device(self) -> str:
        """The accelerator with the fewest runs; empty if there is none."""
        taken = [device for *_, device in self._under_way.values()]
        return min(self._devices, key=taken.count, default="")


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module from multiprocessing, which would execute it again in every worker.

    Workers need fptkit only. A user's script that calls `fptkit.study` would otherwise need a guard
    ``if __name__ == "__main__"``.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(job: Job, sender: Connection, device: str, sharers: int) -> None:
    """Body of a worker."""
    if device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    if sharers > 1:
        os.environ[GPU_FRACTION] = str(USABLE / sharers)
    _end_with_parent()
    result = carry_out(job)
    try:
        sender.send(result)
    except OSError:  # the study has died; it reads the run folder when it is started again
        sys.exit(1)


def _end_with_parent() -> None:
    """Save and end when the study dies for any reason, which closes its end of a pipe."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SAVING_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="study watch", daemon=True).start()


def _context(modules: Sequence[str], threads: int) -> BaseContext:
    """Start method of workers: forks of a server that has loaded ``modules``, or new processes if unsupported."""
    if not _has_server():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    _start_server(threads)
    return context


def _has_server() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()


def _start_server(threads: int) -> None:
    """Start the server for workers with so many threads, with SIGINT blocked; its forks inherit this.

    The terminal sends Ctrl-C to all processes of a job: a server that is loading would die with a traceback, and a
    worker would count the study's own signal as a second one, and end without saving.
    """
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # it unblocks signals after it starts, so start it first
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _settings_of_libraries(threads):
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextlib.contextmanager
def _settings_of_libraries(threads: int) -> Iterator[None]:
    """Variables that the libraries read once, when the server loads them."""
    settings = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    if threads > 1:
        # By default waiting threads keep their cores busy: two processes with two threads each on two cores then take
        # many times as long as one after the other.
        settings["OMP_WAIT_POLICY"] = "PASSIVE"
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _restart_server(threads: int) -> None:
    """Stop the server and start another one, with the same modules."""
    if _has_server():
        _keep_folder()
        _stop_server()
        _start_server(threads)


def _stop_server() -> None:
    from multiprocessing import forkserver

    with contextlib.suppress(FileNotFoundError):  # its socket was removed
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


def _keep_folder() -> None:
    """Make the folder of multiprocessing's sockets again if it was removed, as programs that clean ``/tmp`` do.

    Without it no server can be started, and the process would end with a traceback.
    """
    if _has_server():
        os.makedirs(multiprocessing.util.get_temp_dir(), mode=0o700, exist_ok=True)


def _received(receiver: Connection) -> JobResult | None:
    """The result a worker sent before it ended."""
    try:
        return receiver.recv() if receiver.poll() else None
    except (EOFError, OSError):
        return None


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its worker was killed by signal {-code}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
    return f"its worker ended with status {code}"


def _devices() -> list[str]:
    """CUDA's names of the accelerators; without loading torch, which would occupy the first one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    found = sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return [str(number) for number in range(len(found))]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
