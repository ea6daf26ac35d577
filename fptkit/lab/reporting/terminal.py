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
"""Width if stdout is no terminal: each row stays on one line, for grep."""

_GAP = 2
"""Spaces between two columns of a table."""


def print_results(
    results: StudyResults,
    *,
    against: Sequence[str] = (),
    console: Console | None = None,
    error_console: Console | None = None,
) -> None:
    """Print the main tables, the verdicts and the missing runs; warnings go to stderr.

    Args:
        results: of the study.
        against: names of papers to compare with, see `fptkit.lab.published`.
        console: where to print; stdout if None.
        error_console: where to print warnings; stderr if None.

    Raises:
        UnknownNameError: there is no such paper.
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
    """Print an item of a list with a hanging indent."""
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
    if section.key != "answer":  # the explanation of its figures is only in the written report
        for text in section.paragraphs:
            _line(console, text)
    for text in section.points:
        _point(console, text)
    for table in section.tables:
        print_table(table, console)


def print_table(table: Table, console: Console) -> None:
    """Print a table; if it is wider than the terminal, split it into several that each repeat the names of the rows."""
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
    """The table; details are below their figure, or after it in brackets."""
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
    """Width of a column on a terminal, with details below their figures."""
    texts = (text for entries in (table.header, *table.rows) for text in (entries[column].text, entries[column].detail))
    return max(map(cell_len, texts))


def _pages(table: Table, width: int) -> Iterator[list[int]]:
    """Groups of columns that fit into the width together with those that name the rows. A column wider than 24 may wrap
    and counts as 24."""
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
