"""The tables of a report."""

from __future__ import annotations

from collections.abc import Sequence

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import Entry, Table, row
from fptkit.lab.reporting.spending import training_flops, training_seconds
from fptkit.lab.reporting.wording import NOTHING
from fptkit.lab.studies.results import CellResult, Costs, StudyResults
from fptkit.lab.studies.verdicts import Comparison


def main_tables(results: StudyResults) -> tuple[Table, ...]:
    """Tables of arms by tasks, one for each fraction of the data and each protocol.

    Results under different protocols never share a table.
    """
    fractions = sorted({cell.data_fraction for cell in results.cells}, reverse=True)
    tables = []
    for fraction in fractions:
        cells = [cell for cell in results.cells if cell.data_fraction == fraction]
        protocols = sorted({cell.protocol for cell in cells if cell.protocol})
        for protocol in protocols or [""]:
            kept = [cell for cell in cells if cell.protocol in (protocol, "")]
            tables.append(_main_table(results, kept, fraction, protocol))
    return tuple(tables)


def _main_table(results: StudyResults, cells: Sequence[CellResult], fraction: float, protocol: str) -> Table:
    found = {(cell.task, cell.arm): cell for cell in cells}
    tasks = [task for task in results.tasks if any(cell.task == task for cell in cells)]
    caption = "Test, mean ± standard error over seeds, at the learning rate chosen on validation"
    caption += f"; protocol {protocol}" if protocol else ""
    caption += f"; {wording.share(fraction)} of the training data" if fraction != 1 else ""
    header = [Entry("arm")]
    for task in tasks:
        mine = [cell for cell in cells if cell.task == task]
        header.append(Entry(f"{task}{_mark(mine, 'data_stand_in', '†')}", "; ".join(_units(mine))))
    rows = []
    for arm in results.arms:
        mine = [cell for cell in cells if cell.arm == arm]
        name = Entry(f"{arm}{_mark(mine, 'weights_stand_in', '‡')}", "reference" if arm == results.reference else "")
        rows.append((name, *(_figure(results, found.get((task, arm)), task, arm) for task in tasks)))
    return Table(f"{caption}.", tuple(header), tuple(rows), tuple(_notes(cells)), opened=True)


def _mark(cells: Sequence[CellResult], attribute: str, sign: str) -> str:
    return f" {sign}" if any(getattr(cell, attribute) for cell in cells) else ""


def _units(cells: Sequence[CellResult]) -> list[str]:
    return sorted({wording.unit(cell.measure) for cell in cells if cell.metric})


def _notes(cells: Sequence[CellResult]) -> list[str]:
    data = sorted({f"{cell.task} {cell.source}" for cell in cells if cell.data_stand_in})
    weights = sorted({f"{cell.arm} {cell.weights}" for cell in cells if cell.weights_stand_in})
    notes = [f"† fallback (stand-in) data: {', '.join(data)}."] if data else []
    notes += [f"‡ fallback (stand-in) weights: {', '.join(weights)}."] if weights else []
    edge = any(cell.at_edge for cell in cells)
    return notes + (
        ["edge: the chosen learning rate is at an end of the grid; a better one may be outside it."] if edge else []
    )


def _figure(results: StudyResults, cell: CellResult | None, task: str, arm: str) -> Entry:
    """A cell of the main table: its figure, and below it the learning rate and any caveats."""
    if cell is None:
        return Entry(NOTHING, "not made" if any(_names(key, task, arm) for key in results.skipped) else "")
    details = [] if cell.chosen_rate is None else [f"at {wording.rate(cell.chosen_rate)}"]
    if cell.at_edge:
        details.append("edge")
    seeds = len(cell.main.values) if cell.main else 0
    if seeds != len(results.seeds):
        details.append(f"{seeds} of {wording.counted(len(results.seeds), 'seed')}")
    elif seeds == 1:
        details.append("1 seed")
    if not cell.complete:
        details.append("incomplete")
    return Entry(wording.mean_and_sem(cell.main, cell.measure), ", ".join(details))


