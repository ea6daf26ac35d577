"""Makes the results file of a study: a pure function of what its runs computed.

Times, machines and the order in which runs ended are omitted, so that every launcher gives the same bytes; the costs of
runs are in a separate file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fptkit.files import write_text
from fptkit.lab.studies.address import address_of
from fptkit.lab.studies.cells import recipe_for_trial
from fptkit.lab.studies.in_words import budget_words, search_words
from fptkit.lab.studies.locking.lock import NEVER_LOCKED, Compared
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Cell, Study, Trial
from fptkit.lab.studies.results import (
    COSTS,
    RESULTS,
    CellResult,
    Costs,
    Estimate,
    Failure,
    RateResult,
    RunCost,
    RunRow,
    StudyResults,
    run_folder,
)
from fptkit.lab.studies.search import next_step
from fptkit.lab.studies.search.choice import is_trained


@dataclass(frozen=True)
class CellRuns:
    """The runs of one cell that its search requested.

    Args:
        cell: the cell.
        outcomes: outcome of every trial, by rate and then seed in the order of the study.
        chosen_rate: the rate chosen on validation; None before the choice or if none can be chosen.
        missing: trials that the cell still needs, and failed ones.
        reason: why no rate could be chosen, or which rates were excluded.
    """

    cell: Cell
    outcomes: Mapping[Trial, Outcome]
    chosen_rate: float | None
    missing: frozenset[Trial]
    reason: str = ""

    def at(self, rate: float | None) -> dict[int, Outcome]:
        """Outcomes at a learning rate, by seed."""
        return {trial.seed: outcome for trial, outcome in self.outcomes.items() if trial.learning_rate == rate}

    @property
    def example(self) -> Outcome | None:
        """A run to read shared facts from: preferably a finished one, and one at the chosen rate."""
        runs = [*self.at(self.chosen_rate).values(), *self.outcomes.values()]
        told = [outcome for outcome in runs if outcome.summary.get("selection")]
        return next(iter([outcome for outcome in told if outcome.status == "finished"] + told), None)


def summarise(study: Study, outcomes: Mapping[str, Outcome], ledger_folder: Path) -> StudyResults:
    """Summarise the current results of a study.

    Args:
        study: the checked study.
        outcomes: outcomes of its runs, by address; a run without one counts as not started.
        ledger_folder: folder of the ledger, to read the runs' validation curves.
    """
    from fptkit.lab.studies.caveats import warnings_of
    from fptkit.lab.studies.comparisons import Scores, comparisons_and_lifts
    from fptkit.lab.studies.statistics import CONFIDENCE, LEVEL

    runs = [runs_of(study, cell, outcomes) for cell in study.cells]
    cells = tuple(_cell_result(study, one, ledger_folder) for one in runs)
    scores = {
        one.cell.name: Scores(
            test=_tested(one),
            validation=_validated(one, one.chosen_rate),
            other_rates=[_validated(one, rate) for rate in _rates(one) if rate != one.chosen_rate],
            higher_is_better=result.higher_is_better,
        )
        for one, result in zip(runs, cells, strict=True)
    }
    comparisons, lifts = comparisons_and_lifts(study, scores)
    settings = study.settings
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
        seeds=settings.seeds,
        learning_rates=tuple(sorted(settings.learning_rates)),
        search=search_words(study),
        budget=budget_words(study),
        confidence=CONFIDENCE,
        level=LEVEL,
        cells=cells,
        comparisons=comparisons,
        lifts=lifts,
        skipped={str(name): reason for name, reason in study.skipped.items()},
        failures=tuple(failure for one in runs for failure in _failures(one)),
        runs=tuple(row for one in runs for row in _rows(one)),
    )
    return results.model_copy(update={"warnings": warnings_of(results)})


def write_results(
    study: Study,
    outcomes: Mapping[str, Outcome],
    ledger_folder: Path,
    folder: Path,
    compared: Compared = NEVER_LOCKED,
) -> StudyResults:
    """Summarise a study and write its results and costs.

    Args:
        study, outcomes, ledger_folder: as in `summarise`.
        folder: folder of the study's own files; created if missing.
        compared: the study compared with its locked plan.

    Returns:
        The results as written.
    """
    results = summarise(study, outcomes, ledger_folder)
    results = results.model_copy(update={"plan": compared.plan, "deviations": compared.deviations})
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RESULTS, results.model_dump_json(indent=2) + "\n")
    costs = Costs(runs={row.address: cost for row in results.runs if (cost := _cost(outcomes.get(row.address)))})
    write_text(folder / COSTS, costs.model_dump_json(indent=2) + "\n")
    return results


def runs_of(study: Study, cell: Cell, outcomes: Mapping[str, Outcome]) -> CellRuns:
    """Replay a cell's search on the known outcomes, so that the same code chooses the rate as in the study.

    Args:
        study: the study.
        cell: the cell.
        outcomes: outcomes of the study's runs, by address.
    """
    known: dict[Trial, Outcome] = {}
    while True:
        step = next_step(study.settings, cell, known)
        unknown = [request.trial for request in step.requests if request.trial not in known]
        if not unknown:
            break
        for trial in unknown:
            loaded = recipe_for_trial(cell, trial)
            address = address_of(loaded.recipe, study.code_version, registry=loaded.registry)
            known[trial] = outcomes.get(address) or Outcome(address)
    seeds = {seed: place for place, seed in enumerate(study.settings.seeds)}
    in_order = sorted(known, key=lambda trial: (trial.learning_rate, seeds.get(trial.seed, len(seeds)), trial.seed))
    failed = {trial for trial, outcome in known.items() if outcome.status == "failed"}
    return CellRuns(
        cell=cell,
        outcomes={trial: known[trial] for trial in in_order},
        chosen_rate=step.chosen_rate,
        missing=frozenset(failed | {request.trial for request in step.requests}),
        reason=step.reason if step.done else "",
    )


def _cell_result(study: Study, runs: CellRuns, ledger_folder: Path) -> CellResult:
    from fptkit.lab.studies.efficiency import effort, mean_curve, validation_curve

    name, chosen = runs.cell.name, runs.at(runs.chosen_rate)
    example = runs.example
    told: Mapping[str, Any] = example.summary if example else {}
    metric = told.get("selection", {}).get("metric", "")
    splits = list(told.get("metrics", {}).get("test", {}))
    tests = {split: found for split in splits if (found := _of_metric(chosen.values(), ("test", split), metric)).values}
    train = _of_metric(chosen.values(), ("train",), metric)
    curves = [validation_curve(run_folder(ledger_folder, outcome.address), metric) for outcome in chosen.values()]
    target = study.settings.targets.get(name.task)
    flops = told.get("flops_per_step")
    higher = example.higher_is_better if example else True
    return CellResult(
        task=name.task,
        arm=name.arm,
        data_fraction=name.data_fraction,
        complete=not runs.missing and bool(runs.outcomes),
        metric=metric,
        higher_is_better=higher,
        fraction=bool(example and example.fraction),
        rates=tuple(_rate_result(runs, rate) for rate in _rates(runs)),
        chosen_rate=runs.chosen_rate,
        reason=runs.reason,
        at_edge=_edge(study, runs),
        validation=_estimate(_validated(runs, runs.chosen_rate)) if runs.chosen_rate is not None else None,
        test_split=splits[0] if splits else "",
        test=tests,
        train=train if train.values else None,
        curve=mean_curve(curves),
        effort=effort(curves, target, higher_is_better=higher, flops_per_step=flops)
        if target is not None and any(curves)
        else None,
        flops_per_step=flops,
        steps=tuple(outcome.summary["steps"] for outcome in chosen.values() if "steps" in outcome.summary),
        best_steps=tuple(outcome.summary["best_step"] for outcome in chosen.values() if "best_step" in outcome.summary),
        majority=example.majority if example else None,
        **_shared_facts(told),
    )


def _shared_facts(told: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about the components that all runs of a cell share; empty if no run has started."""
    if not told:
        return {}
    task, backbone = told.get("task", {}), told.get("backbone", {})
    return {
        "parameters": dict(told.get("parameters", {})),
        "task_name": task.get("name", ""),
        "protocol": task.get("protocol", ""),
        "source": task.get("source", ""),
        "data_stand_in": bool(task.get("stand_in", False)),
        "task_options": task.get("options"),
        "backbone": backbone.get("name", ""),
        "weights": backbone.get("weights", ""),
        "init": backbone.get("init", ""),
        "weights_stand_in": bool(backbone.get("stand_in", False)),
        "blocks": backbone.get("blocks"),
        "width": backbone.get("width"),
        "backbone_options": backbone.get("options"),
        "freezing": told.get("freezing", ""),
        "freezing_options": dict(told.get("freezing_options", {})),
        "readout": told.get("readout", ""),
        "encoder": told.get("encoder", ""),
        "schedule": told.get("schedule", ""),
        "shuffle_tokens": bool(told.get("shuffle_tokens", False)),
        "head_options": dict(told.get("head_options", {})),
    }


