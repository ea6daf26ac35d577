"""Progress of a study in a notebook."""

from __future__ import annotations

import io
import time

from rich.console import Console

from fptkit.api.display import paragraph
from fptkit.api.notebook import Display
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.progress import StudyProgress, draw

REFRESH_S = 0.25
"""Shortest time between two updates."""

WIDTH, HEIGHT = 110, 60
"""Characters of the table at most."""


class NotebookStudyView:
    """Shows a study in a notebook: its table of cells, and lines about runs that failed. See `ProgressView`."""

    def __init__(self) -> None:
        self._display, self._began, self._shown = Display(), time.monotonic(), 0.0
        self._lines: list[str] = []
        self._progress: StudyProgress | None = None

    def say(self, text: str) -> None:
        """See `ProgressView`."""
        self._lines.append(text)
        self._show()

    def update(self, progress: StudyProgress) -> None:
        """See `ProgressView`."""
        self._progress = progress
        if time.monotonic() - self._shown > REFRESH_S:
            self._show()

    def run_ended(self, what: str, outcome: Outcome, seconds: float | None, progress: StudyProgress) -> None:
        """See `ProgressView`."""
        if outcome.status in ("failed", "lost"):
            self._lines.append(f"{what}: {outcome.status}: {outcome.reason}")
        self.update(progress)

    def close(self) -> None:
        """See `ProgressView`."""
        self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        lines = "".join(map(paragraph, self._lines))
        self._display.show(lines + ("" if self._progress is None else self._table(self._progress)))

    def _table(self, progress: StudyProgress) -> str:
        console = Console(record=True, file=io.StringIO(), width=WIDTH, force_jupyter=False)
        console.print(draw(progress, seconds=time.monotonic() - self._began, width=WIDTH, height=HEIGHT))
        return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
