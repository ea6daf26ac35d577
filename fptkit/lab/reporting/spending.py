"""What a training cost, in operations and in seconds."""

from __future__ import annotations

from statistics import fmean

from fptkit.lab.studies.results import CellResult, Costs, StudyResults


def training_flops(cell: CellResult) -> float | None:
    """Floating-point operations of one training at the chosen rate, the mean over seeds."""
    return cell.flops_per_step * fmean(cell.steps) if cell.flops_per_step and cell.steps else None


def training_seconds(results: StudyResults, costs: Costs) -> dict[tuple[str, str, float], float]:
    """For each cell, seconds of one training at the chosen rate, the mean over those known."""
    seconds: dict[tuple[str, str, float], float] = {}
    for cell in results.cells:
        chosen = next((one for one in cell.rates if one.learning_rate == cell.chosen_rate), None)
        known = [costs.runs[address].seconds for address in (chosen.runs if chosen else ()) if address in costs.runs]
        if known:
            seconds[cell.task, cell.arm, cell.data_fraction] = fmean(known)
    return seconds
