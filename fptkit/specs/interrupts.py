"""Ctrl-C of the user, distinguished from a ``KeyboardInterrupt`` that code raises."""

from __future__ import annotations

import contextlib
import signal
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
