"""A study compared with published figures: which pairs are comparable, which are only for orientation, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fptkit.lab.published import Published, against_rows, compare, load_published, read_in
from fptkit.lab.reporting.document import Entry, Point, Section, Table
from fptkit.lab.reporting.footnotes import Footnotes
from fptkit.lab.reporting.levels import figures_notes, level_note
from fptkit.lab.studies.results import StudyResults

_CAPTIONS = (
    ("comparable", "Comparable: no known difference except the code. Accuracy in %; gap: ours minus theirs."),
    ("orientation", "Not comparable, for orientation only. Accuracy in %; gap: ours minus theirs."),
    ("ours_only", "Figures of ours without a counterpart in the paper."),
    ("theirs_only", "Figures of the paper, on tasks of the study, without a counterpart in the study."),
)

_TWO_SIDED = 2
"""The first tables have figures of both."""


def section(results: StudyResults, name: str, *, one_sided: bool = True) -> Section:
    """The section of a report that compares with a paper.

    Args:
        results: of the study.
        name: of the paper, see `fptkit.lab.published.published_names`.
        one_sided: also list figures of ours and of the paper that have no counterpart.

    Raises:
        UnknownNameError: there is no such paper.
    """
    published = load_published(name)
    rows = against_rows(compare(results, published))
    shown = _CAPTIONS if one_sided else _CAPTIONS[:_TWO_SIDED]
    tables = [_table(results, caption, getattr(rows, kind)) for kind, caption in shown if getattr(rows, kind)]
    points = [] if rows.comparable else [Point("No figure of this study is comparable with one of the paper.")]
    return Section(f"against-{name}", f"Against {name}", _about(published), tuple(points), tables=tuple(tables))


def _about(published: Published) -> tuple[str, ...]:
    """Where the figures are from, and the protocol behind them."""
    return (
        f"{published.authors} {published.year}: {published.title}. {published.source}; figures read in "
        f"{read_in(published.figures)}.",
        f"Their protocol: {published.protocol_words}; learning rates: {published.learning_rate_words}.",
    )


def _table(results: StudyResults, caption: str, rows: Sequence[Mapping[str, str]]) -> Table:
    """Rows as a table without its empty columns; reasons and notes of several rows are said once, below it."""
    columns = [column for column in rows[0] if any(one[column] for one in rows)]
    said = [clause for one in rows for column in _CLAUSES for clause in _clauses(one.get(column, ""))]
    noted = Footnotes(said, least=2)
    entries = tuple(
        tuple(Entry(_marked(one[column], noted) if column in _CLAUSES else one[column]) for column in columns)
        for one in rows
    )
    tasks = {one["task"] for one in rows}
    cells = [cell for cell in results.cells if cell.task in tasks]
    levels = figures_notes(results, cells) if "ours" in columns else level_note(cells)
    return Table(caption, tuple(map(Entry, columns)), entries, (*noted.notes, *levels), names=2, stacked=True)


_CLAUSES = ("why", "notes")
"""Columns that hold several texts."""


def _clauses(text: str) -> list[str]:
    return text.split("; ") if text else []


def _marked(text: str, noted: Footnotes) -> str:
    """The subjects and numbers of what is said below the table, then what belongs to this row alone."""
    clauses = _clauses(text)
    marked = ", ".join(f"{_subject(clause)}{mark}" for clause in clauses if (mark := noted.mark(clause)))
    return "; ".join(filter(None, [marked, *map(noted.beside, clauses)]))


def _subject(clause: str) -> str:
    """What a reason is about, such as ``size``, if it says so before a colon."""
    subject, colon, _ = clause.partition(": ")
    return subject if colon and " " not in subject else ""
