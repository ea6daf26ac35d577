"""What the process is doing before it has results: reading, importing, opening, downloading, compiling.

Parts at any depth say it with `doing`; a command that shows it sets a watcher with `watched`. Nobody else notices.
Light.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

Watcher = Callable[[str, str], None]
"""Takes what is being done, and how far it is; the latter may change many times a second and may be empty."""

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


def doing(what: str, so_far: str = "") -> None:
    """Say what is being done from now on.

    Args:
        what: in a few words, such as ``importing torch``.
        so_far: how far it is, such as ``12 of 548 MB``; empty if that is unknown.
    """
    if watcher := _watcher.get():
        watcher(what, so_far)


@contextlib.contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Pass what is being done in the block to a watcher. Threads that start in it are not watched."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
