"""A command, ``fptkit best RUNS``: the runs of a folder, best first by their validation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fptkit import CommandSpec, hookimpl
from fptkit.errors import UsageError


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def best(runs: Path, as_json: bool) -> None:
    """Print the runs in the folder RUNS, best first by their validation."""
    rows = sorted(read_runs(runs), key=lambda row: row["score"], reverse=True)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['value']:10.4f}  step {row['step']:<6}  {row['run']}")


def read_runs(folder: Path) -> Iterator[dict[str, Any]]:
    """The metric that chose the best step of every run in a folder.

    Raises:
        UsageError: there is no run.
    """
    files = sorted(folder.glob("*/summary.json"))
    if not files:
        raise UsageError(f"{folder} holds no runs; fptkit run NAME writes them into runs/")
    for file in files:
        summary = json.loads(file.read_text(encoding="utf-8"))
        selection = summary["selection"]
        value = summary["metrics"]["validation"].get(selection["metric"])
        if value is not None:  # else the run has not validated yet
            sign = 1 if selection["higher_is_better"] else -1
            yield {"run": file.parent.name, "value": value, "step": summary["best_step"], "score": sign * value}


@hookimpl
def fptkit_commands() -> list[CommandSpec]:
    return [CommandSpec(name="best", summary="Print runs, best first by their validation.", target=best)]