def _rates(runs: CellRuns) -> list[float]:
    """The tried rates, ascending."""
    return sorted({trial.learning_rate for trial in runs.outcomes})


def _rate_result(runs: CellRuns, rate: float) -> RateResult:
    there = runs.at(rate).values()
    return RateResult(
        learning_rate=rate,
        validation=_estimate(_validated(runs, rate)),
        runs=tuple(outcome.address for outcome in there),
        diverged=sum(outcome.status == "diverged" for outcome in there),
        steps=max((_steps(outcome) for outcome in there), default=0),
    )


def _steps(outcome: Outcome) -> int:
    return int(outcome.summary.get("steps", outcome.step))


def _edge(study: Study, runs: CellRuns) -> str:
    """The end of the grid at which the chosen rate is; a single rate has no end."""
    rates = sorted(study.settings.learning_rates)
    if len(rates) < 2 or runs.chosen_rate is None:
        return ""
    return "low" if runs.chosen_rate <= rates[0] else "high" if runs.chosen_rate >= rates[-1] else ""


def _validated(runs: CellRuns, rate: float | None) -> dict[int, float]:
    """Validation at a rate by seed, for runs that reached the step the search requested."""
    return {
        seed: float(value)
        for seed, outcome in runs.at(rate).items()
        if (outcome.status == "paused" or is_trained(runs.cell, outcome))
        and (value := outcome.validation) is not None
        and math.isfinite(value)
    }


