"""Sequences from FASTA files, tables and JSON records, and their labels. Does not import torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fptkit.errors import DataError, SourceError, UsageError
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.reading.json_lines import read_json_records
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.numbers import short
from fptkit.tasks.reading.paths import SourceFiles, passed_over_notes, places
from fptkit.tasks.reading.text import file_type, lines_of
from fptkit.tasks.reading.usual import find_first
from fptkit.tasks.sequences.options import ENDINGS, FASTA, RECORDS, TABLES, SequenceOptions
from fptkit.tasks.table.reader import read_table

SEQUENCE_NAMES = (
    *("sequence", "seq", "sequences", "smiles", "primary", "primary_sequence", "protein_sequence", "dna_sequence"),
    *("protein", "dna", "rna", "peptide", "canonical_smiles", "text"),
)
"""Usual names of the column of sequences, best first."""

LAST = "label"
"""Field of a FASTA header whose last part is the label."""

_FIELD = re.compile(r"(?:^|[\s|;\[])([A-Za-z_][\w.-]*)=(.*?)(?=[\s|;\]]+[A-Za-z_][\w.-]*=|[|;\]]|$)")


def find_sequences(source: Mapping[str, Sequence[str]], *, own: bool = True, labels: str | None = None) -> SourceFiles:
    """The files of a source: FASTA files, or if there are none, tables and JSON records.

    Args:
        source: entries by split.
        own: whether to look for own splits.
        labels: entry of the file with the labels, which is not read as sequences.
    """
    found = find_first(source, (FASTA, (*TABLES, *RECORDS)), own=own)
    if labels is None:
        return found
    aside = {place.resolve() for place in places(labels)}
    splits = {name: tuple(file for file in some if file.resolve() not in aside) for name, some in found.splits.items()}
    passed_over = tuple(file for file in found.passed_over if file.resolve() not in aside)
    return replace(
        found,
        splits={name: some for name, some in splits.items() if some},
        passed_over=passed_over,
        notes=passed_over_notes(passed_over),
    )


def files(options: SequenceOptions, entry: str) -> Iterable[Path]:
    """The files of an entry of ``source`` and the labels, for the identity of the data; see ``TaskSpec.files``."""
    own = options.split.own and options.split.column is None
    found = find_sequences({"all": (entry,)}, own=own, labels=options.labels).files
    return (*found, *(places(options.labels) if options.labels else ()))


def read_sequences(path: Path, *, header: str | None = None, delimiter: str | None = None) -> TextTable:
    """Read a file of sequences as a table; the ending says what it is.

    A FASTA file has the columns ``sequence``, ``id`` (the first word of the header), and the fields of the headers.

    Args:
        path: the file, packed or not.
        header: regular expression for the headers of FASTA; None for fields ``KEY=VALUE`` or the last part.
        delimiter: character between the cells of a table; None to find it.

    Raises:
        DataError: it is not a file of this format.
    """
    ending = file_type(path)
    if ending in FASTA:
        return _read_fasta(path, header)
    if ending in RECORDS:
        return read_json_records(path)
    if ending in TABLES or ending == ".txt":
        return read_table(path, delimiter)
    raise DataError(f"{path}: a file with this ending is not read; expected {', '.join(ENDINGS)}")


def fasta_records(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, header and sequence of each record of a FASTA file. White space in sequences is left out.

    Raises:
        DataError: there is text before the first header or before a '>', or a record has no sequence.
    """
    begin, header = 0, ""
    parts: list[str] = []
    for number, line in lines_of(path):
        if line.startswith(">"):
            if begin:
                yield begin, header, _joined(path, begin, header, parts)
            begin, header, parts = number, line[1:].strip(), []
        elif ">" in line and line.lstrip("\ufeff \t").startswith(">"):
            raise DataError(
                f"{path}:{number}: white space or a byte-order mark before '>'; remove it, or join the files without it"
            )
        elif not begin:
            raise DataError(f"{path}:{number}: expected a header that begins with '>', got {short(line)}; is it FASTA?")
        else:
            parts.append(line)
    if begin:
        yield begin, header, _joined(path, begin, header, parts)


