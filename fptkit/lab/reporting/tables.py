"""The tables of a report, other than those of its verdicts and learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import Entry, Table, row
from fptkit.lab.reporting.levels import (
    CHANCE,
    MAJORITY,
    RESOLUTION,
    figures_notes,
    level_note,
    level_texts,
    resolutions,
)
from fptkit.lab.reporting.spending import training_flops, training_seconds
from fptkit.lab.reporting.wording import NOTHING
from fptkit.lab.studies.results import CellResult, Costs, StudyResults


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
    return _noted_once(tables)


def _noted_once(tables: Sequence[Table]) -> tuple[Table, ...]:
    """The tables, each note only below the last one that has it."""
    later = [set().union(*(after.notes for after in tables[place + 1 :])) for place in range(len(tables))]
    return tuple(
        replace(table, notes=tuple(note for note in table.notes if note not in repeated))
        for table, repeated in zip(tables, later, strict=True)
    )


def _main_table(results: StudyResults, cells: Sequence[CellResult], fraction: float, protocol: str) -> Table:
    found = {(cell.task, cell.arm): cell for cell in cells}
    tasks = [task for task in results.tasks if any(cell.task == task for cell in cells)]
    header = [Entry("arm")]
    for task in tasks:
        mine = [cell for cell in cells if cell.task == task]
        header.append(Entry(f"{task}{_mark(mine, 'data_stand_in', '†')}", "; ".join(_units(mine))))
    rows = []
    for arm in results.arms:
        mine = [cell for cell in cells if cell.arm == arm]
        name = Entry(f"{arm}{_mark(mine, 'weights_stand_in', '‡')}", "reference" if arm == results.reference else "")
        rows.append((name, *(_figure(results, found.get((task, arm)), task, arm) for task in tasks)))
    return Table(
        _caption(results, cells, fraction, protocol),
        tuple(header),
        tuple(rows),
        tuple(_notes(results, cells)),
        opened=True,
        foot=tuple(_foot(results, cells, tasks, fraction)),
    )


def _caption(results: StudyResults, cells: Sequence[CellResult], fraction: float, protocol: str) -> str:
    errors = any(cell.main is not None and wording.error_of(cell.main) is not None for cell in cells)
    caption = f"Test, mean {'± standard error ' if errors else ''}over seeds, {_whose_rate(results)}"
    caption += f"; protocol {protocol}" if protocol else ""
    return f"{caption}{f'; {wording.share(fraction)} of the training data' if fraction != 1 else ''}."


def _whose_rate(results: StudyResults) -> str:
    if results.choose == "per_seed" and len(results.learning_rates) > 1:
        return "each at its own learning rate, chosen on validation"
    return "at the learning rate chosen on validation" if len(results.learning_rates) > 1 else "at one learning rate"


def _mark(cells: Sequence[CellResult], attribute: str, sign: str) -> str:
    return f" {sign}" if any(getattr(cell, attribute) for cell in cells) else ""


def _units(cells: Sequence[CellResult]) -> list[str]:
    return sorted({wording.unit(cell.measure) for cell in cells if cell.metric})


def _notes(results: StudyResults, cells: Sequence[CellResult]) -> list[str]:
    data = sorted({f"{cell.task} {cell.source}" for cell in cells if cell.data_stand_in})
    weights = sorted({f"{cell.arm} {cell.weights}" for cell in cells if cell.weights_stand_in})
    notes = [f"† fallback (stand-in) data: {', '.join(data)}."] if data else []
    notes += [f"‡ fallback (stand-in) weights: {', '.join(weights)}."] if weights else []
    if any(cell.at_edge for cell in cells):
        notes.append("edge: a chosen learning rate is at an end of the grid; a better one may be outside it.")
    if any(
        (cell.task, cell.data_fraction) == (rank.task, rank.data_fraction) for cell in cells for rank in results.ranks
    ):
        notes.append(
            "rank: 1 plus the number of arms that are better on the task, by tests corrected over all pairs of arms; "
            "arms that share a rank were not distinguished."
        )
    if any((cell.task, cell.data_fraction) in resolutions(results) for cell in cells):
        notes.append(f"{RESOLUTION}.")
    return notes


def _foot(
    results: StudyResults, cells: Sequence[CellResult], tasks: Sequence[str], fraction: float
) -> list[tuple[Entry, ...]]:
    """What the figures of each task are to be compared with; rows in which nothing is known are left out."""
    known = resolutions(results)
    of_task = {task: [cell for cell in cells if cell.task == task] for task in tasks}
    rows = [(name, [level_texts(of_task[task], name) for task in tasks]) for name in (CHANCE, MAJORITY)]
    rows.append(("resolution", [known.get((task, fraction), "") for task in tasks]))
    return [row(name, *(text or NOTHING for text in texts)) for name, texts in rows if any(texts)]


def _figure(results: StudyResults, cell: CellResult | None, task: str, arm: str) -> Entry:
    """A cell of the main table: its figure, and below it the rank, the learning rates and any caveats."""
    if cell is None:
        return Entry(NOTHING, "not made" if any(_names(key, task, arm) for key in results.skipped) else "")
    caveats = ["edge"] if cell.at_edge else []
    caveats += _seeds_of(results, cell)
    if not cell.complete:
        caveats.append("incomplete")
    # A line for each rate, so that the rates do not decide the width of the table.
    details = [rank_of(results, cell), rates_of(cell).replace(", ", ",\n"), ", ".join(caveats)]
    return Entry(wording.mean_and_sem(cell.main, cell.measure), "\n".join(filter(None, details)))


def _seeds_of(results: StudyResults, cell: CellResult) -> list[str]:
    """The number of seeds, if it is not the same in all cells or only one."""
    seeds, asked = len(cell.main.values) if cell.main else 0, len(results.seeds_of(cell))
    if seeds != asked:
        return [f"{seeds} of {wording.counted(asked, 'seed')}"]
    # If they are added until decided, each cell has as many as its comparisons needed.
    return [wording.counted(seeds, "seed")] if results.until or seeds == 1 else []


def rates_of(cell: CellResult) -> str:
    """The learning rates of a cell's seeds: ``rate 1e-3``, ``rates 1e-3 (3), 3e-3 (2)``."""
    common = [cell.chosen_rate] if cell.chosen_rate is not None else []
    return wording.counted_rates(cell.chosen_rates.values() or common)


