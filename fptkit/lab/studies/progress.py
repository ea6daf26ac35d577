"""Progress of a study: one live table on a terminal, or one line per ended run in logs and pipes.

All output goes to stderr; results go to stdout.
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

from fptkit.engine.terminal import console as make_console
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import CellName

CellState = Literal["done", "running", "failed", "waiting"]

_STYLES: dict[CellState, str] = {"done": "green", "running": "bold", "failed": "bold red", "waiting": "dim"}

_OTHER_LINES = 4
"""Screen lines not used by table rows: column names, header, summary of hidden cells, prompt."""

_FIGURES = 43
"""Width of the table's figures and gaps, in characters."""


@dataclass(frozen=True)
class CellProgress:
    """Progress of one cell.

    Args:
        name: name of the cell.
        state: done, running, failed (a run failed for good) or waiting.
        done: number of completed runs.
        runs: number of runs known so far; a search may ask for more.
        running: number of runs in progress, here or in another study.
        rate: the learning rate that most seeds chose, or the best so far; None before the first validation.
        validation: validation of each seed at its own rate, or of all at the best so far; mean over seeds.
        chosen: whether a rate is chosen.
        most: largest number of runs that it may need, if seeds may still be added; else None.
    """

    name: CellName
    state: CellState
    done: int
    runs: int
    running: int = 0
    rate: float | None = None
    validation: float | None = None
    chosen: bool = False
    most: int | None = None


@dataclass(frozen=True)
class StudyProgress:
    """Progress of a study.

    Args:
        title: title of the study.
        cells: progress of its cells, in the order of the study.
        done, runs: number of completed and of all runs known so far; a run shared by several cells counts once.
        running: number of runs in progress in this process.
        elsewhere: number of runs in progress in other processes.
        failed: number of runs that failed for good.
        seconds_left: estimated time left for the runs known so far; None before the first run has ended.
        most: largest number of runs that it may need, if seeds may still be added; else None.
        comparisons, undecided: number of comparisons that decide how many seeds are added, and of those that may still
            ask for more.
    """

    title: str
    cells: Sequence[CellProgress]
    done: int
    runs: int
    running: int = 0
    elsewhere: int = 0
    failed: int = 0
    seconds_left: float | None = None
    most: int | None = None
    comparisons: int = 0
    undecided: int = 0


class ProgressView(Protocol):
    """Shows the progress of a study."""

    def say(self, text: str) -> None:
        """Print a line that remains on the screen."""
        ...

    def update(self, progress: StudyProgress) -> None:
        """Show the current progress."""
        ...

    def run_ended(self, what: str, outcome: Outcome, seconds: float | None, progress: StudyProgress) -> None:
        """Report a run that ended, here or in another process.

        Args:
            what: name of the run.
            outcome: its outcome.
            seconds: its duration; None if unknown.
            progress: the current progress of the study.
        """
        ...

    def close(self) -> None:
        """Restore the terminal."""
        ...


def make_view(*, quiet: bool, console: Console | None = None) -> ProgressView:
    """Choose the view for stderr: a live table on a terminal, else lines; failures only if ``quiet``."""
    console = console or make_console(stderr=True)
    if quiet:
        return QuietView(console)
    return LiveView(console) if console.is_terminal else LineView(console)


class QuietView:
    """Prints failed runs only."""

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
    """Prints lines and never overwrites them, for logs and pipes."""

    def say(self, text: str) -> None:
        """See `ProgressView`."""
        self._console.print(text, soft_wrap=True)

    def run_ended(self, what: str, outcome: Outcome, seconds: float | None, progress: StudyProgress) -> None:
        """See `ProgressView`."""
        left = _left(progress)
        ended = f"[{progress.done + progress.failed}/{_at_least(progress)}] {_ended_line(what, outcome, seconds)}"
        self.say(f"{ended}; {left}" if left else ended)


class LiveView(QuietView):
    """Redraws one table in place; removes it at the end, before the results are printed."""

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
    """Draw the live table.

    Args:
        progress: progress to show.
        seconds: time since the start.
        width, height: size of the terminal, in characters.
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
            f"{cell.done}/{_at_least(cell)}",
            "" if cell.rate is None else f"{cell.rate:g}",
            "" if cell.validation is None else f"{cell.validation:.4f}",
            Text(_state_words(cell), style=_STYLES[cell.state]),
        )
    lines: list[RenderableType] = [_header(progress, seconds, width), table]
    if folded:
        lines.append(Text(f"and {folded}", style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*lines)


def describe_seconds(seconds: float) -> str:
    """Format a duration: ``42 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"


def first_line(reason: str) -> str:
    """First line of a reason; the log and the report have the full text."""
    return next(iter(reason.strip().splitlines()), "")


def _at_least(progress: CellProgress | StudyProgress) -> str:
    """Number of runs; ``30+`` if seeds may be added."""
    return f"{progress.runs}{'' if progress.most is None else '+'}"


def _left(progress: StudyProgress) -> str:
    """The time left, ``at least 3 min left`` if seeds may be added; empty if unknown or if all runs are done."""
    if progress.seconds_left is None or progress.done + progress.failed >= progress.runs:
        return ""
    left = f"{describe_seconds(progress.seconds_left)} left"
    return left if progress.most in (None, progress.runs) else f"at least {left}"


def _header(progress: StudyProgress, seconds: float, width: int) -> Text:
    parts = [f"{progress.done} of {_at_least(progress)} runs done", f"{progress.running} running"]
    if progress.elsewhere:
        parts.append(f"{progress.elsewhere} elsewhere")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.undecided:
        parts.append(f"{progress.undecided} of {progress.comparisons} undecided")
    parts.append(describe_seconds(seconds))
    if left := _left(progress):
        parts.append(left)
    rest = " · ".join(parts)
    header = Text(no_wrap=True, overflow="ellipsis")
    if width - len(rest) > 12:  # without room for both, the title is dropped
        title = progress.title if len(progress.title) + len(rest) + 2 <= width else ""
        header.append(f"{title}  " if title else "", style="bold")
    header.append(rest)
    return header


def _chosen(cells: Sequence[CellProgress], rows: int) -> tuple[Sequence[CellProgress], str]:
    """The cells that fit, in the order of the study, and a summary of the others.

    Running cells come first, then failed, waiting and completed ones.
    """
    if len(cells) <= rows:
        return cells, ""
    urgency: dict[CellState, int] = {"running": 0, "failed": 1, "waiting": 2, "done": 3}
    ranked = sorted(range(len(cells)), key=lambda i: (urgency[cells[i].state], i))
    kept = set(ranked[:rows])
    rest = Counter(cells[i].state for i in ranked[rows:])
    return [cells[i] for i in sorted(kept)], ", ".join(
        f"{number} cell{'' if number == 1 else 's'} {state}" for state, number in rest.items()
    )


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
