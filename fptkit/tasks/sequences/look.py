"""A first look at sequences of symbols: the options of the task ``sequences``."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fptkit.errors import FptkitError
from fptkit.tasks.reading.columns import Column
from fptkit.tasks.reading.json_lines import LIST
from fptkit.tasks.reading.look import CERTAIN, LIKELY, Choice, Look, entry_of, files_at, files_seen, range_seen
from fptkit.tasks.reading.look_tables import Guess, Seen, columns_seen, guess_target, reading_options, see_table
from fptkit.tasks.reading.text import file_type
from fptkit.tasks.sequences.alphabet import LETTERS
from fptkit.tasks.sequences.options import FASTA, RECORDS, TABLES
from fptkit.tasks.sequences.reader import LAST, SEQUENCE_NAMES, read_sequences

_MOST_SYMBOLS, _LEAST_LENGTH, _LEAST_TAGGED, _SAMPLE = 64, 4, 8, 200
_SMILES = re.compile(r"[A-Za-z0-9@+\-\[\]\(\)=#$:/\\.%*~]+")


def look(place: Path, labels: Sequence[str] = ()) -> Look | None:
    """Look at FASTA files, or at a table or JSON records with a column of sequences.

    Args:
        place: a file or folder.
        labels: columns or fields to predict, if the user names them.

    Raises:
        DataError: the first file cannot be read.
    """
    fasta = files_at(place, FASTA)
    found = fasta or files_at(place, (*TABLES, *RECORDS))
    if found is None:
        return None
    path = found.files[0]
    seen = _fasta(path) if fasta else see_table(path)
    column = "sequence" if fasta else _sequence_column(seen, labels)
    if column is None:
        return None
    table = _labels_beside(path, seen) if fasta and len(seen.columns) == 2 else None
    known = see_table(table) if table else seen
    tags = (
        [] if table or labels else [name for name in seen.columns if name != column and _are_tags(seen, column, name)]
    )
    guess = guess_target(known, labels or tags[:1], ("sequence", "id") if fasta else (column,))
    cells = seen.filled(column)
    alphabet = alphabet_of(cells)
    symbols = len({symbol for cell in cells for symbol in cell})
    options = {} if fasta else {"sequence": Choice(column), **reading_options(seen)}
    if guess.choice and guess.names != (LAST,):
        options["target"] = guess.choice
    if table:
        options["labels"] = Choice(entry_of(table), "the labels, by identifier")
    if alphabet != "read":
        options["alphabet"] = Choice(alphabet, "or read: the characters that occur")
    lengths = [cell.count(LIST) + 1 if LIST in cell else len(cell) for cell in cells]
    lines = (
        *files_seen(found),
        *(() if fasta else columns_seen(seen)),
        f"sequences: {len(cells):,}, {range_seen(lengths, 'symbols')}, {symbols} different characters: {alphabet}",
        *([f"a label for each symbol: '{tags[0]}'"] if tags else guess.seen),
    )
    why = "FASTA" if fasta else f"sequences in column '{column}'"
    return Look(
        "sequences",
        CERTAIN if fasta else LIKELY + 0.1,
        why,
        lines,
        options,
        _lacking(path, guess, bool(fasta)),
        sections={} if tags else {"head": {"readout": "mean"}},
        cut=("max_length", 1),
    )


def alphabet_of(cells: Sequence[str]) -> str:
    """The alphabet that all sequences fit: ``dna``, ``rna``, ``protein``, ``smiles``, or ``read`` if none does."""
    letters = Counter("".join(cells).upper())
    count = sum(letters.values())
    for name in ("dna", "rna"):
        common = sum(letters[letter] for letter in ("ACGTN" if name == "dna" else "ACGUN"))
        if set(letters) <= set(LETTERS[name]) and common >= 0.9 * count:
            return name
    if set(letters) <= set(LETTERS["protein"]) and sum(letter in letters for letter in LETTERS["protein"][:20]) >= 15:
        return "protein"
    signs = sum(any(sign in cell for sign in "=()#") for cell in cells)
    smiles = all(_SMILES.fullmatch(cell) for cell in cells) and 2 * signs >= len(cells)
    return "smiles" if smiles and letters["C"] else "read"


def _fasta(path: Path) -> Seen:
    """A FASTA file as a table; its fields are words."""
    table = read_sequences(path)
    columns = {name: Column(name, "category", list(cells)) for name, cells in table.columns.items()}
    return Seen(table, columns, {})


def _labels_beside(path: Path, seen: Seen) -> Path | None:
    """A table beside a FASTA file whose column ``id`` has its identifiers; None if there is none."""
    wanted = set(seen.columns["id"].cells)
    for child in sorted(path.parent.iterdir()):
        if child.is_file() and file_type(child) in TABLES:
            with contextlib.suppress(FptkitError):
                cells = see_table(child).table.columns.get("id", ())
                if wanted <= set(cells):
                    return child
    return None


def _sequence_column(seen: Seen, labels: Sequence[str]) -> str | None:
    """The column of sequences: by its name and cells, or by its cells alone if they are of a known alphabet."""
    names = [name for name in seen.of_kind("category") if name not in labels and _fits(seen.filled(name))]
    known = {name.lower().replace(" ", "_"): name for name in names}
    for usual in SEQUENCE_NAMES:
        if usual in known:
            return known[usual]
    for name in names:
        cells = seen.filled(name)
        if (
            alphabet_of(cells) != "read"
            and sum(map(len, cells)) >= 8 * len(cells)
            and len(set(cells)) > 0.5 * len(cells)
        ):
            return name
    return None


def _fits(cells: Sequence[str]) -> bool:
    """Whether cells may be sequences: without spaces, or lists, of few different symbols."""
    if any(LIST in cell for cell in cells):
        return sum(cell.count(LIST) + 1 for cell in cells) >= _LEAST_LENGTH * len(cells)
    some = cells[:2000]
    return (
        not any(" " in cell.strip() for cell in some)
        and len(set("".join(some))) <= _MOST_SYMBOLS
        and sum(map(len, some)) >= _LEAST_LENGTH * len(some)
    )


def _are_tags(seen: Seen, column: str, name: str) -> bool:
    """Whether each label is as long as its sequence, as in tagging."""
    texts, labels = seen.columns[column].cells[:_SAMPLE], seen.columns[name].cells[:_SAMPLE]
    if any(LIST in label for label in labels):
        counts = [text.count(LIST) + 1 if LIST in text else len(text) for text in texts]
        return counts == [label.count(LIST) + 1 for label in labels]
    # Copies, such as a column in lower case, are as long, but have as many symbols.
    same = all(len(label) == len(text) >= _LEAST_TAGGED for text, label in zip(texts, labels, strict=True))
    return same and any(text.lower() != label.lower() for text, label in zip(texts, labels, strict=True))


def _lacking(path: Path, guess: Guess, fasta: bool) -> str:
    if not guess.lacking or not fasta:
        return guess.lacking
    return (
        f"{path}: no labels in the headers. Write them as the last part of each header (>id|label or >id label=x), or "
        "name a table of them by the option labels, for the recipe's task: labels: path:FILE"
    )
