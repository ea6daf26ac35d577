"""A study compared with published figures: which pairs are comparable, which are only for orientation, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fptkit.lab.published import Published, against_rows, compare, load_published, read_in
from fptkit.lab.reporting.document import Entry, Section, Table
from fptkit.lab.studies.results import StudyResults

_CAPTIONS = (
    ("comparable", "Comparable: no known difference except the code. Accuracy in %; gap: ours minus theirs."),
    ("orientation", "Not comparable, for orientation only. Accuracy in %; gap: ours minus theirs."),
    ("ours_only", "Figures of ours without a counterpart in the paper."),
    ("theirs_only", "Figures of the paper, on tasks of the study, without a counterpart in the study."),
)


def section(results: StudyResults, name: str) -> Section:
    """The section of a report that compares with a paper.

    Args:
        results: of the study.
        name: of the paper, see `fptkit.lab.published.published_names`.

    Raises:
        UnknownNameError: there is no such paper.
    """
    published = load_published(name)
    rows = against_rows(compare(results, published))
    tables = [_table(caption, getattr(rows, kind)) for kind, caption in _CAPTIONS if getattr(rows, kind)]
    points = [] if rows.comparable else ["No figure of this study is comparable with one of the paper."]
    return Section(f"against-{name}", f"Against {name}", _about(published), tuple(points), tuple(tables))


def _about(published: Published) -> tuple[str, ...]:
    """Where the figures are from, and the protocol behind them."""
    return (
        f"{published.authors} {published.year}: {published.title}. {published.source}; figures read in "
        f"{read_in(published.figures)}.",
        f"Their protocol: {published.protocol_words}; learning rates: {published.learning_rate_words}.",
    )


def _table(caption: str, rows: Sequence[Mapping[str, str]]) -> Table:
    """Rows as a table without its empty columns."""
    columns = [column for column in rows[0] if any(one[column] for one in rows)]
    entries = tuple(tuple(Entry(one[column]) for column in columns) for one in rows)
    return Table(caption, tuple(map(Entry, columns)), entries, names=2)
