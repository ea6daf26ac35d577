"""``fptkit predict``."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fptkit.cli.shared import print_rows
from fptkit.cli.trained import (
    batch_size_of,
    entries_of,
    input_arguments,
    loaded_model,
    model_options,
    print_notes,
    progress,
    run_argument,
)
from fptkit.engine.terminal import data_output

if TYPE_CHECKING:
    from fptkit.inference.columns import Columns

SHOWN = 200
"""Rows that are shown on a terminal."""


@click.command(
    epilog="""\b
Examples:
  fptkit predict runs/birds new_birds.csv
  fptkit predict runs/birds new_birds.csv --output predictions.parquet --probabilities
  fptkit predict runs/machines recordings/ one_more.wav --output predictions.jsonl
"""
)
@run_argument
@input_arguments
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="File for the predictions: .csv, .jsonl or .parquet; replaced if it exists. Default: a table on a terminal, "
    "CSV in a pipe.",
)
@click.option("--probabilities", is_flag=True, help="Add the probability of every class or label.")
@model_options
def predict(
    run: Path,
    inputs: Sequence[str],
    output: Path | None,
    probabilities: bool,
    batch_size: int | None,
    device: str,
    weights: str | None,
    plugin_files: Sequence[Path],
) -> None:
    """Predict for new INPUTs with what RUN trained.

    RUN is a run folder. An INPUT is a file, a folder, or path:PLACE with * and ?, in the format of the training data.
    Labels are ignored if there are some; the training data are not needed.
    """
    from fptkit.inference.tables import ENDINGS, CsvWriter, check_place, writing_table
    from fptkit.interfaces import Examples

    if output is not None:
        check_place(output, ENDINGS)
    entries = entries_of(inputs, output)
    model = loaded_model(run, device, plugin_files, weights)
    found = model.read(entries)
    print_notes(found.notes if isinstance(found, Examples) else ())
    shown: list[dict[str, str]] = []
    with progress(len(found), "predicting") as advance:
        size = batch_size_of(model, batch_size)
        parts = _advancing(model.tables(found, probabilities=probabilities, batch_size=size), advance)
        if output is not None:
            with writing_table(output) as table:
                for columns in parts:
                    table.write(columns)
        elif not _is_terminal():
            csv = CsvWriter(data_output())
            for columns in parts:
                csv.write(columns)
        else:
            shown = _first_rows(parts)
    if output is not None:
        click.echo(f"{len(found):,} predictions are in {output}", err=True)
    elif shown:
        print_rows(shown)
        if len(found) > len(shown):
            click.echo(f"the first {len(shown)} of {len(found):,}; write all of them with --output FILE")


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _advancing(parts: Iterator[Columns], advance: Callable[[int], None]) -> Iterator[Columns]:
    """The same, with progress."""
    for columns in parts:
        yield columns
        advance(len(next(iter(columns.values()))))


def _first_rows(parts: Iterator[Columns]) -> list[dict[str, str]]:
    """The first rows, as text."""
    rows = (dict(zip(columns, row, strict=True)) for columns in parts for row in zip(*columns.values(), strict=True))
    return [{name: _short(cell) for name, cell in row.items()} for row in itertools.islice(rows, SHOWN)]


def _short(cell: object) -> str:
    if isinstance(cell, list):
        return ", ".join(map(_short, cell))
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
