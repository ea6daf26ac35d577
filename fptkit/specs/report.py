"""What a plugin adds to a report: a section with text, a list and tables, of plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fptkit.errors import PluginError
from fptkit.specs.base import all_are


def _texts(values: Any, what: str) -> tuple[str, ...]:
    """A list or tuple of text, as a tuple.

    Raises:
        PluginError: it is something else.
    """
    if not isinstance(values, list | tuple) or not all_are(str, values):
        raise PluginError(f"{what} is {values!r:.80}, expected a list of text")
    return tuple(values)


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """A table of a `ReportSection`.

    Args:
        columns: names of the columns; the first column names the rows.
        rows: each a list of text, as long as ``columns``; format numbers as readers should see them.
        caption: what it shows, one sentence.

    Raises:
        PluginError: a value is not text, or a row is of another length.

    Example:
        >>> import fptkit
        >>> table = fptkit.ReportTable(columns=["part", "energy"], rows=[["training", "12 Wh"]])
        >>> table.rows
        (('training', '12 Wh'),)
    """

    columns: tuple[str, ...] | list[str]
    rows: tuple[tuple[str, ...], ...] | list[list[str]] | list[tuple[str, ...]]
    caption: str = ""

    def __post_init__(self) -> None:
        columns = _texts(self.columns, "columns of a report's table")
        rows = tuple(_texts(row, "a row of a report's table") for row in self.rows)
        for row in rows:
            if len(row) != len(columns):
                raise PluginError(f"a row of a report's table has {len(row)} cells, and {len(columns)} columns: {row}")
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "rows", rows)


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """A section that a plugin adds to a report.

    Args:
        title: heading.
        text: paragraphs.
        points: items of a list.
        tables: below them.

    Raises:
        PluginError: the title is empty, a value is not text, or a table is no `ReportTable`.

    Example:
        >>> import fptkit
        >>> fptkit.ReportSection(title="Energy", text=["12 Wh in all."]).text
        ('12 Wh in all.',)
    """

    title: str
    text: tuple[str, ...] | list[str] = ()
    points: tuple[str, ...] | list[str] = ()
    tables: tuple[ReportTable, ...] | list[ReportTable] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.title, str) or not self.title.strip():
            raise PluginError(f"title of a report's section is {self.title!r:.80}, expected text")
        object.__setattr__(self, "text", _texts(self.text, "text of a report's section"))
        object.__setattr__(self, "points", _texts(self.points, "points of a report's section"))
        if not isinstance(self.tables, list | tuple) or not all_are(ReportTable, self.tables):
            raise PluginError(f"tables of a report's section is {self.tables!r:.80}, expected a list of ReportTable")
        object.__setattr__(self, "tables", tuple(self.tables))

    def dumped(self) -> dict[str, Any]:
        """The section as plain data, see `loaded`."""
        return asdict(self)

    @classmethod
    def loaded(cls, content: Mapping[str, Any]) -> ReportSection:
        """The section from what `dumped` gave, also after it was written as JSON.

        Raises:
            PluginError: it is damaged.
        """
        try:
            return cls(**{**content, "tables": [ReportTable(**table) for table in content.get("tables", ())]})
        except TypeError as err:
            raise PluginError(f"a section of a report is damaged: {err}") from err
