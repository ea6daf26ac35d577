"""Standard output belongs to the command: what plugins and libraries print goes to stderr."""

from __future__ import annotations

import io
import os
import sys

_CARRIERS = frozenset({*sys.stdlib_module_names, "click", "rich"})
"""Packages that print for whoever calls them."""


class CommandOutput(io.TextIOWrapper):
    """The standard output of fptkit's own code; others that write to it write to stderr."""

    def write(self, text: str, /) -> int:
        """Write the text to stdout if fptkit prints it, else to stderr."""
        if not _printed_by_fptkit():
            return sys.stderr.write(text)
        return super().write(text)


def keep_stdout() -> None:
    """Keep standard output for the command, for the rest of this process.

    The descriptor itself leads to stderr afterwards, for compiled code and child processes that write to it.
    """
    if sys.stdout is None or sys.stderr is None:  # closed by whoever started the process
        return
    sys.stdout.flush()
    own = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = CommandOutput(
        os.fdopen(own, "wb"),
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        line_buffering=bool(sys.stdout.line_buffering),
    )


def _printed_by_fptkit() -> bool:
    """Whether the innermost code on the stack that prints on its own behalf is fptkit's."""
    frame = sys._getframe(1).f_back
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _CARRIERS:
            return package in ("fptkit", "__main__")
        frame = frame.f_back
    return False
