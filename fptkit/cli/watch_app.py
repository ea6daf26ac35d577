"""``fptkit watch`` on a terminal with Textual: a table to scroll through, and the selected run below it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Static

from fptkit.cli.watch_views import COLUMNS, cells, details, header
from fptkit.errors import UsageError, visible
from fptkit.lab.studies.watching import Seen, look


class WatchApp(App[None]):
    """Shows a folder and looks at it again and again.

    Args:
        folder: of a run, a study or a ledger.
        every: seconds between looks.
    """

    TITLE = "fptkit watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = "#runs {height: 1fr;} #run {height: auto; max-height: 50%; padding: 1 0;}"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "quit", "Quit"), Binding("r", "look", "Look now")]

    def __init__(self, folder: Path, every: float) -> None:
        super().__init__()
        self._folder, self._every = folder, every
        self._seen: Seen | None = None

    def compose(self) -> ComposeResult:
        """The header, the table of runs, the selected run, the keys."""
        yield Static(id="header")
        yield DataTable(id="runs", cursor_type="row")
        yield Static(id="run")
        yield Footer()

    def on_mount(self) -> None:
        """Look at once, then regularly."""
        self.query_one("#runs", DataTable).add_columns(*COLUMNS)
        self.action_look()
        self.set_interval(self._every, self.action_look)

    def action_look(self) -> None:
        """Show the present state; the selected row stays selected."""
        try:
            self._seen = look(self._folder)
        except UsageError as err:
            self.query_one("#header", Static).update(str(err))
            return
        self.query_one("#header", Static).update(header(self._seen))
        table = self.query_one("#runs", DataTable)
        table.display = not self._seen.single
        row, scroll = table.cursor_row, table.scroll_y
        table.clear()
        for run in self._seen.runs:
            table.add_row(*(Text(visible(cell)) for cell in cells(run)))
        table.move_cursor(row=row)
        table.scroll_to(y=scroll, animate=False)
        self._show_selected()

    def on_data_table_row_highlighted(self) -> None:
        """Show the run that the cursor is on."""
        self._show_selected()

    def _show_selected(self) -> None:
        if self._seen is None or not self._seen.runs:
            return
        row = min(max(0, self.query_one("#runs", DataTable).cursor_row), len(self._seen.runs) - 1)
        self.query_one("#run", Static).update(details(self._seen.runs[row]))
