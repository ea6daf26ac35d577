"""The papers' tables as rows of text, for the command line and the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from fptkit.lab.published.records import CHECKED, Figure, Published, PublishedTable

UNITS = {"accuracy": "accuracy, %", "steps": "training steps", "times as fast": "times as fast"}
"""Unit of each metric, for headings."""

EMPTY = "–"
"""Shown where the paper's table has no figure."""


def content_rows(published: Published) -> list[dict[str, str]]:
    """List the tables of a paper that are here, and those that are not.

    Args:
        published: the paper.

    Returns:
        Rows with the columns table, shows, figures (their number, empty if the table is not here) and read in (where
        they were read, or why the table is not here).
    """
    here = [
        {
            "table": table.place,
            "shows": table.title,
            "figures": str(len(published.of(name))),
            "read in": read_in(published.of(name)),
        }
        for name, table in published.tables.items()
    ]
    absent = [
        {"table": table.place, "shows": table.title, "figures": "", "read in": f"not here: {table.why}"}
        for table in published.absent
    ]
    return [*here, *absent]


def read_in(figures: Sequence[Figure]) -> str:
    """Where figures were read; if they differ in this, with the number of figures.

    Args:
        figures: of a table or a paper.
    """
    counts: dict[str, int] = {}
    for figure in figures:
        text = CHECKED[figure.checked_against]
        counts[text] = counts.get(text, 0) + 1
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{text} ({count})" for text, count in counts.items())


def table_rows(published: Published, table: str) -> list[dict[str, str]]:
    """Format a table as rows that map columns to text. The first column has no name and contains the row's label.

    A place that is empty in the paper contains `EMPTY`.

    Args:
        published: the paper.
        table: name of the table in the file.
    """
    figures = published.of(table)
    decimals = max(_decimals(figure) for figure in figures)
    columns = published.tables[table].columns
    rows = {row: {"": row} | dict.fromkeys(columns, EMPTY) for row in published.tables[table].rows}
    for figure in figures:
        sem = "" if figure.sem is None else f" ± {figure.sem:.{decimals}f}"
        rows[figure.row][figure.column] = f"{figure.value:,.{decimals}f}{sem}"
    return list(rows.values())


def table_heading(published: Published, table: str) -> str:
    """Heading of a table: its place in the paper, title and unit."""
    found = published.tables[table]
    return f"{found.place}: {found.title} ({UNITS[found.metric]})"


def table_notes(published: Published, table: str) -> tuple[str, ...]:
    """Notes for readers of a table: on the table, then on some of its figures."""
    found = published.tables[table]
    notes = [found.note] if found.note else []
    if found.source:
        notes.append(f"source: {found.source}")
    told: dict[str, list[tuple[str, str]]] = {}
    for row in found.rows:
        figures = [figure for figure in published.of(table) if figure.row == row]
        sizes = [figure.blocks for figure in figures]
        usual = max(sizes, key=sizes.count)
        for figure in figures:
            if figure.blocks is not None and figure.blocks != usual:
                told.setdefault(f"{figure.blocks} blocks, elsewhere {usual}", []).append((row, figure.column))
    for figure in published.of(table):
        general = (*published.notes, *(published.tasks[figure.task].facts.notes if figure.task else ()))
        for text in (*figure.not_comparable, *(note for note in figure.notes if note not in general)):
            told.setdefault(text, []).append((figure.row, figure.column))
    notes += [f"{_places(places, found)}: {text}" for text, places in told.items()]
    return tuple(notes)


def _places(places: list[tuple[str, str]], table: PublishedTable) -> str:
    """Describe positions in a table: a complete row or column by its label alone."""
    by_row: dict[str, list[str]] = {}
    for row, column in places:
        by_row.setdefault(row, []).append(column)
    columns = next(iter(by_row.values()))
    if len(by_row) == len(table.rows) > 1 and all(found == columns for found in by_row.values()):
        return ", ".join(columns)
    return "; ".join(
        row if len(found) == len(table.columns) > 1 else f"{row} ({', '.join(found)})" for row, found in by_row.items()
    )


def _decimals(figure: Figure) -> int:
    """Number of decimals a figure needs."""
    texts = (f"{number:.6f}".rstrip("0") for number in (figure.value, figure.sem or 0.0))
    return max(len(text.partition(".")[2]) for text in texts)
