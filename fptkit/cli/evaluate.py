"""``fptkit evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fptkit.cli.shared import json_option, print_json, print_rows
from fptkit.cli.trained import entries_of, loaded_model, model_options, print_notes, run_argument

if TYPE_CHECKING:
    from fptkit.inference.result import Evaluation, Part

MOST_CLASSES = 25
"""Classes up to which the confusion matrix is printed."""


@click.command(
    epilog="""\b
Examples:
  fptkit evaluate runs/birds --source other_birds.csv
  fptkit evaluate runs/birds --split validation
  fptkit evaluate runs/birds --split test --json
"""
)
@run_argument
@click.option(
    "--split",
    metavar="NAME",
    help="Split of the run's data, which must still be there: train, validation, test for all test splits, or one of "
    "them.",
)
@click.option("--source", multiple=True, metavar="PLACE", help="Labelled files or folders. Repeatable.")
@json_option
@model_options
def evaluate(
    run: Path,
    split: str | None,
    source: Sequence[str],
    as_json: bool,
    batch_size: int | None,
    device: str,
    weights: str | None,
    plugin_files: Sequence[Path],
) -> None:
    """Evaluate what RUN trained on a split of its data, or on other labelled files.

    Prints the metrics of the task, the confusion matrix, precision, recall and F1 of each class, and how well the
    probabilities are calibrated; for numbers their errors. How often a test was opened is counted in the run folder
    and printed: a test that is opened to choose something is no test any more.
    """
    from fptkit.errors import UsageError

    if (split is None) == (not source):
        raise UsageError("give either --split NAME or --source PLACE")
    if split is not None and batch_size is not None:
        raise UsageError("--batch-size and --split cannot be combined: a split has the batches of training")
    entries = entries_of(source, None)
    model = loaded_model(run, device, plugin_files, weights)
    found = model.evaluate(split, source=entries or None, batch_size=batch_size)
    print_notes(found.notes)
    if as_json:
        print_json({"run": str(run), **found.content()})
        return
    _print(found, split)


def _print(found: Evaluation, split: str | None) -> None:
    from fptkit.inference.result import opened, shown

    metrics = list(dict.fromkeys(name for part in found.parts.values() for name in part.metrics))
    print_rows(
        [
            {
                "split": name,
                "examples": f"{part.examples:,}",
                **{metric.replace("_", " "): shown(part, metric) for metric in metrics},
            }
            for name, part in found.parts.items()
        ]
    )
    for name, part in found.parts.items():
        if len(found.parts) > 1:
            click.echo(f"\n{name}")
        _print_classes(part)
        if part.numbers:
            title = "errors, in the unit of the data" if part.in_unit else "errors, in the scale of the model"
            click.echo()
            rows = [{key.replace("_", " "): _cell(value) for key, value in row.items()} for row in part.numbers]
            print_rows(rows, title=title)
        if left_out := part.assessed.answers.left_out:
            click.echo(f"left out: {left_out:,} answers that are no finite numbers")
    if found.times_opened is not None:
        click.echo(f"\n{'test splits' if split else 'files of this content'}: {opened(found.times_opened)}")


def _print_classes(part: Part) -> None:
    if not part.per_class:
        return
    click.echo()
    print_rows([{key: _cell(value) for key, value in row.items()} for row in part.per_class])
    matrix = part.confusion
    if matrix is not None and len(matrix) <= MOST_CLASSES:
        names = list(map(str, part.class_names))
        click.echo()
        print_rows(
            [
                {"true": name, **{f"predicted {other}": f"{count:,}" for other, count in zip(names, row, strict=True)}}
                for name, row in zip(names, matrix.tolist(), strict=True)
            ]
        )
    if part.calibration_error is not None:
        click.echo(f"\nexpected calibration error {part.calibration_error:.4f}, over {len(part.calibration)} bins")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
