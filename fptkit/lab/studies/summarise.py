"""Makes the results file of a study: a pure function of what its runs computed.

Times, machines and the order in which runs ended are omitted, so that every launcher gives the same bytes; the costs of
runs are in a separate file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from fptkit.files import write_text
from fptkit.lab.studies.address import address_of
from fptkit.lab.studies.cell_results import cell_result, failures_of, rows_of
from fptkit.lab.studies.cell_runs import CellRuns, Lookup, runs_of
from fptkit.lab.studies.cells import recipe_for_trial
from fptkit.lab.studies.in_words import budget_words, search_words, until_words
from fptkit.lab.studies.noise import noise_of
from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.pairs import Scores
from fptkit.lab.studies.plan import CellFacts, CellName, Study, StudyFacts, Trial
from fptkit.lab.studies.results import COSTS, RESULTS, CellResult, Costs, RunCost, StudyResults
from fptkit.lab.studies.seeds import SeedResults, seeds_of_cells


def summarise(study: Study, outcomes: Mapping[str, Outcome], ledger_folder: Path) -> StudyResults:
    """Summarise the current results of a study.

    Args:
        study: the checked study.
        outcomes: outcomes of its runs, by address; a run without one counts as not started.
        ledger_folder: folder of the ledger, to read the runs' validation curves.
    """
    return results_of(study.facts, lookup_by_address(study, outcomes), ledger_folder)


def results_of(study: StudyFacts, lookup: Lookup, ledger_folder: Path) -> StudyResults:
    """Summarise the current results of a study, wherever its outcomes are read from.

    Args:
        study: the study; needs neither its recipes nor plugins.
        lookup: the outcome of a cell's trial.
        ledger_folder: folder of the ledger, to read the runs' validation curves.
    """
    from fptkit.lab.studies.caveats import warnings_of
    from fptkit.lab.studies.conclusions import conclusions_of
    from fptkit.lab.studies.statistics import CONFIDENCE, LEVEL

    settings = study.settings
    needed = seeds_of_cells(study, SeedResults(study, lookup))
    runs = [_runs(settings, cell, *needed.of(cell.name), lookup) for cell in study.cells]
    cells = tuple(cell_result(settings, one, ledger_folder) for one in runs)
    concluded = conclusions_of(
        study, {one.cell.name: _scores(one, cell) for one, cell in zip(runs, cells, strict=True)}
    )
    results = StudyResults(
        name=study.name,
        description=settings.description,
        question=settings.question,
        profile=study.profile,
        code_version=study.code_version,
        versions=_versions(runs),
        tasks=study.tasks,
        arms=study.arms,
        arm_summaries=dict(study.arm_summaries),
        reference=study.reference,
        seeds=tuple(dict.fromkeys([*settings.first_seeds, *(seed for one in runs for seed in one.seeds)])),
        learning_rates=tuple(sorted(settings.learning_rates)),
        choose=settings.choose,
        until=until_words(settings),
        smoke=study.smoke,
        search=search_words(settings),
        budget=budget_words(settings),
        confidence=CONFIDENCE,
        level=LEVEL,
        cells=cells,
        comparisons=concluded.comparisons,
        lifts=concluded.lifts,
        answers=concluded.answers,
        ranks=concluded.ranks,
        noise=tuple(noise for one in runs for noise in noise_of(one)),
        skipped=dict(study.skipped),
        failures=tuple(failure for one in runs for failure in failures_of(one)),
        runs=tuple(row for one in runs for row in rows_of(one)),
    )
    return results.model_copy(update={"warnings": warnings_of(results)})


def write_results(
    study: Study,
    outcomes: Mapping[str, Outcome],
    ledger_folder: Path,
    folder: Path,
    *,
    mark: Callable[[StudyResults], StudyResults] = lambda results: results,
) -> StudyResults:
    """Summarise a study and write its results and costs.

    Args:
        study, outcomes, ledger_folder: as in `summarise`.
        folder: folder of the study's own files; created if missing.
        mark: completes the results before they are written.

    Returns:
        The results as written.
    """
    results = mark(summarise(study, outcomes, ledger_folder))
    folder.mkdir(parents=True, exist_ok=True)
    save_results(results, costs_of(results, outcomes), folder)
    return results


def save_results(results: StudyResults, costs: Costs, folder: Path) -> None:
    """Write results and costs into a study's folder."""
    write_text(folder / RESULTS, results.model_dump_json(indent=2) + "\n")
    write_text(folder / COSTS, costs.model_dump_json(indent=2) + "\n")


def costs_of(results: StudyResults, outcomes: Mapping[str, Outcome]) -> Costs:
    """The costs of a study's runs, from their outcomes by address; a run that recorded none is left out."""
    return Costs(runs={row.address: cost for row in results.runs if (cost := _cost(outcomes.get(row.address)))})


def lookup_by_address(study: Study, outcomes: Mapping[str, Outcome]) -> Lookup:
    """Look up the outcomes of a study's trials by the addresses of their runs.

    Args:
        study: the checked study.
        outcomes: outcomes of its runs, by address; a run without one counts as not started.
    """
    cells = {cell.name: cell for cell in study.cells}

    @cache
    def lookup(name: CellName, trial: Trial) -> Outcome:
        loaded = recipe_for_trial(cells[name], trial)
        address = address_of(loaded.recipe, study.code_version, registry=loaded.registry, data=study.data)
        return outcomes.get(address) or Outcome(address)

    return lookup


def _runs(settings: StudySettings, cell: CellFacts, seeds: Sequence[int], growing: bool, lookup: Lookup) -> CellRuns:
    return runs_of(settings, cell, seeds, partial(lookup, cell.name), growing=growing)


def _scores(runs: CellRuns, cell: CellResult) -> Scores:
    return Scores(runs.tested, runs.seeds, cell.measure, cell.higher_is_better, cell.complete)


def _versions(runs: Sequence[CellRuns]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for one in runs:
        for outcome in (*one.outcomes.values(), *one.varied.values()):
            for name, version in outcome.summary.get("versions", {}).items():
                found.setdefault(name, set()).add(version)
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


def _cost(outcome: Outcome | None) -> RunCost | None:
    """The cost of a run; None if it has not recorded it yet."""
    told = outcome.summary if outcome else {}
    if not {"seconds", "peak_memory_mib", "device", "threads"} <= told.keys():
        return None
    return RunCost(
        seconds=told["seconds"],
        peak_memory_mib=told["peak_memory_mib"],
        device=told["device"],
        threads=told["threads"],
    )
