"""What a command shows from its first moment until it has something better to show. Light."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator

import click

from fptkit.engine.terminal import Output
from fptkit.errors import visible
from fptkit.sources.activity import watched


class Starting:
    """Shows what is being done: on a terminal one line that disappears, elsewhere one line for each activity.

    Args:
        shown: false shows nothing.
        lines: false shows nothing outside of a terminal.
    """

    def __init__(self, *, shown: bool, lines: bool = True) -> None:
        self._shown, self._lines = shown, lines
        self._last = ""

    def show(self, what: str, so_far: str = "") -> None:
        """See `fptkit.sources.activity.Watcher`."""
        if not self._shown:
            return
        if status := _status_of_stderr():
            width = shutil.get_terminal_size().columns - 1
            status.show_status(visible(f"{what}: {so_far}" if so_far else what).replace("\n", " ")[:width])
        elif self._lines and what != self._last:
            click.echo(visible(what), err=True)
        self._last = what

    def end(self) -> None:
        """Remove the line; nothing is shown any more."""
        if self._shown and (status := _status_of_stderr()):
            status.show_status("")
        self._shown = False


@contextlib.contextmanager
def starting(what: str, *, shown: bool = True, lines: bool = True) -> Iterator[Starting]:
    """Show what is being done in a block, from now on; the line is removed at its end.

    Args:
        what: what is done first, such as ``reading recipe x``.
        shown: false shows nothing, as with ``--quiet`` and ``--json``.
        lines: false shows nothing outside of a terminal, for commands whose output is read by programs.
    """
    shows = Starting(shown=shown, lines=lines)
    try:
        with watched(shows.show):
            shows.show(what)
            yield shows
    finally:
        shows.end()


def _status_of_stderr() -> Output | None:
    """Standard error, if it is a terminal that can remove a line."""
    stream = sys.stderr
    if isinstance(stream, Output) and stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        return stream
    return None
