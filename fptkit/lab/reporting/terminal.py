"""A study's results on the terminal: warnings on stderr, tables and verdicts on stdout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from textwrap import wrap

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from fptkit.engine.terminal import console as make_console
from fptkit.lab.reporting import contents, tables
from fptkit.lab.reporting.answers import answer
from fptkit.lab.reporting.arms import arms
from fptkit.lab.reporting.compose import banner_of
from fptkit.lab.reporting.document import Entry, Section, Table
from fptkit.lab.reporting.wording import together
from fptkit.lab.studies.results import StudyResults

_NO_WRAP = 10_000
"""Width if stdout is no terminal: each row stays on one line, for grep."""

_GAP = 2
"""Spaces between two columns of a table."""

_DETAIL, _NAME_DETAIL = 16, 28
"""Width of the details of a table, below its figures and below the names of its rows."""

_BOUND = "\ue000"
"""Instead of a space where a line must not break, of the same width; rich breaks at no-break spaces too."""


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
    out = console or make_console()
    err = error_console or make_console(stderr=True)
    for text in results.warnings:
        err.print(Text.assemble(("warning: ", "yellow"), text), soft_wrap=not err.is_terminal)
    _heading(out, f"{results.name}{f', profile {results.profile}' if results.profile else ''}")
    if text := banner_of(results):
        out.print(Text(text, style="bold yellow"), soft_wrap=not out.is_terminal)
    if results.question:
        _line(out, results.question)
    _line(out, contents.status_of(results))
    _deviations(results.deviations, out)
    print_section(arms(results), out)
    print_section(answer(results), out)
    print_section(Section("results", "Results", tables=tables.main_tables(results)), out)
    print_section(contents.missing(results), out)
    for name in against:
        from fptkit.lab.reporting.against import section

        print_section(section(results, name), out)


def _heading(console: Console, text: str) -> None:
    console.print(Text(text, style="bold"), soft_wrap=not console.is_terminal)


def _deviations(deviations: Sequence[str], console: Console) -> None:
    if deviations:
        console.print()
        _heading(console, "Deviations from the locked plan")
        for number, text in enumerate(deviations, 1):
            _point(console, text, f"{number}. ")


def _line(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=not console.is_terminal)


def _point(console: Console, text: str, bullet: str = "- ") -> None:
    """Print an item of a list with a hanging indent; a line never breaks within a number and its unit."""
    if not console.is_terminal:
        console.print(Text(f"{bullet}{text}"), soft_wrap=True)
        return
    room = console.width - len(bullet)
    for number, line in enumerate(Text(together(text, _BOUND)).wrap(console, room)):
        console.print(Text(" " * len(bullet) if number else bullet) + Text(line.plain.replace(_BOUND, " ")))


def print_section(section: Section, console: Console) -> None:
    """Print a section of a report without its pictures; an empty one prints nothing."""
    if section.empty:
        return
    console.print()
    _heading(console, section.title)
    # What is compared; how its figures are made is only in the written report.
    for text in section.paragraphs[:1] if section.key == "answer" else section.paragraphs:
        _line(console, text)
    for point in section.points:
        _point(console, point.text)
        for text in point.below:
            _point(console, text, "  - ")
    for text in section.notes:
        _line(console, text)
    for table in section.tables:
        print_table(table, console)


def print_table(table: Table, console: Console) -> None:
    """Print a table; if it is wider than the terminal, split it into several that each repeat the names of the rows."""
    console.print()
    _line(console, table.caption)
    for number, columns in enumerate(_pages(table, console.width if console.is_terminal else _NO_WRAP)):
        if number:
            console.print()
        shown = _drawn(_names_alone(table) if number else table, columns, beneath=console.is_terminal)
        if console.is_terminal:
            console.print(shown)
            continue
        wide = make_console(width=_NO_WRAP, no_color=True)
        with wide.capture() as captured:
            wide.print(shown)
        for text in captured.get().splitlines():
            console.print(Text(text.rstrip()), soft_wrap=True)
    for note in table.notes:
        _line(console, note)


def _names_alone(table: Table) -> Table:
    """The table without the details of its names, which were printed once."""
    names = table.names
    rows = ((*(Entry(name.text) for name in entries[:names]), *entries[names:]) for entries in table.rows)
    return replace(table, rows=tuple(rows))


def _drawn(table: Table, columns: Sequence[int], *, beneath: bool) -> RichTable:
    """The table; details are below their figure, or after it in brackets."""
    drawn = RichTable(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold", show_edge=False)
    for column in columns:
        header = _text(table, table.header, column, beneath)
        drawn.add_column(header, overflow="fold", no_wrap=_width(table, column) <= 24)
    for entries in table.rows:
        drawn.add_row(*(_text(table, entries, column, beneath) for column in columns))
    for entries in table.foot:
        drawn.add_row(*(_text(table, entries, column, beneath) for column in columns), style="dim")
    return drawn


def _text(table: Table, entries: Sequence[Entry], column: int, beneath: bool) -> Text:
    entry = entries[column]
    if not entry.detail:
        return Text(entry.text)
    below = "".join(f"\n{line}" for line in _detail_lines(table, entry, column))
    return Text.assemble(entry.text, (below if beneath else f" ({entry.inline})", "dim"))


def _detail_lines(table: Table, entry: Entry, column: int) -> list[str]:
    """Details wrapped, so that they do not decide the width of their column."""
    width = _NAME_DETAIL if column < table.names else _DETAIL
    lines = [part for line in entry.details for part in wrap(together(line, _BOUND), width, break_on_hyphens=False)]
    return [line.replace(_BOUND, " ") for line in lines]


def _width(table: Table, column: int) -> int:
    """Width of a column on a terminal, with details below their figures."""
    entries = [entries[column] for entries in (table.header, *table.rows, *table.foot)]
    return max(cell_len(line) for entry in entries for line in (entry.text, *_detail_lines(table, entry, column)))


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
