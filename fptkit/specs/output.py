"""Standard output belongs to the command: what plugins and libraries print goes to stderr."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def stdout_kept() -> Iterator[None]:
    """Send everything printed inside the block to stderr, also by compiled code and child processes.

    So a table or JSON that the command prints afterwards is alone on stdout. Blocks may be nested.
    """
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr), _descriptor_kept(out):
        yield


@contextlib.contextmanager
def _descriptor_kept(out: TextIO) -> Iterator[None]:
    """Point descriptor 1 at stderr, if ``out`` writes to it; in tests and notebooks it does not."""
    if _number(out) != 1 or _number(sys.stderr) is None:
        yield
        return
    out.flush()
    kept = os.dup(1)
    os.dup2(sys.stderr.fileno(), 1)
    try:
        yield
    finally:
        # Code that holds the stream itself, and C's own buffer, must not write after the block.
        with contextlib.suppress(OSError, ValueError):
            out.flush()
        if os.name == "posix":
            import ctypes

            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def _number(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (io.UnsupportedOperation, ValueError, OSError, AttributeError):
        return None
