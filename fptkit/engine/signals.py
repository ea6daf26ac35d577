"""SIGINT and SIGTERM ask a run to save and stop; a second SIGINT stops it immediately."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from fptkit.errors import UserInterrupt


class StopRequest:
    """Remembers that a signal asked to stop.

    Attributes:
        signal_number: the signal; 0 before one arrives.
    """

    def __init__(self) -> None:
        self.signal_number = 0

    def requested(self) -> bool:
        """True after a signal."""
        return self.signal_number != 0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        if self.requested() and number == signal.SIGINT:
            raise UserInterrupt
        self.signal_number = number


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Catch both signals inside the block. Outside the main thread, where Python forbids that, nothing is caught."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, request.handle) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
