"""A study's results on the terminal: warnings on stderr, tables and verdicts on stdout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from fptkit.lab.reporting import contents, tables
from fptkit.lab.reporting.document import Entry, Section, Table
from fptkit.lab.studies.results import StudyResults

_NO_WRAP = 10_000
"""Columns in a pipe: a row stays one line, for grep."""

_GAP = 2
"""Columns between two columns of a table."""


def print_results(
    results: StudyResults,
    *,
    against: Sequence[str] = (),
    console: Console | None = None,
    error_console: Console | None = None,
) -> None:
    """Print the main table, the pretraining lift, the verdicts and what is missing.

    Args:
        against: published results to compare with, see `fptkit.lab.published`.
        console, error_console: stdout and stderr where none are given.
    """
    out = console or Console(markup=False, highlight=False)
    err = error_console or Console(markup=False, highlight=False, stderr=True)
    for text in results.warnings:
        err.print(Text.assemble(("warning: ", "yellow"), text), soft_wrap=not err.is_terminal)
    _heading(out, f"{results.name}{f', profile {results.profile}' if results.profile else ''}")
    if results.question:
        _line(out, results.question)
    _line(out, contents.status_of(results))
    for table in tables.main_tables(results):
        print_table(table, out)
    _section(contents.answer(results), out)
    _section(contents.missing(results), out)
    for name in against:
        from fptkit.lab.reporting.against import section

        _section(section(results, name), out)


def _heading(console: Console, text: str) -> None:
    console.print(Text(text, style="bold"), soft_wrap=not console.is_terminal)


def _line(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=not console.is_terminal)


def _point(console: Console, text: str) -> None:
    """A point of a list, its further lines indented."""
    if not console.is_terminal:
        console.print(Text(f"- {text}"), soft_wrap=True)
        return
    for number, line in enumerate(Text(text).wrap(console, console.width - 2)):
        console.print(Text("  " if number else "- ") + line)


def _section(section: Section, console: Console) -> None:
    if section.empty:
        return
    console.print()
    _heading(console, section.title)
    if section.key != "answer":  # what its figures mean is for the written report
        for text in section.paragraphs:
            _line(console, text)
    for text in section.points:
        _point(console, text)
    for table in section.tables:
        print_table(table, console)


def print_table(table: Table, console: Console) -> None:
    """Print a table; one wider than the terminal is cut into several side by side, each with the rows' names."""
    console.print()
    _line(console, table.caption)
    for number, columns in enumerate(_pages(table, console.width if console.is_terminal else _NO_WRAP)):
        if number:
            console.print()
        shown = _drawn(table, columns, beneath=console.is_terminal)
        if console.is_terminal:
            console.print(shown)
            continue
        wide = Console(width=_NO_WRAP, markup=False, highlight=False, no_color=True)
        with wide.capture() as captured:
            wide.print(shown)
        for text in captured.get().splitlines():
            console.print(Text(text.rstrip()), soft_wrap=True)
    for note in table.notes:
        _line(console, note)


def _drawn(table: Table, columns: Sequence[int], *, beneath: bool) -> RichTable:
    """The table; details stand beneath their figure, or behind it in brackets."""
    drawn = RichTable(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold", show_edge=False)
    for column in columns:
        drawn.add_column(_text(table.header[column], beneath), overflow="fold", no_wrap=_width(table, column) <= 24)
    for entries in table.rows:
        drawn.add_row(*(_text(entries[column], beneath) for column in columns))
    return drawn


def _text(entry: Entry, beneath: bool) -> Text:
    if not entry.detail:
        return Text(entry.text)
    return Text.assemble(entry.text, (f"\n{entry.detail}" if beneath else f" ({entry.detail})", "dim"))


def _width(table: Table, column: int) -> int:
    """Of a column on a terminal, where details stand beneath."""
    texts = (text for entries in (table.header, *table.rows) for text in (entries[column].text, entries[column].detail))
    return max(map(cell_len, texts))


def _pages(table: Table, width: int) -> Iterator[list[int]]:
    """Columns that fit beside those that name the rows, group after group; texts that may wrap count as far as they
    must."""
    names = list(range(table.names))
    room = width // (len(names) + 1)
    page, used = list(names), sum(min(_width(table, column), room) + _GAP for column in names)
    start = used
    for column in range(table.names, len(table.header)):
        needed = min(_width(table, column), 24) + _GAP
        if len(page) > len(names) and used + needed > width:
            yield page
            page, used = list(names), start
        page.append(column)
        used += needed
    yield page
