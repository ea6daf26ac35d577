"""A study beside published figures: what may be compared, what only gives orientation, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fptkit.lab.published import Published, against_rows, compare, load_published
from fptkit.lab.reporting.document import Entry, Section, Table
from fptkit.lab.studies.results import StudyResults

_CAPTIONS = (
    ("comparable", "Comparable: nothing known tells the two apart but the code. Accuracy in %; gap: ours less theirs."),
    ("orientation", "Not comparable, for orientation only. Accuracy in %; gap: ours less theirs."),
    ("ours_only", "Ours that the paper has no figure for."),
    ("theirs_only", "Theirs, on tasks of the study, that the study has no figure for."),
)


def section(results: StudyResults, name: str) -> Section:
    """The section of a report that compares with a paper.

    Args:
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
    """What the figures are and how far they can be relied on."""
    checked = {"transcription": "copied from a transcription of the paper's tables", "paper": "checked with the paper"}
    return (
        f"{published.authors} {published.year}: {published.title}. {published.source}; figures "
        f"{checked[published.checked_against]}.",
        f"Their protocol: {published.protocol_words}; learning rates: {published.learning_rate_words}.",
    )


def _table(caption: str, rows: Sequence[Mapping[str, str]]) -> Table:
    """Rows as a table; columns that are empty throughout are left out."""
    columns = [column for column in rows[0] if any(one[column] for one in rows)]
    entries = tuple(tuple(Entry(one[column]) for column in columns) for one in rows)
    return Table(caption, tuple(map(Entry, columns)), entries, names=2)
