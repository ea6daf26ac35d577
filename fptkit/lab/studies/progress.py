"""What a study looks like while it goes on: one live table on a terminal, a line for each ended run elsewhere.

All of it goes to stderr; results are stdout's.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import CellName

CellState = Literal["done", "running", "failed", "waiting"]

_STYLES: dict[CellState, str] = {"done": "green", "running": "bold", "failed": "bold red", "waiting": "dim"}

_OTHER_LINES = 4
"""Lines of the screen that the table leaves: its header, the line above it, the one for what is folded, the prompt."""

_FIGURES = 43
"""Columns that the table's figures and gaps take."""


@dataclass(frozen=True)
class CellProgress:
    """How far one cell is.

    Args:
        name: which.
        state: done, running, failed (a run is missing for good) or waiting.
        done: runs that need nothing more.
        runs: runs known so far; a search may ask for more.
        running: runs under way, here or in another study.
        rate: the learning rate chosen, or the best so far; None before a validation.
        validation: of it, mean over seeds.
        chosen: whether it is chosen.
    """

    name: CellName
    state: CellState
    done: int
    runs: int
    running: int = 0
    rate: float | None = None
    validation: float | None = None
    chosen: bool = False


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is.

    Args:
        title: of the study.
        cells: in the order of the study.
        done, runs: runs, each counted once where cells share it.
        running: under way in this process.
        elsewhere: under way in other processes.
        failed: missing for good.
        seconds_left: estimate, None before a run has ended.
    """

    title: str
    cells: Sequence[CellProgress]
    done: int
    runs: int
    running: int = 0
    elsewhere: int = 0
    failed: int = 0
    seconds_left: float | None = None


class ProgressView(Protocol):
    """Shows a study's progress."""

    def say(self, text: str) -> None:
        """A line that stays."""
        ...

    def update(self, progress: StudyProgress) -> None:
        """How things stand now."""
        ...

    def run_ended(self, what: str, outcome: Outcome, seconds: float | None, progress: StudyProgress) -> None:
        """A run ended, here or elsewhere."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def make_view(*, quiet: bool, console: Console | None = None) -> ProgressView:
    """The view that fits where stderr goes."""
    console = console or Console(stderr=True, highlight=False, markup=False)
    if quiet:
        return QuietView(console)
    return LiveView(console) if console.is_terminal else LineView(console)


class QuietView:
    """Failures only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """See `ProgressView`."""

    def update(self, progress: StudyProgress) -> None:
        """See `ProgressView`."""

    def run_ended(self, what: str, outcome: Outcome, seconds: float | None, progress: StudyProgress) -> None:
        """See `ProgressView`."""
        if outcome.status in ("failed", "lost"):
            self._console.print(_ended_line(what, outcome, seconds), style="red", soft_wrap=True)

    def close(self) -> None:
        """See `ProgressView`."""


class LineView(QuietView):
    """Lines, for logs and pipes: nothing is ever overwritten."""

    def say(self, text: str) -> None:
        """See `ProgressView`."""
        self._console.print(text, soft_wrap=True)

    def run_ended(self, what: str, outcome: Outcome, seconds: float | None, progress: StudyProgress) -> None:
        """See `ProgressView`."""
        self.say(f"[{progress.done + progress.failed}/{progress.runs}] {_ended_line(what, outcome, seconds)}")


