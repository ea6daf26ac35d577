"""A first look at a user's files: which task fits, with which options. For ``fptkit new recipe --data``.

Each format has a function ``look(place, labels) -> Look | None`` in its module ``look``, which its record names
(``TaskSpec.look``). It reads by the readers of the format, so that what it says is what a run will do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fptkit.errors import SourceError
from fptkit.tasks.reading.labels import same_label
from fptkit.tasks.reading.numbers import short
from fptkit.tasks.reading.paths import SourceFiles, find_files
from fptkit.tasks.reading.text import file_type

CERTAIN, LIKELY, POSSIBLE, FALLBACK = 1.0, 0.8, 0.6, 0.3
"""Scores: no other format fits; the content fits; it may be meant; it can be read, if nothing else fits."""

_SHOWN = 6


@dataclass(frozen=True)
class Choice:
    """An option of the task that a look chose.

    Args:
        value: its value, as YAML can write it.
        comment: why, or what else it may be; empty if it needs no comment.
        doubtful: whether another value is about as likely; it is then said on the terminal, too.
    """

    value: Any
    comment: str = ""
    doubtful: bool = False


@dataclass(frozen=True)
class Look:
    """What a format sees in a user's files.

    Args:
        task: name of the task.
        score: how well the files fit, from 0 to 1: `CERTAIN`, `LIKELY`, `POSSIBLE`, `FALLBACK`, or between.
        why: why this task, in a few words.
        seen: lines about the data: files, examples, classes, columns, sizes.
        options: options of the task, without ``name`` and ``source``.
        lacking: what the user must say before there can be a recipe, with the choices; empty if nothing.
        source: what to read, if not the given place itself.
        sections: settings of the recipe's other sections, such as ``{"head": {"readout": "mean"}}``.
        cut: option that limits the length of long examples, and its value per token; None if there is none.
    """

    task: str
    score: float
    why: str
    seen: tuple[str, ...] = ()
    options: Mapping[str, Choice] = field(default_factory=dict)
    lacking: str = ""
    source: Path | None = None
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cut: tuple[str, float] | None = None


def entry_of(place: Path) -> str:
    """A file or folder as an entry of ``source``."""
    return f"path:{place}"


def files_at(place: Path, endings: Sequence[str]) -> SourceFiles | None:
    """The files of a format at a place, by split; None if there are none.

    Args:
        place: a file or folder.
        endings: endings of the format, in lower case.

    Raises:
        DataError: a folder cannot be read, or its own splits are ambiguous.
    """
    if place.is_file() and file_type(place) not in endings and place.suffix.lower() not in endings:
        return None
    try:
        return find_files({"all": (entry_of(place),)}, endings)
    except SourceError:
        return None


def files_seen(found: SourceFiles) -> tuple[str, ...]:
    """Lines about files: how many, the splits found, and what is passed over."""
    endings = Counter(file_type(path) or "no ending" for path in found.files)
    counts = ", ".join(f"{ending} {count:,}" for ending, count in endings.most_common())
    lines = [f"files: {counts}"]
    if set(found.splits) != {"all"}:
        lines.append(f"splits found: {', '.join(f'{name} ({len(some):,})' for name, some in found.splits.items())}")
    return (*lines, *found.notes)


def classes_seen(labels: Sequence[str]) -> str:
    """The classes of some labels with their numbers, the most frequent first; of many, the first few."""
    counts = Counter(map(same_label, labels)).most_common()
    text = ", ".join(f"{short(name)} {count:,}" for name, count in counts[:_SHOWN])
    return f"{len(counts):,} classes: {text}" + (f" and {len(counts) - _SHOWN:,} more" if len(counts) > _SHOWN else "")


def range_seen(values: Sequence[float], unit: str) -> str:
    """The range of some sizes: ``30 to 49 steps``, or ``30 steps`` if all are the same."""
    low, high = min(values), max(values)
    return f"{low:,g} {unit}" if low == high else f"{low:,g} to {high:,g} {unit}"
