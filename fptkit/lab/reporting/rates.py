"""The tables of learning rates: validation at each rate, and the rate that each seed chose."""

from __future__ import annotations

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import Entry, Table, row
from fptkit.lab.reporting.levels import figures_notes, level_note
from fptkit.lab.reporting.wording import NOTHING
from fptkit.lab.studies.results import CellResult, RateResult, StudyResults


def rates_tables(results: StudyResults) -> tuple[Table, ...]:
    """Both tables; none if fewer than two rates were tried."""
    if len({one.learning_rate for cell in results.cells for one in cell.rates}) < 2:
        return ()
    chosen = [_seeds_table(results)] if any(cell.chosen_rates for cell in results.cells) else []
    return (*chosen, _validation_table(results))


def _seeds_table(results: StudyResults) -> Table:
    """The rate of each seed and the test at these, beside the test at one rate for all seeds."""
    rows = []
    for cell in results.cells:
        chosen = [wording.rate(cell.chosen_rates.get(seed)) for seed in results.seeds]
        common = cell.common
        rate = wording.rate(common.learning_rate) if common else NOTHING
        at_common = wording.mean_and_sem(common.test.get(cell.test_split) if common else None, cell.measure)
        own = wording.mean_and_sem(cell.main, cell.measure)
        rows.append(row(wording.place(cell.task, cell.data_fraction), cell.arm, *chosen, own, rate, at_common))
    header = ["task", "arm", *(f"seed {seed}" for seed in results.seeds), "test", "common rate", "test at it"]
    if not any(cell.common for cell in results.cells):
        header, rows = header[:-2], [entries[:-2] for entries in rows]
    caption = "The learning rate of each seed, chosen on its own validation, and the test at these"
    beside = "; next to it, the rate with the best mean validation" if "common rate" in header else ""
    return Table(f"{caption}{beside}.", row(*header), tuple(rows), figures_notes(results, results.cells), names=2)


def _validation_table(results: StudyResults) -> Table:
    tried = sorted({one.learning_rate for cell in results.cells for one in cell.rates})
    rows = []
    for cell in results.cells:
        found = {one.learning_rate: one for one in cell.rates}
        entries = [_validation(cell, found.get(rate), rate) for rate in tried]
        rows.append((Entry(wording.place(cell.task, cell.data_fraction)), Entry(cell.arm), *entries))
    header = row("task", "arm", *(wording.rate(rate) for rate in tried))
    notes = tuple(level_note(results.cells))
    return Table("Validation at each learning rate, mean over seeds.", header, tuple(rows), notes, names=2)


def _validation(cell: CellResult, one: RateResult | None, rate: float) -> Entry:
    if one is None:
        return Entry(NOTHING)
    details = [choice] if (choice := chosen_words(cell, rate)) else []
    details += [f"{one.diverged} diverged"] if one.diverged else []
    return Entry(wording.mean_and_sem(one.validation, cell.measure), ", ".join(details))


def chosen_words(cell: CellResult, rate: float) -> str:
    """``chosen``, or ``chosen by 3 of 5`` if the seeds chose different rates; empty if no seed chose it."""
    if not cell.chosen_rates:
        return "chosen" if rate == cell.chosen_rate else ""
    count = list(cell.chosen_rates.values()).count(rate)
    if count == len(cell.chosen_rates):
        return "chosen"
    return f"chosen by {count} of {len(cell.chosen_rates)}" if count else ""
