"""What plugin code must not change around it: who handles Ctrl-C, standard output, the working folder."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from fptkit.errors import UserInterrupt


@contextlib.contextmanager
def user_interrupts() -> Iterator[None]:
    """Raise `UserInterrupt` at Ctrl-C inside the block, to tell it from a ``KeyboardInterrupt`` that code raises."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise UserInterrupt

    replaceable = threading.current_thread() is threading.main_thread()
    if not replaceable or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def working_folder_kept() -> Iterator[None]:
    """Return to the working folder after the block: relative paths of a run must stay what they are."""
    folder = os.getcwd()
    try:
        yield
    finally:
        os.chdir(folder)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """The surroundings of an import of plugin code: what it prints goes to stderr, and Ctrl-C is the user's."""
    with contextlib.redirect_stdout(sys.stderr), user_interrupts(), working_folder_kept():
        yield
