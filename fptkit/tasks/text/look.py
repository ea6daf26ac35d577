"""A first look at texts: the options of the task ``text``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fptkit.tasks.reading.look import (
    CERTAIN,
    FALLBACK,
    LIKELY,
    Choice,
    Look,
    classes_seen,
    files_at,
    files_seen,
    range_seen,
)
from fptkit.tasks.reading.look_tables import Seen, columns_seen, guess_target, reading_options, see_table
from fptkit.tasks.text.options import DOCUMENTS, RECORDS, TABLES
from fptkit.tasks.text.reader import TEXT_NAMES, classes_of

LEAST_WORDS, PROSE = 3.0, 6.0
"""Mean number of words from which a column of categories holds texts, and from which these are certainly not names."""

_SECTIONS: Mapping[str, Mapping[str, Any]] = {"head": {"readout": "mean"}}


def look(place: Path, labels: Sequence[str] = ()) -> Look | None:
    """Look at a table or JSON records with a column of texts, or at class folders of text files.

    Args:
        place: a file or folder.
        labels: columns to predict, if the user names them.

    Raises:
        DataError: the first file cannot be read.
    """
    if found := files_at(place, (*TABLES, *RECORDS)):
        seen = see_table(found.files[0])
        column = text_column(seen, labels)
        if column is None:
            return None
        guess = guess_target(seen, labels, (column,))
        options = {
            "text": Choice(column),
            **({"target": guess.choice} if guess.choice else {}),
            **reading_options(seen),
        }
        words = [len(cell.split()) for cell in seen.filled(column)]
        lines = (
            *files_seen(found),
            *columns_seen(seen),
            f"texts in '{column}': {range_seen(words, 'words')}",
            *guess.seen,
        )
        likely = _mean_words(seen, column) >= PROSE or len(seen.columns) <= 3
        why, score = f"texts in column '{column}'", LIKELY if likely else FALLBACK + 0.1
        return Look("text", score, why, lines, options, guess.lacking, sections=_SECTIONS, cut=("max_length", 1))
    return _documents(place)


def text_column(seen: Seen, labels: Sequence[str] = ()) -> str | None:
    """The column of texts, by its name and words; None if no column has texts."""
    known = {name: _mean_words(seen, name) for name in seen.of_kind("category") if name not in labels}
    usual = {name.lower().replace(" ", "_"): name for name in known}
    named = [usual[name] for name in TEXT_NAMES if name in usual]
    fitting = [name for name in known if known[name] >= LEAST_WORDS and seen.columns[name].distinct > 0.5 * seen.rows]
    for name in named:
        if name in fitting:
            return name
    return max(fitting, key=known.__getitem__) if fitting else None


def _mean_words(seen: Seen, name: str) -> float:
    cells = seen.filled(name)
    return sum(len(cell.split()) for cell in cells) / max(1, len(cells))


def _documents(place: Path) -> Look | None:
    found = files_at(place, DOCUMENTS) if place.is_dir() else None
    if found is None:
        return None
    classes = classes_of(found.files, found.base)
    known = [name for name in classes if name]
    if not known:
        return None
    lines = (*files_seen(found), classes_seen(known))
    lacking = ""
    if len(set(known)) < 2:
        lacking = f"{place}: all texts are in one class folder, {known[0]}; classification needs two or more"
    score = CERTAIN if len(set(known)) > 1 else FALLBACK
    return Look(
        "text", score, "text files in class folders", lines, {}, lacking, sections=_SECTIONS, cut=("max_length", 1)
    )
