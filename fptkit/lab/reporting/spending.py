"""Cost of a training, in operations and in seconds."""

from __future__ import annotations

from statistics import fmean

from fptkit.lab.studies.results import CellResult, Costs, StudyResults


def training_flops(cell: CellResult) -> float | None:
    """Floating-point operations of one training at the chosen learning rate, mean over seeds; None if unknown."""
    return cell.flops_per_step * fmean(cell.steps) if cell.flops_per_step and cell.steps else None


def training_seconds(results: StudyResults, costs: Costs) -> dict[tuple[str, str, float], float]:
    """Seconds of one training, each seed at its chosen learning rate; mean over the runs with known costs.

    Returns:
        Seconds by (task, arm, fraction of the data); cells without known costs are left out.
    """
    seconds: dict[tuple[str, str, float], list[float]] = {}
    chosen = {(cell.task, cell.arm, cell.data_fraction): cell for cell in results.cells}
    for run in results.runs:
        place = (run.task, run.arm, run.data_fraction)
        cell = chosen.get(place)
        if cell is None or run.varied or run.address not in costs.runs:
            continue
        if run.learning_rate == cell.chosen_rates.get(run.seed, cell.chosen_rate):
            seconds.setdefault(place, []).append(costs.runs[run.address].seconds)
    return {place: fmean(known) for place, known in seconds.items()}