def rank_of(results: StudyResults, cell: CellResult) -> str:
    """``rank 2``, or ``shared rank 1``; empty if the study has no ranks."""
    here = [one for one in results.ranks if (one.task, one.data_fraction) == (cell.task, cell.data_fraction)]
    mine = next((one.rank for one in here if one.arm == cell.arm), None)
    if mine is None:
        return ""
    return f"{'shared ' if [one.rank for one in here].count(mine) > 1 else ''}rank {mine}"


def _names(key: str, task: str, arm: str) -> bool:
    return key == f"{arm} on {task}" or key.startswith(f"{arm} on {task},")


def splits(results: StudyResults) -> Table | None:
    """Every test split of the tasks that have several; None if no task has."""
    cells = [cell for cell in results.cells if len(cell.test) > 1]
    rows = [
        row(wording.place(cell.task, cell.data_fraction), cell.arm, split, wording.mean_and_sem(found, cell.measure))
        for cell in cells
        for split, found in cell.test.items()
    ]
    caption = f"Every test split; {', '.join(_units(cells))}."
    notes = figures_notes(results, cells)
    return Table(caption, row("task", "arm", "split", "mean"), tuple(rows), notes, names=3) if rows else None


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
    on_training_data = any(entries[-1].text != NOTHING for entries in rows)
    if not on_training_data:
        header, rows = header[:-1], [entries[:-1] for entries in rows]
    notes = tuple(level_note(results.cells)) if on_training_data else ()
    caption = "One training at the chosen learning rate; time is that of the machine it ran on."
    return Table(caption, row(*header), tuple(rows), notes, names=2) if rows else None