def _tested(runs: CellRuns) -> dict[int, float]:
    """Result on the first test split at the chosen rate, by seed."""
    return {
        seed: value for seed, outcome in runs.at(runs.chosen_rate).items() if _is_number(value := _test_value(outcome))
    }


def _test_value(outcome: Outcome) -> Any:
    found = outcome.summary.get("metrics", {}).get("test", {})
    split = next(iter(found), None)
    return found[split].get(outcome.summary.get("selection", {}).get("metric")) if split else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _of_metric(outcomes: Any, where: tuple[str, ...], metric: str) -> Estimate:
    """A metric on one split, over the runs that have it."""
    values = []
    for outcome in outcomes:
        found = outcome.summary.get("metrics", {})
        for key in where:
            found = found.get(key, {})
        if _is_number(value := found.get(metric)):
            values.append(value)
    return _estimate(dict(enumerate(values)))


def _estimate(by_seed: Mapping[int, float]) -> Estimate:
    from fptkit.lab.studies.statistics import mean_and_error

    values = tuple(map(float, by_seed.values()))
    mean, error = mean_and_error(values)
    return Estimate(values=values, mean=mean, sem=error)


def _failures(runs: CellRuns) -> list[Failure]:
    return [
        Failure(
            **_place(runs, trial),
            address=outcome.address,
            status=outcome.status if outcome.status in ("failed", "lost", "interrupted") else "waiting",
            reason=outcome.reason or _why_missing(outcome),
        )
        for trial, outcome in runs.outcomes.items()
        if trial in runs.missing
    ]


def _why_missing(outcome: Outcome) -> str:
    if outcome.status == "validated":
        return "trained, not tested yet"
    steps = _steps(outcome)
    return f"not finished: {steps:,} steps done" if steps else "not started"


def _rows(runs: CellRuns) -> list[RunRow]:
    return [
        RunRow(
            **_place(runs, trial),
            address=outcome.address,
            status=outcome.status,
            steps=_steps(outcome),
            validation=outcome.validation if _is_number(outcome.validation) else None,
            test=value if _is_number(value := _test_value(outcome)) else None,
        )
        for trial, outcome in runs.outcomes.items()
    ]


def _place(runs: CellRuns, trial: Trial) -> dict[str, Any]:
    name = runs.cell.name
    return {
        "task": name.task,
        "arm": name.arm,
        "data_fraction": name.data_fraction,
        "learning_rate": trial.learning_rate,
        "seed": trial.seed,
    }


def _versions(runs: Sequence[CellRuns]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for one in runs:
        for outcome in one.outcomes.values():
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
