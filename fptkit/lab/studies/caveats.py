"""Warnings about the results of a study, most important first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fptkit.lab.studies.results import CellResult, RateResult, StudyResults

SHOWN = 6
"""Largest number of cells that a warning lists."""


def warnings_of(results: StudyResults) -> tuple[str, ...]:
    """Make the warnings of a study from its results, most important first."""
    found: list[str] = []
    found += _missing(results)
    found += _protocols(results)
    found += _stand_ins(results)
    found += _edges(results)
    found += _seeds(results)
    found += _common_choice(results)
    found += _held(results)
    found += _lengths(results)
    found += _same_runs(results)
    found += _versions(results)
    found += _at_guessing(results)
    found += _diverged(results)
    found += _skipped(results)
    return tuple(found)


def _missing(results: StudyResults) -> list[str]:
    if not results.failures:
        return []
    count, of = len(results.failures), len(results.runs)
    failed = [failure for failure in results.failures if failure.status == "failed"]
    arms = _names(failure.arm for failure in failed)
    text = f"{count} of {of} runs {_is_are(count)} missing, figures are from the others"
    return [text + (f"; {len(failed)} failed, in {arms}" if failed else "")]


def _protocols(results: StudyResults) -> list[str]:
    found = []
    for task in results.tasks:
        protocols = _names(cell.protocol for cell in results.cells if cell.task == task and cell.protocol)
        if ", " in protocols:
            found.append(
                f"{task} was run under different protocols ({protocols}): these figures must not share a table, and "
                "differences between them mean nothing"
            )
    return found


def _stand_ins(results: StudyResults) -> list[str]:
    data = {cell.task: cell.source for cell in results.cells if cell.data_stand_in}
    weights = {cell.arm: cell.weights for cell in results.cells if cell.weights_stand_in}
    return [
        *([f"fallback data (stand-in): {_pairs(data)}; not the data set the task is named after"] if data else []),
        *(
            [f"fallback weights (stand-in): {_pairs(weights)}; not the weights the backbone is named after"]
            if weights
            else []
        ),
    ]


def _edges(results: StudyResults) -> list[str]:
    """Cells whose seeds chose a rate at the edge of the grid.

    A seed does not count if another rate did equally well: then nothing suggests a better one beyond the edge.
    """
    grid = results.learning_rates
    if len(grid) < 2:
        return []
    sides = []
    for rate, word in ((grid[0], "lowest"), (grid[-1], "highest")):
        at = [(cell, count) for cell in results.cells if (count := _seeds_at(results, cell, rate))]
        if at:
            sides.append(f"{word} end: {_listed([_with_seeds(cell, count) for cell, count in at])}")
    if not sides:
        return []
    return [f"the best learning rate is at the edge of the grid, a better one may be outside it ({'; '.join(sides)})"]


def _seeds_at(results: StudyResults, cell: CellResult, edge: float) -> int:
    """Number of seeds that chose this rate, and did worse at every other."""
    return sum(
        rate == edge and not _as_good_elsewhere(results, cell, seed, rate) for seed, rate in cell.chosen_rates.items()
    )


def _as_good_elsewhere(results: StudyResults, cell: CellResult, seed: int, chosen: float) -> bool:
    name = (cell.task, cell.arm, cell.data_fraction, seed)
    runs = [run for run in results.runs if (run.task, run.arm, run.data_fraction, run.seed) == name and not run.varied]
    best = next((run.validation for run in runs if run.learning_rate == chosen), None)
    others = [run for run in runs if run.learning_rate != chosen and run.status != "diverged"]
    return best is not None and any(run.validation == best for run in others)


def _with_seeds(cell: CellResult, count: int) -> str:
    """The cell, with the number of seeds unless it is all of them."""
    seeds = len(cell.chosen_rates)
    return _cell(cell) if count == seeds else f"{_cell(cell)}, {count} of {seeds} seeds"


def _seeds(results: StudyResults) -> list[str]:
    count = len(results.seeds)
    if count == 1:
        return ["one seed: there is no evidence for any difference"]
    return [f"{count} seeds: too few for a verdict, which needs 3"] if count < 3 else []


def _common_choice(results: StudyResults) -> list[str]:
    if results.choose == "per_seed" or len(results.learning_rates) < 2:
        return []
    return [
        "one learning rate was chosen for all seeds together: a wrong choice looks like an effect, and p-values do not "
        "account for it; with choose: per_seed they do"
    ]


def _held(results: StudyResults) -> list[str]:
    cells = [cell for cell in results.cells if cell.held]
    if not cells:
        return []
    names = _names(name for cell in cells for name in cell.held)
    return [
        f"recipes fix the seed of some sources of randomness ({names}), so verdicts and intervals leave out their "
        f"noise: {_cells(cells)}"
    ]


def _lengths(results: StudyResults) -> list[str]:
    """Arms of one task that trained for different numbers of steps without a common budget.

    Early stopping may end a run before the others, so the longest run of each cell is compared.
    """
    if results.budget != "each recipe's own length":
        return []
    found = []
    for task, fraction in dict.fromkeys((cell.task, cell.data_fraction) for cell in results.cells):
        here = [cell for cell in results.cells if (cell.task, cell.data_fraction) == (task, fraction) and cell.steps]
        longest = {cell.arm: max(cell.steps) for cell in here if cell.complete}
        if len(set(longest.values())) > 1:
            steps = ", ".join(f"{arm} {count:,}" for arm, count in longest.items())
            found.append(f"no budget was set, and arms trained for different numbers of steps on {task}: {steps}")
    return list(dict.fromkeys(found))


def _same_runs(results: StudyResults) -> list[str]:
    """Arms that share runs on a task: their recipes differ in nothing, and so do their results."""
    users: dict[tuple[str, str], dict[str, None]] = {}
    for run in results.runs:
        if run.address and not run.varied:
            users.setdefault((run.task, run.address), {})[run.arm] = None
    shared: dict[tuple[str, ...], dict[str, None]] = {}
    for (task, _), arms in users.items():
        if len(arms) > 1:
            shared.setdefault(tuple(arms), {})[task] = None
    if not shared:
        return []
    said = "; ".join(f"{', '.join(arms)} on {', '.join(tasks)}" for arms, tasks in shared.items())
    return [f"arms whose recipes differ in nothing, so that they have the same runs: {said}"]


def _versions(results: StudyResults) -> list[str]:
    differing = {name: versions for name, versions in results.versions.items() if len(versions) > 1}
    if not differing:
        return []
    return ["runs were made with different versions: " + _pairs({k: " and ".join(v) for k, v in differing.items()})]


def _at_guessing(results: StudyResults) -> list[str]:
    at = [cell for cell in results.cells if _is_at_guessing(cell)]
    if not at:
        return []
    levels = dict.fromkeys(
        f"{100 * cell.uninformed:.1f} % on {cell.task}" for cell in at if cell.uninformed is not None
    )
    return [
        "no better than guessing or always answering with the most frequent class, within two standard errors: "
        f"{_cells(at)}; this gives {', '.join(levels)}"
    ]


def _is_at_guessing(cell: CellResult) -> bool:
    main, level = cell.main, cell.uninformed
    if main is None or main.mean is None or level is None:
        return False
    return main.mean <= level + 2 * (main.sem or 0.0)


def _diverged(results: StudyResults) -> list[str]:
    counts = [
        f"{_cell(cell)} at {', '.join(f'{rate.learning_rate:g}{_of_runs(rate)}' for rate in gone)}"
        for cell in results.cells
        if (gone := [rate for rate in cell.rates if rate.diverged])
    ]
    lost = [
        f"{_cell(cell)} ({cell.reason})"
        for cell in results.cells
        if cell.complete and len(cell.chosen_rates) < len(results.seeds_of(cell))
    ]
    per_seed = results.choose == "per_seed"
    out = "so their seeds did not choose these rates" if per_seed else "so their rates were excluded"
    return [
        *([f"no learning rate could be chosen: {'; '.join(lost)}"] if lost else []),
        *([f"runs diverged, {out}: {'; '.join(counts)}"] if counts else []),
    ]


def _of_runs(rate: RateResult) -> str:
    """How many of a rate's runs diverged, unless all did."""
    return "" if rate.diverged == len(rate.runs) else f" ({rate.diverged} of {len(rate.runs)} seeds)"


def _skipped(results: StudyResults) -> list[str]:
    if not results.skipped:
        return []
    listed = "; ".join(f"{name}: {reason}" for name, reason in results.skipped.items())
    return [f"cells that cannot be made: {listed}"]


def _cell(cell: CellResult) -> str:
    share = "" if cell.data_fraction == 1 else f", {cell.data_fraction:g} of the data"
    return f"{cell.arm} on {cell.task}{share}"


def _cells(cells: Sequence[CellResult]) -> str:
    """Names of the cells, limited to the first few: the tables mark all."""
    return _listed([_cell(cell) for cell in cells])


def _listed(texts: Sequence[str]) -> str:
    shown = [*texts[:SHOWN], *([f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else [])]
    return "; ".join(shown)


def _names(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _pairs(pairs: dict[str, str]) -> str:
    return ", ".join(f"{name} ({value})" for name, value in pairs.items())


def _is_are(count: int) -> str:
    return "is" if count == 1 else "are"
