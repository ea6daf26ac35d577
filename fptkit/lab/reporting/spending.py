"""Cost of a training, in operations and in seconds."""

from __future__ import annotations

from statistics import fmean

from fptkit.lab.studies.results import CellResult, Costs, StudyResults


def training_flops(cell: CellResult) -> float | None:
    """Floating-point operations of one training at the chosen learning rate, mean over seeds; None if unknown."""
    return cell.flops_per_step * fmean(cell.steps) if cell.flops_per_step and cell.steps else None


def training_seconds(results: StudyResults, costs: Costs) -> dict[tuple[str, str, float], float]:
    """Seconds of one training at the chosen learning rate, mean over the runs with known costs.

    Returns:
        Seconds by (task, arm, fraction of the data); cells without known costs are left out.
    """
    seconds: dict[tuple[str, str, float], float] = {}
    for cell in results.cells:
        chosen = next((one for one in cell.rates if one.learning_rate == cell.chosen_rate), None)
        known = [costs.runs[address].seconds for address in (chosen.runs if chosen else ()) if address in costs.runs]
        if known:
            seconds[cell.task, cell.arm, cell.data_fraction] = fmean(known)
    return seconds
