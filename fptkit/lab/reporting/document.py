"""The structure of a report in any output format: sections with paragraphs, lists, tables and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fptkit.lab.reporting.drawing import Picture

ROWS = 16
"""Tables with more rows than this are collapsed, except the main one."""

SENTENCE = 36
"""Texts longer than this are sentences: they wrap."""


@dataclass(frozen=True)
class Entry:
    """A cell of a table.

    Args:
        text: its text.
        detail: smaller lines below it, separated by line breaks.
        link: target of a link on the text, relative to the report; empty for no link.
    """

    text: str
    detail: str = ""
    link: str = ""

    @property
    def details(self) -> list[str]:
        """The smaller lines."""
        return self.detail.splitlines()

    @property
    def inline(self) -> str:
        """The smaller lines as one."""
        return "; ".join(self.details).replace(",; ", ", ")

    @property
    def prose(self) -> bool:
        """Whether one of its lines is a sentence, which wraps."""
        return max(len(line) for line in (self.text, *self.details)) > SENTENCE


@dataclass(frozen=True)
class Table:
    """A table; its first columns name the rows.

    Args:
        caption: what it shows.
        header: names of the columns.
        rows: each as long as the header.
        notes: below the table: its footnotes, and what its figures are to be compared with.
        opened: never collapse it, however long it is.
        names: number of leading columns that name a row.
        foot: rows that the others are compared with, such as chance.
        stacked: narrow screens show the cells of a row below each other, whatever their length.
    """

    caption: str
    header: tuple[Entry, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()
    opened: bool = False
    names: int = 1
    foot: tuple[tuple[Entry, ...], ...] = ()
    stacked: bool = False

    @cached_property  # a template asks for each cell
    def prose(self) -> bool:
        """Whether it holds sentences, which narrow screens show below each other instead of in columns."""
        return self.stacked or any(entry.prose for entries in self.rows for entry in entries)

    @property
    def folded(self) -> bool:
        """Whether it is collapsed at first, because of its length."""
        return not self.opened and len(self.rows) > ROWS


@dataclass(frozen=True)
class Point:
    """An item of a list.

    Args:
        text: its text.
        below: items of a list within it.
    """

    text: str
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exhibit:
    """An example of the data, shown in the form that it has.

    Args:
        title: what it is called.
        lines: what is said about it.
        image: a picture as a data URI; empty for none.
        picture: a chart; None for none.
        text: a text, which wraps; empty for none.
        aligned: lines of letters below each other, which do not wrap; empty for none.
        cells: a row of a table, pairs (column, cell).
    """

    title: str
    lines: tuple[str, ...]
    image: str = ""
    picture: Picture | None = None
    text: str = ""
    aligned: str = ""
    cells: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Args:
        key: anchor, unique within the report.
        title: heading.
        paragraphs: text before everything else.
        points: items of a list.
        notes: below the list: its footnotes.
        tables: in order.
        pictures: charts, one for each task, with one legend for all.
        code: preformatted text, such as a command.
        exhibits: examples of the data.
    """

    key: str
    title: str
    paragraphs: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    code: str = ""
    exhibits: tuple[Exhibit, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether it has nothing but a heading and paragraphs."""
        return not (self.points or self.tables or self.pictures or self.code or self.exhibits)

    @property
    def legend(self) -> tuple[tuple[int, str], ...]:
        """Index and name of the arms in its pictures."""
        return tuple(sorted({one for picture in self.pictures for one in picture.series}))


@dataclass(frozen=True)
class Report:
    """A complete report.

    Args:
        title: heading.
        question: the question of the study; may be empty.
        description: what the study is; may be empty.
        status: size of the study and how much of it is complete.
        warnings: shown before everything else but the banner.
        sections: in order.
        banner: what makes all figures meaningless; shown first, empty for none.
        deviations: what differs from the locked plan, numbered in this order, before the answer.
    """

    title: str
    question: str
    description: str
    status: str
    warnings: tuple[str, ...]
    sections: tuple[Section, ...] = ()
    banner: str = ""
    deviations: tuple[str, ...] = ()


def row(*texts: str) -> tuple[Entry, ...]:
    """Entries without details or links."""
    return tuple(Entry(text) for text in texts)
