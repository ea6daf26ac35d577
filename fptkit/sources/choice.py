"""Ordered sources of data and weights: the first that is available is taken, and what was skipped is remembered."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from fptkit.errors import SourceError

Found = TypeVar("Found")


class Unavailable(Exception):
    """Raised by an opener to say why a source cannot be had here; the next one is tried."""


@dataclass(frozen=True)
class Choice(Generic[Found]):
    """The source that was taken from an ordered list.

    Args:
        entry: the entry as the recipe writes it.
        stand_in: true when it is not the first of the list.
        skipped: pairs of entry and reason, for those before it.
        found: what the opener returned.
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
        open_entry: returns what the entry holds, or raises `Unavailable` with the reason.
        what: what is looked for, for the error.
        pinned: entry an earlier run of this recipe took; only it is tried, so that a repeated run uses the same. One
            that is no longer in the list does not count.
        advice: what a user can do when nothing is available.

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
    """Where data sets and caches live: ``$FPTKIT_DATA``, else the user's data folder of the platform."""
    if given := os.environ.get("FPTKIT_DATA"):
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("fptkit"))


def shown_folder(folder: Path) -> str:
    """A folder as messages show it: ``~`` for the home folder."""
    home = Path.home()
    return f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) and folder != home else str(folder)
