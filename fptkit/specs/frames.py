"""The frames that an error passed: where it came from, as a file, a line and its text."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType

from fptkit.errors import PluginError

FOREIGN = frozenset({*sys.stdlib_module_names, "fptkit", "numpy", "pluggy", "pydantic", "torch", "transformers"})
"""Packages that are never a plugin's own code, even if a record names something of them as its target."""


def frames_of(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    """The frames an error passed, with their lines, outermost first."""
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def shown(frame: FrameType, line: int) -> tuple[str, str]:
    """File and line of a frame, and the text of the line."""
    file = frame.f_code.co_filename
    return f"{short(file)}:{line}", linecache.getline(file, line, frame.f_globals).strip()


def short(path: str) -> str:
    """The path, relative to the working folder if it is below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path


def reason_of(err: BaseException) -> str:
    """One line that says why a plugin did not load, with the author's line if there is one.

    Args:
        err: what importing the plugin, or calling its hooks, raised.
    """
    text = " ".join(str(err).split())
    if isinstance(err, PluginError):
        return text
    own = [(frame, line) for frame, line in frames_of(err.__traceback__) if not _is_machinery(frame)]
    place = f" (at {': '.join(shown(*own[-1]))})" if own else ""
    return f"{type(err).__name__}: {text}{place}"


def _is_machinery(frame: FrameType) -> bool:
    """Whether a frame is in fptkit, the standard library or another library that loads plugins."""
    top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return top in FOREIGN or top in ("", "importlib", "_frozen_importlib", "_frozen_importlib_external")
