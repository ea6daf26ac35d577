"""The parts a report is made of, whatever it is written as: sections with prose, points, tables and pictures."""

from __future__ import annotations

from dataclasses import dataclass

from fptkit.lab.reporting.drawing import Picture

ROWS = 16
"""Tables longer than this are folded, save the main one."""


@dataclass(frozen=True)
class Entry:
    """A cell of a table.

    Args:
        text: what it says.
        detail: a second, smaller line.
        link: where the text leads, relative to the report; empty for nowhere.
    """

    text: str
    detail: str = ""
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Args:
        caption: what it shows.
        header: names of the columns.
        rows: as long as the header each.
        notes: what its marks mean.
        opened: whether it is shown at once however long it is.
        names: columns that together name a row.
    """

    caption: str
    header: tuple[Entry, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()
    opened: bool = False
    names: int = 1

    @property
    def folded(self) -> bool:
        """Whether it is shut at first, for its length."""
        return not self.opened and len(self.rows) > ROWS


@dataclass(frozen=True)
class Section:
    """A part of a report; what is empty is left out.

    Args:
        key: its anchor.
        title: its heading.
        paragraphs: prose.
        points: a list.
        tables: in order.
        pictures: one chart a task, with one legend for all.
        code: text as it stands, such as a command.
    """

    key: str
    title: str
    paragraphs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    code: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing under the heading."""
        return not (self.points or self.tables or self.pictures or self.code)

    @property
    def legend(self) -> tuple[tuple[int, str], ...]:
        """The arms its pictures show."""
        return tuple(sorted({one for picture in self.pictures for one in picture.series}))


@dataclass(frozen=True)
class Report:
    """A whole report."""

    title: str
    question: str
    description: str
    status: str
    warnings: tuple[str, ...]
    sections: tuple[Section, ...] = ()


def row(*texts: str) -> tuple[Entry, ...]:
    """Entries without details or links."""
    return tuple(Entry(text) for text in texts)
