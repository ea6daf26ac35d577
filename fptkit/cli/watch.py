"""``fptkit watch``: follow a run or a study that runs elsewhere."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fptkit.cli.report import studies
from fptkit.cli.shared import json_option, print_json

if TYPE_CHECKING:
    from fptkit.lab.studies.watching import Seen


@click.command(
    epilog="""\b
Examples:
  fptkit watch runs/bit_xor_gpt2-20260102-030405
  fptkit watch rothermel-nano --every 10
  fptkit watch studies | tee watch.log
"""
)
@click.argument("place", metavar="RUN_OR_STUDY", shell_complete=studies)
@click.option(
    "--every", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, help="Seconds between two looks."
)
@click.option("--once", is_flag=True, help="Print the present state and end.")
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("studies"),
    show_default=True,
    help="Folder of the studies.",
)
@json_option
def watch(place: str, every: float, once: bool, ledger: Path, as_json: bool) -> None:
    """Follow a run or a study that another process carries out, here or on a machine that shares the folder.

    RUN_OR_STUDY is a run folder, the folder of a study or its name in the ledger folder, or a ledger folder. Only files
    are read: nothing is locked or changed, and the watched process does not notice. Without a terminal, a line is
    printed for each change. A run is watched until it ends, a study until Ctrl-C.
    """
    from fptkit.lab.studies.watching import find_watched, look

    folder = find_watched(place, ledger)
    if as_json:
        print_json(_content(look(folder)))
    elif once:
        _print(look(folder))
    elif not sys.stdout.isatty():
        _follow_in_lines(folder, every)
    elif importlib.util.find_spec("textual") is not None:
        from fptkit.cli.watch_app import WatchApp

        WatchApp(folder, every).run()
    else:
        _follow_on_terminal(folder, every)


def _content(seen: Seen) -> dict[str, Any]:
    runs = [{**dataclasses.asdict(run), "seconds_left": run.seconds_left} for run in seen.runs]
    return {"title": seen.title, "runs": runs}


def _print(seen: Seen) -> None:
    """The present state as on a terminal, of any length."""
    from fptkit.cli.watch_views import drawn
    from fptkit.engine.terminal import console

    target = console()
    target.print(drawn(seen, rows=len(seen.runs), width=target.size.width))


def _follow_on_terminal(folder: Path, every: float) -> None:
    """Redraw one table in place until the run ends."""
    from rich.live import Live

    from fptkit.cli.watch_views import OTHER_LINES, drawn
    from fptkit.engine.terminal import console as make_console
    from fptkit.lab.studies.watching import look

    console = make_console()
    with Live(console=console, auto_refresh=False) as live:
        while True:
            seen = look(folder)
            live.update(
                drawn(seen, rows=max(3, console.size.height - OTHER_LINES), width=console.size.width), refresh=True
            )
            if seen.over:
                return
            time.sleep(every)


def _follow_in_lines(folder: Path, every: float) -> None:
    """Print a line for each run that has changed until the run ends."""
    from fptkit.cli.watch_views import line_of
    from fptkit.lab.studies.watching import look

    printed: dict[str, str] = {}
    while True:
        seen = look(folder)
        for run in seen.runs:
            if printed.get(run.name) != (line := line_of(run)):
                click.echo(line)
                printed[run.name] = line
        sys.stdout.flush()
        if seen.over:
            return
        time.sleep(every)