class LiveView(QuietView):
    """One table that is drawn anew in place; taken down at the end, when results take its place."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._began = time.monotonic()
        self._progress: StudyProgress | None = None
        self._live = Live(console=console, get_renderable=self._drawn, refresh_per_second=4, transient=True)
        self._live.start()

    def say(self, text: str) -> None:
        """See `ProgressView`."""
        self._console.print(text)

    def update(self, progress: StudyProgress) -> None:
        """See `ProgressView`."""
        self._progress = progress

    def close(self) -> None:
        """See `ProgressView`."""
        self._live.stop()

    def _drawn(self) -> RenderableType:
        if self._progress is None:
            return Text("starting")
        width, height = self._console.size
        return draw(self._progress, seconds=time.monotonic() - self._began, width=width, height=height)


def draw(progress: StudyProgress, *, seconds: float, width: int, height: int) -> RenderableType:
    """The live table.

    Args:
        progress: what to show.
        seconds: since the start.
        width, height: of the terminal, in characters.
    """
    rows = max(height - _OTHER_LINES, 3)
    shown, folded = _chosen(progress.cells, rows)
    shares = len({cell.name.data_fraction for cell in progress.cells}) > 1
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    names = max(width - _FIGURES - 6 * shares, 20)
    task = min(max((len(cell.name.task) for cell in shown), default=4), names // 2)
    table.add_column("task", no_wrap=True, overflow="ellipsis", max_width=max(task, 4))
    table.add_column("arm", no_wrap=True, overflow="ellipsis", max_width=names - task)
    if shares:
        table.add_column("data", justify="right", no_wrap=True)
    table.add_column("runs", justify="right", no_wrap=True)
    table.add_column("rate", justify="right", no_wrap=True)
    table.add_column("validation", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for cell in shown:
        share = [f"{cell.name.data_fraction:.0%}"] if shares else []
        table.add_row(
            cell.name.task,
            cell.name.arm,
            *share,
            f"{cell.done}/{cell.runs}",
            "" if cell.rate is None else f"{cell.rate:g}",
            "" if cell.validation is None else f"{cell.validation:.4f}",
            Text(_state_words(cell), style=_STYLES[cell.state]),
        )
    lines: list[RenderableType] = [_header(progress, seconds, width), table]
    if folded:
        lines.append(Text(f"and {folded}", style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*lines)


def describe_seconds(seconds: float) -> str:
    """A duration as people say it: ``42 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"


def first_line(reason: str) -> str:
    """A reason in one line; all of it is in the log and the report."""
    return next(iter(reason.strip().splitlines()), "")


def _header(progress: StudyProgress, seconds: float, width: int) -> Text:
    parts = [f"{progress.done} of {progress.runs} runs done", f"{progress.running} running"]
    if progress.elsewhere:
        parts.append(f"{progress.elsewhere} elsewhere")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    parts.append(describe_seconds(seconds))
    if progress.seconds_left is not None and progress.done < progress.runs:
        parts.append(f"{describe_seconds(progress.seconds_left)} left")
    rest = " · ".join(parts)
    header = Text(no_wrap=True, overflow="ellipsis")
    if width - len(rest) > 12:  # the title goes first where there is no room for both
        title = progress.title if len(progress.title) + len(rest) + 2 <= width else ""
        header.append(f"{title}  " if title else "", style="bold")
    header.append(rest)
    return header


def _chosen(cells: Sequence[CellProgress], rows: int) -> tuple[Sequence[CellProgress], str]:
    """Cells there is room for, in the order of the study, and the others in words.

    Those being worked at come first, then those a run is missing for, those that wait, those that are done.
    """
    if len(cells) <= rows:
        return cells, ""
    urgency: dict[CellState, int] = {"running": 0, "failed": 1, "waiting": 2, "done": 3}
    ranked = sorted(range(len(cells)), key=lambda i: (urgency[cells[i].state], i))
    kept = set(ranked[:rows])
    rest = Counter(cells[i].state for i in ranked[rows:])
    return [cells[i] for i in sorted(kept)], ", ".join(f"{number} cells {state}" for state, number in rest.items())


def _state_words(cell: CellProgress) -> str:
    match cell.state:
        case "done":
            return "done"
        case "running":
            return f"{cell.running} running"
        case "failed":
            return "run failed"
        case "waiting":
            return "waiting"


def _ended_line(what: str, outcome: Outcome, seconds: float | None) -> str:
    took = "" if seconds is None else f" ({describe_seconds(seconds)})"
    validation = "" if outcome.validation is None else f", validation {outcome.validation:.4f}"
    if outcome.status in ("failed", "lost", "diverged"):
        return f"{what}: {outcome.status}: {first_line(outcome.reason)}{took}"
    return f"{what}: {outcome.status} at step {outcome.step}{validation}{took}"
