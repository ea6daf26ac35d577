"""Ordered lists of sources: the first available one is used, and the reasons for skipping others are recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from fptkit.errors import SourceError, UsageError
from fptkit.sources.ownership import own_temporary_folder

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
    """Return the folder of data sets and caches: ``$FPTKIT_DATA``, or the platform's user data folder.

    Raises:
        UsageError: see `user_folder`.
    """
    if given := os.environ.get("FPTKIT_DATA"):
        return expanded(given)
    import platformdirs

    return user_folder(platformdirs.user_data_dir, "data")


def user_folder(find: Callable[[str], str], name: str) -> Path:
    """A folder of the platform for this user; if no home folder is known, one among the temporary files.

    Args:
        find: function of platformdirs.
        name: name of the folder among the temporary files.

    Raises:
        UsageError: no home folder is known, and the temporary folder belongs to somebody else.
    """
    try:
        folder = Path(find("fptkit"))
    except RuntimeError:  # no home folder, as for users of a container without an entry in passwd
        return own_temporary_folder() / name
    return folder if folder.is_absolute() else own_temporary_folder() / name


def expanded(path: str | Path) -> Path:
    """A path with ``~`` as the home folder.

    Raises:
        UsageError: no home folder is known, or there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as err:
        raise UsageError(f"{path}: the home folder is not known; write the path without ~, or set HOME") from err


def shown_folder(folder: Path) -> str:
    """Format a folder for messages, with ``~`` for the home folder."""
    try:
        home = Path.home()
    except RuntimeError:
        return str(folder)
    return f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) and folder != home else str(folder)
