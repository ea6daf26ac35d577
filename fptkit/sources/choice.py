"""Ordered lists of sources: the first available one is used, and the reasons for skipping others are recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from fptkit.errors import SourceError

Found = TypeVar("Found")


class Unavailable(Exception):
    """Raised by an opener if a source is unavailable, with the reason; the next source is tried."""


@dataclass(frozen=True)
class Choice(Generic[Found]):
    """The source chosen from an ordered list.

    Args:
        entry: the entry as written in the recipe.
        stand_in: true if it is a fallback, not the first entry of the list.
        skipped: pairs of entry and reason, for the unavailable entries before it.
        found: the result of the opener.
    """

    entry: str
    stand_in: bool
    skipped: tuple[tuple[str, str], ...]
    found: Found


def choose(
    entries: Sequence[str],
    open_entry: Callable[[str], Found],
    *,
    what: str,
    pinned: str | None = None,
    advice: str = "",
) -> Choice[Found]:
    """Open the first available entry.

    Args:
        entries: the recipe's list, best first.
        open_entry: opens an entry and returns its content, or raises `Unavailable` with the reason.
        what: what the entries are sources of, for the error.
        pinned: entry that an earlier run of this recipe used; only this one is tried, so that a repeated run uses the
            same source. It is ignored if it is no longer in the list.
        advice: what a user can do if no entry is available, for the error.

    Raises:
        SourceError: no entry is available.
    """
    skipped: list[tuple[str, str]] = []
    for position, entry in enumerate(entries):
        if pinned in entries and entry != pinned:
            continue
        try:
            found = open_entry(entry)
        except Unavailable as reason:
            skipped.append((entry, str(reason)))
            continue
        return Choice(entry, position > 0, tuple(skipped), found)
    raise SourceError(what, skipped, advice)


def data_folder() -> Path:
    """Return the folder of data sets and caches: ``$FPTKIT_DATA``, or the platform's user data folder."""
    if given := os.environ.get("FPTKIT_DATA"):
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("fptkit"))


def shown_folder(folder: Path) -> str:
    """Format a folder for messages, with ``~`` for the home folder."""
    home = Path.home()
    return f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) and folder != home else str(folder)
