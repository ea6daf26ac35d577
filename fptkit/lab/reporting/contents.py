"""Sections of a report other than its verdicts, independent of the output format."""

from __future__ import annotations

from collections.abc import Callable

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import Entry, Section, Table, row
from fptkit.lab.reporting.levels import level_note
from fptkit.lab.reporting.wording import NOTHING
from fptkit.lab.studies.results import Costs, Measure, StudyResults


def status_of(results: StudyResults) -> str:
    """Size of the study and how much of it is complete, in one sentence."""
    done = sum(cell.complete for cell in results.cells)
    text = f"{wording.counted(len(results.tasks), 'task')} × {wording.counted(len(results.arms), 'arm')}"
    text += f", {_seeds(results)}"
    if results.learning_rates:
        text += f", {wording.counted(len(results.learning_rates), 'learning rate')}"
    missing = "" if done == len(results.cells) else f"; {done} of {len(results.cells)} cells complete"
    followed = " It follows its locked plan." if results.plan and not results.deviations else ""
    return f"{text}{missing}.{followed}"


def _seeds(results: StudyResults) -> str:
    """``5 seeds``; ``3 to 12 seeds`` if they were added where a comparison was undecided."""
    numbers = {len(results.seeds_of(cell)) for cell in results.cells} or {0}
    most = wording.counted(max(numbers), "seed")
    return most if len(numbers) == 1 else f"{min(numbers)} to {most}"


def effort(results: StudyResults) -> Section:
    """Steps and operations until the target on validation is reached."""
    rows = []
    for cell in results.cells:
        spent = cell.effort
        if spent is None:
            continue
        steps = f"{sum(spent.steps) / len(spent.steps):,.0f}" if spent.steps else "not reached"
        flops = wording.amount(sum(spent.flops) / len(spent.flops), "FLOP") if spent.flops else NOTHING
        target = f"{wording.number(spent.target, cell.measure)}{' %' if cell.fraction else ''}"
        where = wording.place(cell.task, cell.data_fraction)
        rows.append(row(where, cell.arm, target, steps, flops, f"{spent.reached} of {spent.seeds}"))
    header = row("task", "arm", "validation target", "steps", "compute", "seeds that reached it")
    caption = (
        "Until validation first reached the target, at the chosen learning rate; mean over the seeds that reached it."
    )
    notes = tuple(level_note([cell for cell in results.cells if cell.effort is not None]))
    tables = (Table(caption, header, tuple(rows), notes, names=2),) if rows else ()
    return Section("effort", "Effort to a target", tables=tables)


def missing(results: StudyResults) -> Section:
    """Runs that failed or are not done yet, and cells that cannot be made, with the reason."""
    failed = [
        row(
            wording.place(one.task, one.data_fraction),
            one.arm,
            wording.rate(one.learning_rate),
            wording.seed(one),
            one.status,
            one.reason,
            one.address[:16],
        )
        for one in results.failures
    ]
    header = row("task", "arm", "learning rate", "seed", "status", "reason", "run")
    tables = [Table("Missing runs.", header, tuple(failed))] if failed else []
    if results.skipped:
        skipped = tuple(row(name, reason) for name, reason in results.skipped.items())
        tables.append(Table("Cells that cannot be made.", row("cell", "reason"), skipped))
    return Section("missing", "Missing", tables=tuple(tables))


def runs(results: StudyResults, link: Callable[[str], str]) -> Section:
    """Every run, linked to its folder.

    Args:
        results: of the study.
        link: maps the address of a run to the relative path of its folder, or to "" if there is none.
    """
    metrics = {(cell.task, cell.arm, cell.data_fraction): cell.measure for cell in results.cells}
    rows = []
    for one in results.runs:
        metric = metrics.get((one.task, one.arm, one.data_fraction), Measure())
        rows.append(
            (
                Entry(one.address[:16], link=link(one.address)),
                *row(
                    wording.place(one.task, one.data_fraction),
                    one.arm,
                    wording.rate(one.learning_rate),
                    wording.seed(one),
                    one.status,
                    f"{one.steps:,}",
                    wording.number(one.validation, metric),
                    wording.number(one.test, metric),
                ),
            )
        )
    header = row("run", "task", "arm", "learning rate", "seed", "status", "steps", "validation", "test")
    caption = f"{wording.counted(len(rows), 'run')}; accuracies in %. Test is evaluated at chosen learning rates only."
    notes = tuple(level_note(results.cells))
    return Section("runs", "Runs", tables=(Table(caption, header, tuple(rows), notes),) if rows else ())


def making(results: StudyResults, costs: Costs, command: str = "") -> Section:
    """Command, settings, versions and time: what it takes to repeat the study.

    Args:
        results: of the study.
        costs: seconds and devices of its runs; may be empty.
        command: command line that made the study; if empty, it is derived from the study's name.
    """
    command = command or f"fptkit study {results.name}" + (f" --profile {results.profile}" if results.profile else "")
    grid = ", ".join(wording.rate(one) for one in results.learning_rates) or "each recipe's own"
    spent = list(costs.runs.values())
    facts = [
        ("learning rates", grid),
        ("search", results.search),
        ("budget", results.budget),
        ("seeds", f"{_seeds(results)}: {results.until}" if results.until else ", ".join(map(str, results.seeds))),
        ("confidence", f"{100 * results.confidence:g} %"),
        *([("locked plan", results.plan)] if results.plan else []),
        ("code version", results.code_version),
        *((name, ", ".join(found)) for name, found in results.versions.items()),
    ]
    if spent:
        devices = ", ".join(sorted({f"{one.device}, {wording.counted(one.threads, 'thread')}" for one in spent}))
        facts.append(
            ("time", f"{wording.duration(sum(one.seconds for one in spent))} in {len(spent)} runs ({devices})")
        )
    table = Table("Settings and versions.", row("what", "value"), tuple(row(*fact) for fact in facts))
    return Section("making", "How it was made", tables=(table,), code=command)
