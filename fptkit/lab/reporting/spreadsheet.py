"""The results of a study as CSV: a row for each cell and test split, unrounded, for further analysis."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from fptkit.lab.reporting.spending import training_flops, training_seconds
from fptkit.lab.reporting.wording import error_of
from fptkit.lab.studies.results import CellResult, Costs, Estimate, StudyResults

COLUMNS = (
    "task",
    "arm",
    "data_fraction",
    "metric",
    "split",
    "mean",
    "sem",
    "seeds",
    "values",
    "learning_rate",
    "learning_rates",
    "common_learning_rate",
    "common_mean",
    "common_sem",
    "at_edge",
    "complete",
    "validation_mean",
    "validation_sem",
    "train_mean",
    "train_sem",
    "chance",
    "majority",
    "rank",
    "steps",
    "best_steps",
    "flops",
    "seconds",
    "parameters",
    "trained_parameters",
    "task_name",
    "protocol",
    "source",
    "data_stand_in",
    "backbone",
    "weights",
    "init",
    "weights_stand_in",
    "blocks",
    "width",
    "freezing",
    "readout",
)
"""The columns; several values in one field are separated by spaces, unknown values are empty."""


def to_csv(results: StudyResults, costs: Costs) -> str:
    """Write the results as CSV text; docs/reports.md describes the columns."""
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(results, costs))
    return written.getvalue()


def _rows(results: StudyResults, costs: Costs) -> Iterator[dict[str, object]]:
    seconds = training_seconds(results, costs)
    ranks = {(one.task, one.arm, one.data_fraction): one.rank for one in results.ranks}
    for cell in results.cells:
        spent = seconds.get((cell.task, cell.arm, cell.data_fraction))
        for split, estimate in cell.test.items() or [("", None)]:
            rank = ranks.get((cell.task, cell.arm, cell.data_fraction)) if split == cell.test_split else None
            yield {**_row(cell, split, estimate, spent), "rank": rank}


def _row(cell: CellResult, split: str, estimate: Estimate | None, seconds: float | None) -> dict[str, object]:
    """One row; columns that are fields of the cell are copied from it."""
    common = cell.common
    beside = common.test.get(split) if common else None
    copied = {name: getattr(cell, name) for name in COLUMNS if name in type(cell).model_fields}
    return {
        **copied,
        "split": split,
        "mean": estimate.mean if estimate else None,
        "sem": error_of(estimate) if estimate else None,
        "seeds": len(estimate.values) if estimate else 0,
        "values": _joined(estimate.values) if estimate else "",
        "learning_rate": cell.chosen_rate,
        "learning_rates": " ".join(f"{seed}:{rate:g}" for seed, rate in cell.chosen_rates.items()),
        "common_learning_rate": common.learning_rate if common else None,
        "common_mean": beside.mean if beside else None,
        "common_sem": error_of(beside) if beside else None,
        "validation_mean": cell.validation.mean if cell.validation else None,
        "validation_sem": error_of(cell.validation) if cell.validation else None,
        "train_mean": cell.train.mean if cell.train else None,
        "train_sem": error_of(cell.train) if cell.train else None,
        "steps": _joined(cell.steps),
        "best_steps": _joined(cell.best_steps),
        "flops": training_flops(cell),
        "seconds": seconds,
        "parameters": cell.parameters.get("total"),
        "trained_parameters": cell.parameters.get("trained"),
    }


def _joined(values: tuple[float, ...] | tuple[int, ...]) -> str:
    return " ".join(map(str, values))