def _joined(path: Path, line: int, header: str, parts: Sequence[str]) -> str:
    sequence = "".join("".join(parts).split())
    if not sequence:
        raise DataError(f"{path}:{line}: record {short(header)} has no sequence; remove it, or add its lines")
    return sequence


def _read_fasta(path: Path, pattern: str | None) -> TextTable:
    records = list(fasta_records(path))
    if not records:
        raise DataError(f"{path}: no records; expected headers that begin with '>', each with lines of sequence")
    lines = [line for line, _, _ in records]
    headers = [header for _, header, _ in records]
    columns = {
        "id": [header.split(maxsplit=1)[0] if header else "" for header in headers],
        **(_matched(path, pattern, headers, lines) if pattern else _fields(headers)),
        "sequence": [sequence for _, _, sequence in records],
    }
    return TextTable(str(path), columns, lines)


def _matched(path: Path, pattern: str, headers: Sequence[str], lines: Sequence[int]) -> dict[str, list[str]]:
    """The groups of a regular expression; nothing if no header matches, as in unlabelled files."""
    found = [re.search(pattern, header) for header in headers]
    if not any(found):
        return {}
    for match, header, line in zip(found, headers, lines, strict=True):
        if match is None:
            raise DataError(f"{path}:{line}: header {short(header)} does not match the option header, '{pattern}'")
    matches = [match for match in found if match is not None]
    groups: Mapping[str, int] = matches[0].re.groupindex or {LAST: 1}
    return {name: [(match[group] or "").strip() for match in matches] for name, group in groups.items()}


def _fields(headers: Sequence[str]) -> dict[str, list[str]]:
    """Fields ``KEY=VALUE``, else the last part after ``|`` or white space, if every header has two parts."""
    found = [{key: value.strip() for key, value in _FIELD.findall(header)} for header in headers]
    names = sorted({name for fields in found for name in fields} - {"id", "sequence"})
    columns = {name: [fields.get(name, "") for fields in found] for name in names}
    if not columns:
        for parts in ([header.split("|") for header in headers], [header.split() for header in headers]):
            if all(len(some) > 1 and some[-1].strip() for some in parts):
                return {LAST: [some[-1].strip() for some in parts]}
    return columns


def with_labels(table: TextTable, labels: TextTable | None, column: str, used: set[int]) -> TextTable:
    """Add the columns of a table of labels to sequences, by identifier.

    Args:
        table: the sequences.
        labels: the labels; None changes nothing. Of a FASTA file, the sequences are the labels.
        column: column of the identifiers in both.
        used: the rows of ``labels`` that were used are added.

    Raises:
        DataError: an identifier occurs twice in the labels, or a sequence has none.
    """
    if labels is None:
        return table
    for each in (table, labels):
        each.need(column, "task.id")
    rows: dict[str, int] = {}
    for row, name in enumerate(labels.columns[column]):
        if name in rows:
            raise DataError(f"{labels.where(row)}: the identifier '{name}' occurs twice; remove one")
        rows[name] = row
    chosen = []
    for row, name in enumerate(table.columns[column]):
        if name not in rows:
            raise DataError(
                f"{table.where(row)}: {labels.name} has no label for '{name}'; it has {shown(list(rows))}. Add it, or "
                "name the column of identifiers by the option id"
            )
        chosen.append(rows[name])
    used.update(chosen)
    added = {name: [cells[row] for row in chosen] for name, cells in labels.columns.items() if name != column}
    return replace(table, columns={**table.columns, **added})


def label_table(entry: str, delimiter: str | None) -> TextTable:
    """The table of the option ``labels``; of a FASTA file, its sequences are the column ``label``.

    Args:
        entry: ``path:FILE``.
        delimiter: character between the cells of a table; None to find it.

    Raises:
        UsageError: there is no such file.
        DataError: it cannot be read.
    """
    try:
        found = [read_sequences(path, delimiter=delimiter) for path in places(entry)]
    except SourceError as err:
        raise UsageError(f"task.labels: there is no file {entry.removeprefix('path:')}; check the path") from err
    if len(found) != 1:
        raise DataError(f"task.labels: {entry} names {len(found)} files; name one")
    table = found[0]
    if file_type(Path(table.name)) in FASTA:
        return replace(table, columns={"id": table.columns["id"], LAST: table.columns["sequence"]})
    return table
