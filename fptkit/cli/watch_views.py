"""How ``fptkit watch`` shows what it sees: a table for terminals, lines for pipes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fptkit.errors import visible
from fptkit.lab.studies.progress import describe_seconds, first_line

if TYPE_CHECKING:
    from fptkit.lab.studies.watching import RunSeen, Seen

OTHER_LINES = 4
"""Screen lines that are not rows of the table."""

SILENT_S = 120.0
"""A run in progress whose files have not changed for so long is marked."""

COLUMNS = ("run", "status", "step", "loss", "best", "left")

_STYLES = {
    "running": "bold",
    "finished": "green",
    "validated": "green",
    "failed": "red",
    "diverged": "red",
    "lost": "red",
}

_BARS = "▁▂▃▄▅▆▇█"


def drawn(seen: Seen, *, rows: int, width: int) -> RenderableType:
    """The table of a study's runs, or what there is to say about a single run.

    Args:
        seen: what to show.
        rows: number of runs for which there is room.
        width: columns of the terminal.
    """
    if seen.single:
        return details(seen.runs[0])
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    shown = [cells(run) for run in seen.runs[:rows]]
    widths = [max(len(row[number]) for row in [COLUMNS, *shown]) for number in range(len(COLUMNS))]
    widths[0] = min(widths[0], max(12, width - sum(widths[1:]) - 2 * len(widths)))  # only names are cut
    for name, needed in zip(COLUMNS, widths, strict=True):
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=needed)
    for run, row in zip(seen.runs, shown, strict=False):
        styles = {1: _STYLES.get(run.status, "dim")}
        table.add_row(*(Text(visible(cell), style=styles.get(number, "")) for number, cell in enumerate(row)))
    parts: list[RenderableType] = [header(seen), table]
    if len(seen.runs) > rows:
        parts.append(Text(f"and {len(seen.runs) - rows} more runs", style="dim"))
    return Group(*parts)


def header(seen: Seen) -> Text:
    """The title and how many runs there are in each state."""
    counts = Counter(run.status for run in seen.runs)
    states = ", ".join(f"{number} {status}" for status, number in counts.items())
    return Text(f"{visible(seen.title)}  ", style="bold").append(states or "no run has started", style="not bold")


def cells(run: RunSeen) -> tuple[str, ...]:
    """A run as a row of the table, see `COLUMNS`."""
    return (
        run.name,
        _state(run),
        _steps(run),
        f"{run.losses[-1]:.4f}" if run.losses else "",
        "" if run.best is None else f"{run.metric} {run.best:.4f}",
        "" if run.seconds_left is None else describe_seconds(run.seconds_left),
    )


def details(run: RunSeen) -> Group:
    """A single run: state, loss over the latest reports, metrics."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    _, state, steps, loss, best, left = cells(run)
    speed = "" if run.examples_per_second is None else f"{run.examples_per_second:.0f} examples/s"
    rows = {
        "state": Text(state, style=_STYLES.get(run.status, "")),
        "step": ", ".join(filter(None, (steps, speed, left and f"{left} left without evaluation"))),
        "loss": f"{loss}  {sparkline(run.losses)}".strip(),
        "validation": _metrics(run.validation),
        "best": best,
        **{f"test {name}" if name != "test" else "test": _metrics(found) for name, found in run.test.items()},
        "reason": first_line(run.reason),
    }
    for label, value in rows.items():
        if value:
            table.add_row(label, Text(visible(str(value)), style=value.style if isinstance(value, Text) else ""))
    return Group(Text(visible(run.name), style="bold"), table)


def line_of(run: RunSeen) -> str:
    """A run in one line, without anything that changes by itself, such as the time."""
    latest = ", ".join(f"{name} {value:.4f}" for name, value in run.validation.items() if name != "loss")
    parts = [
        f"{run.name}: {run.status}",
        f"step {_steps(run)}" if run.step else "",
        f"loss {run.losses[-1]:.4f}" if run.losses else "",
        f"validation {latest}" if latest else "",
        first_line(run.reason),
    ]
    return ", ".join(filter(None, parts))


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """The latest finite values as bars of eight heights, the lowest value at the bottom."""
    shown = [value for value in values[-width:] if abs(value) != float("inf") and value == value]
    if len(shown) < 2:
        return ""
    low, high = min(shown), max(shown)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join(_BARS[round((value - low) / step)] for value in shown)


def _state(run: RunSeen) -> str:
    if run.status == "running" and run.silent_s is not None and run.silent_s > SILENT_S:
        return f"running, silent for {describe_seconds(run.silent_s)}"
    return run.status


def _steps(run: RunSeen) -> str:
    return f"{run.step:,}/{run.max_steps:,}" if run.max_steps else f"{run.step:,}"


def _metrics(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
