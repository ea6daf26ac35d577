"""Starts commands of fptkit as processes, and interrupts them so that they save their state."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fptkit.lab.reproduction.carry_out import STOPPED

EVERY_S = 5.0
"""Seconds between two looks at the clock."""


def start_process(
    arguments: Sequence[str],
    log: Path,
    *,
    within_s: float,
    tick: Callable[[float], None],
    program: Sequence[str] = (sys.executable, "-m", "fptkit"),
) -> int:
    """Run a command; see `fptkit.lab.reproduction.carry_out.Start`.

    Ctrl-C or SIGTERM interrupts the command once, which then saves its state; a second one ends it at once. It never
    outlives this call, unless this process is killed.

    Args:
        arguments: those of the command.
        log: file that its output is appended to.
        within_s: it is interrupted after so many seconds.
        tick: called from time to time, and at the end, with the seconds since the start.
        program: what the arguments are for.
    """
    began = time.monotonic()
    with log.open("ab") as output, _sigterm_as_interrupt():
        # In a session of its own: Ctrl-C in a terminal would reach it twice, which ends it without saving.
        process = subprocess.Popen(
            [*program, *arguments], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        interrupted = False
        while process.poll() is None:
            passed = time.monotonic() - began
            try:
                if passed >= within_s and not interrupted:
                    interrupted = True
                    process.send_signal(signal.SIGINT)
                process.wait(min(EVERY_S, max(within_s - passed, 0.05)) if not interrupted else EVERY_S)
            except subprocess.TimeoutExpired:
                tick(time.monotonic() - began)
            except KeyboardInterrupt:
                process.send_signal(signal.SIGKILL if interrupted else signal.SIGINT)
                interrupted = True
    tick(time.monotonic() - began)
    return STOPPED if interrupted else int(process.returncode)


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, even if SIGINT is ignored, as it is in a script's background processes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