def _names(key: str, task: str, arm: str) -> bool:
    return key == f"{arm} on {task}" or key.startswith(f"{arm} on {task},")


def comparison_table(results: StudyResults, compared: Sequence[Comparison], caption: str) -> Table:
    """One row for each comparison: difference, p, effect size and verdict."""
    rows = [
        row(
            wording.place(one.task, one.data_fraction),
            f"{one.a} − {one.b}",
            wording.difference_of(one, wording.metric_of(results, one)),
            wording.p_value(one.p),
            wording.p_value(one.p_holm),
            wording.p_value(one.p_verdict),
            wording.effect_size(one.effect_size),
            str(len(one.differences)),
            one.verdict,
            one.note,
        )
        for one in compared
    ]
    header = ["task", "arms", "difference", "p", "p, Holm", "p, verdict", "Hedges' g", "pairs", "verdict", "note"]
    if not any(one.note for one in compared):
        header, rows = header[:-1], [entries[:-1] for entries in rows]
    return Table(caption, row(*header), tuple(rows), names=2)


def splits(results: StudyResults) -> Table | None:
    """Every test split of the tasks that have several; None if no task has."""
    cells = [cell for cell in results.cells if len(cell.test) > 1]
    rows = [
        row(wording.place(cell.task, cell.data_fraction), cell.arm, split, wording.mean_and_sem(found, cell.measure))
        for cell in cells
        for split, found in cell.test.items()
    ]
    caption = f"Every test split; {', '.join(_units(cells))}."
    return Table(caption, row("task", "arm", "split", "mean ± standard error"), tuple(rows), names=3) if rows else None


def rates_table(results: StudyResults) -> Table | None:
    """Validation at every learning rate that was tried; None if there were fewer than two."""
    tried = sorted({one.learning_rate for cell in results.cells for one in cell.rates})
    if len(tried) < 2:
        return None
    rows = []
    for cell in results.cells:
        found = {one.learning_rate: one for one in cell.rates}
        entries = []
        for value in tried:
            one = found.get(value)
            text = wording.mean_and_sem(one.validation, cell.measure) if one else NOTHING
            details = ["chosen"] if one and value == cell.chosen_rate else []
            details += [f"{one.diverged} diverged"] if one and one.diverged else []
            entries.append(Entry(text, ", ".join(details)))
        rows.append((Entry(wording.place(cell.task, cell.data_fraction)), Entry(cell.arm), *entries))
    header = row("task", "arm", *(wording.rate(value) for value in tried))
    return Table("Validation, mean ± standard error over seeds.", header, tuple(rows), names=2)


def costs_table(results: StudyResults, costs: Costs) -> Table | None:
    """Parameters, steps, compute and time of each cell; None if nothing is known yet."""
    seconds = training_seconds(results, costs)
    rows = [
        row(
            wording.place(cell.task, cell.data_fraction),
            cell.arm,
            wording.amount(cell.parameters.get("total")),
            wording.amount(cell.parameters.get("trained")),
            f"{max(cell.steps):,}" if cell.steps else NOTHING,
            wording.amount(training_flops(cell), "FLOP"),
            wording.duration(seconds.get((cell.task, cell.arm, cell.data_fraction))),
            ", ".join(f"{step:,}" for step in cell.best_steps) or NOTHING,
            wording.mean_and_sem(cell.train, cell.measure),
        )
        for cell in results.cells
        if cell.steps or cell.parameters
    ]
    header = ["task", "arm", "parameters", "trained", "steps", "compute", "time", "best steps", "on training data"]
    if all(entries[-1].text == NOTHING for entries in rows):
        header, rows = header[:-1], [entries[:-1] for entries in rows]
    caption = "One training at the chosen learning rate; time is that of the machine it ran on."
    return Table(caption, row(*header), tuple(rows), names=2) if rows else None
