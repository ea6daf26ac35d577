"""What an error carries: the frames it passed, as files and lines, and what the code around a call added to it."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType

from fptkit.errors import PluginError

FOREIGN = frozenset(
    {
        *sys.stdlib_module_names,
        *("click", "einops", "fptkit", "huggingface_hub", "numpy", "pluggy", "pydantic", "rich", "safetensors"),
        *("scipy", "sklearn", "timm", "tokenizers", "torch", "torchvision", "transformers", "yaml"),
    }
)
"""Packages that are never a plugin's own code, even if a record names something of them as its target."""


class during:
    """Add to errors what only the surrounding code knows. Of nested ones, the innermost counts.

    Args:
        of: the component that is called, or its record.
        call: name of its method.
        split: name of the split.
        step: training step, from 0.
        example: index of the example in the split.
    """

    __slots__ = ("_given",)

    def __init__(
        self,
        *,
        of: object = None,
        call: str | None = None,
        split: str | None = None,
        step: int | None = None,
        example: int | None = None,
    ) -> None:
        self._given = (of, call, split, step, example)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, err: BaseException | None, traceback: object) -> None:
        if err is not None:
            add_context(err, **dict(zip(("of", "call", "split", "step", "example"), self._given, strict=True)))


def add_context(err: BaseException, **known: object) -> None:
    """Add to an error what only the code around a call knows; for an ``except`` where `during` would cost time.

    Args:
        err: the error.
        known: as for `during`. What was added before stays.
    """
    before = vars(err).setdefault("_fptkit_during", {})
    for name, value in known.items():
        if value is not None:
            before.setdefault(name, value)


def frames_of(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    """The frames an error passed, with their lines, outermost first."""
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def shown(frame: FrameType, line: int) -> str:
    """File and line of a frame, and the text of the line if there is one."""
    file = frame.f_code.co_filename
    text = linecache.getline(file, line, frame.f_globals).strip()
    return f"{short(file)}:{line}" + (f": {text}" if text else "")


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
    place = f" (at {shown(*own[-1])})" if own else ""
    return type(err).__name__ + (f": {text}" if text else "") + place


def _is_machinery(frame: FrameType) -> bool:
    """Whether a frame is in fptkit, the standard library or another library that loads plugins."""
    top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return top in FOREIGN or top in ("", "importlib", "_frozen_importlib", "_frozen_importlib_external")
