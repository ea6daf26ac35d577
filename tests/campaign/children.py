"""Trials in child processes, forked from a process that has imported everything: a start takes milliseconds."""

from __future__ import annotations

import atexit
import contextlib
import mmap
import os
import pickle
import resource
import shutil
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from parts import KEPT_INPUTS, Fault, Tally

from fptkit.errors import FptkitError

REPO = str(Path(__file__).parents[2])
LIMIT_S = 5.0
"""Processor time: nothing may take longer than this to be read or refused."""

WAITING = 6
"""Times the limit that may pass on the clock: other processes may keep the processor busy."""

_POLL_S = 0.05
_BETWEEN_S = 60.0  # for the campaign's own work between two trials


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Args:
        code: exit status, or minus the signal that ended it.
        late: whether it was ended because its time was over.
        seconds: from start to end.
        result: what its function returned; None if it did not return.
    """

    code: int
    late: bool
    seconds: float
    result: Any = None


def start_child(function: Callable[[], Any], log: Path, *, memory_mib: int | None = None) -> int:
    """Fork a child that calls a function in a session of its own; returns its number.

    Args:
        function: what it does. The exit status is 0, that of a `SystemExit`, or 99 after any other exception.
        log: takes all its output; ``LOG.result`` what the function returned.
        memory_mib: address space it may take in addition to what it has.
    """
    log.touch()  # the child may be killed before it opens it
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of forks beside threads; libraries' idle ones do not matter
        # The child must not handle signals as this process does.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        number = os.fork()
    if number:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return number
    code = 99
    try:
        atexit._clear()  # the campaign's own, which remove its folders
        os.setsid()
        signal.set_wakeup_fd(-1)
        for caught in (signal.SIGINT, signal.SIGTERM):
            signal.signal(caught, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _redirect(log)
        if memory_mib is not None:
            _limit_memory(memory_mib)
        result = function()
        log.with_name(log.name + ".result").write_bytes(pickle.dumps(result))
        code = 0
    except SystemExit as err:
        code = err.code if isinstance(err.code, int) else 0 if err.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _redirect(log: Path) -> None:
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, source in ((0, null), (1, opened), (2, opened)):
        os.dup2(source, number)
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)


def _limit_memory(mib: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def wait_for(number: int, limit_s: float) -> tuple[int, bool]:
    """Wait for a child; end its whole session when its time is over. Returns exit status and whether it was late."""
    until = time.monotonic() + limit_s
    pause = 0.001
    while True:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), False
        if time.monotonic() > until:
            end_session(number)
            return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), True
        time.sleep(pause)
        pause = min(pause * 1.5, _POLL_S)


def end_session(number: int) -> None:
    """End a child and what it started."""
    for send in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(number, signal.SIGKILL)


def in_child(function: Callable[[], Any], log: Path, *, limit_s: float, memory_mib: int | None = None) -> Ended:
    """Call a function in a child and wait for it; see `start_child`."""
    started = time.monotonic()
    number = start_child(function, log, memory_mib=memory_mib)
    code, late = wait_for(number, limit_s)
    end_session(number)
    return Ended(code, late, time.monotonic() - started, read_result(log))


def read_result(log: Path) -> Any:
    """What the function of a child returned; None if it did not."""
    path = log.with_name(log.name + ".result")
    try:
        return pickle.loads(path.read_bytes())
    except (OSError, EOFError, pickle.UnpicklingError):
        return None
    finally:
        path.unlink(missing_ok=True)


class Judged(Exception):
    """A broken promise that a trial found by itself."""


def judge(action: Callable[[], Any]) -> tuple[str, str] | None:
    """Call what must succeed or be refused: None if it does, else the kind of fault and its whole text.

    fptkit's own errors are right answers, as are click's, and the exit of a command.
    """
    try:
        action()
    except (FptkitError, click.ClickException, click.exceptions.Exit, click.Abort) as err:
        return _of_message(err)
    except SystemExit as err:
        return None if err.code in (0, 1, 2, 3) else (f"exit status {err.code!r}", "")
    except Judged as err:
        return str(err.args[0]), str(err)
    except Exception as err:
        return f"{type(err).__name__} at {_place(err)}", "".join(traceback.format_exception(err))[-6000:]
    return None


def _of_message(err: BaseException) -> tuple[str, str] | None:
    """A message must say something, in less than a few screens."""
    text = str(err)
    if isinstance(err, FptkitError) and not text.strip():
        return "empty message", type(err).__name__
    if len(text) > 200_000:
        return "endless message", text[:1000]
    return None


def _place(err: BaseException) -> str:
    """The innermost line of fptkit that an error came through."""
    frames = [frame for frame in traceback.extract_tb(err.__traceback__) if "/fptkit/" in frame.filename]
    frame = frames[-1] if frames else traceback.extract_tb(err.__traceback__)[-1]
    return f"{frame.filename.removeprefix(REPO).lstrip('/')}:{frame.lineno}"


@dataclass(frozen=True)
class Limits:
    """What one input may take: seconds of processor time, and MiB of resident memory."""

    seconds: float = LIMIT_S
    mib: float = 500


_SHARED = struct.Struct("qdd")  # trial, clock, and processor time at its beginning


def each_in_child(
    trials: Sequence[int],
    attack: Callable[[int], tuple[str, Callable[[], Any]]],
    place: Path,
    *,
    limits: Limits,
    keep: Callable[[int], Path | None],
) -> Tally:
    """Carry out many small trials in one child; one that hangs or dies costs a new child, and nothing else.

    Args:
        trials: their numbers.
        attack: prepares a trial; returns what kind it is and the action to `judge`.
        place: folder to work in.
        limits: of each trial.
        keep: the input of a trial, to be kept if it found a fault; None: its number says it all.
    """
    shared = mmap.mmap(-1, _SHARED.size)
    tally, left = Tally(), list(trials)
    while left:
        log = place / "child.log"
        shared[:] = _SHARED.pack(left[0], time.monotonic() + _BETWEEN_S, _BETWEEN_S)
        child = start_child(lambda todo=tuple(left): _several(todo, attack, place, shared, limits, keep), log)
        code, late = _watch(child, shared, limits.seconds)
        found = _read_part(place)
        tally.add(found)
        reached, _, _ = _SHARED.unpack(shared[:])
        if code == 0 and not late:
            break
        kind = f"no answer in {limits.seconds:g} s" if late else f"died with status {code}"
        tally.counts["ended by force"] += 1
        tally.faults.append(_kept(Fault(kind, reached, log.read_text(errors="replace")[-3000:]), keep, place))
        left = left[left.index(reached) + 1 :]
    return tally


def _several(
    trials: Sequence[int],
    attack: Callable[[int], tuple[str, Callable[[], Any]]],
    place: Path,
    shared: mmap.mmap,
    limits: Limits,
    keep: Callable[[int], Path | None],
) -> None:
    """Body of the child."""
    tally = Tally()
    part = place / "tally.pickle"
    seen: dict[str, int] = {}
    for trial in trials:
        kind, action = attack(trial)
        shared[:] = _SHARED.pack(trial, time.monotonic(), time.process_time())
        began, before = time.process_time(), _reset_peak()
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            found = judge(action)
        seconds, mib = time.process_time() - began, _peak() - before
        shared[:] = _SHARED.pack(trial, time.monotonic() + _BETWEEN_S, time.process_time() + _BETWEEN_S)
        tally.counts[kind] += 1
        tally.measure("seconds", seconds)
        tally.measure("MiB", mib)
        if not found and mib > limits.mib:
            found = (f"more than {limits.mib:g} MiB", f"{mib:.0f} MiB")
        if found:
            seen[found[0]] = seen.get(found[0], 0) + 1
            fault = Fault(f"{kind}: {found[0]}", trial, found[1])
            known = seen[found[0]] > KEPT_INPUTS
            tally.faults.append(Fault(fault.kind, trial, "") if known else _kept(fault, keep, place))
        part.write_bytes(pickle.dumps(tally))  # at once: the next trial may end this process


def _kept(fault: Fault, keep: Callable[[int], Path | None], place: Path) -> Fault:
    source = keep(fault.trial)
    if source is None or not source.exists():
        return fault
    target = place / "kept" / f"{fault.trial}-{source.name}"
    target.parent.mkdir(exist_ok=True)
    shutil.copy(source, target)
    return Fault(fault.kind, fault.trial, fault.text, str(target))


def _read_part(place: Path) -> Tally:
    path = place / "tally.pickle"
    try:
        tally: Tally = pickle.loads(path.read_bytes())
    except (OSError, EOFError, pickle.UnpicklingError):
        return Tally()
    path.unlink()
    return tally


def _watch(child: int, shared: mmap.mmap, limit_s: float) -> tuple[int, bool]:
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), False
        _, began, used = _SHARED.unpack(shared[:])
        if _processor_time(child) - used > limit_s or time.monotonic() - began > WAITING * limit_s:
            end_session(child)
            os.waitpid(child, 0)
            return -signal.SIGKILL, True
        time.sleep(_POLL_S)


def _processor_time(child: int) -> float:
    try:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _reset_peak() -> float:
    """Make the present memory the peak, and return it. MiB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Make a folder the current one."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
