"""From the runs of a study to its results file: a pure function of what the runs computed.

Times, machines and the order in which runs ended are left out, so that every launcher gives the same bytes; what runs
cost is a file of its own.
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
    """The runs of one cell that its search asked for.

    Args:
        cell: which.
        outcomes: of every trial, by rate and then seed in the order of the study.
        chosen_rate: by validation; None while it is open.
        missing: trials the cell still needs, and those that failed.
        reason: where no rate could be chosen, why; else what was left out of the choice.
    """

    cell: Cell
    outcomes: Mapping[Trial, Outcome]
    chosen_rate: float | None
    missing: frozenset[Trial]
    reason: str = ""

    def at(self, rate: float | None) -> dict[int, Outcome]:
        """The outcomes at a rate, by seed."""
        return {trial.seed: outcome for trial, outcome in self.outcomes.items() if trial.learning_rate == rate}

    @property
    def example(self) -> Outcome | None:
        """A run that tells what all share: the first at the chosen rate, one that was tested if there is one."""
        runs = [*self.at(self.chosen_rate).values(), *self.outcomes.values()]
        told = [outcome for outcome in runs if outcome.summary.get("selection")]
        return next(iter([outcome for outcome in told if outcome.status == "finished"] + told), None)


def summarise(study: Study, outcomes: Mapping[str, Outcome], ledger_folder: Path) -> StudyResults:
    """The results of a study as far as its runs have come.

    Args:
        study: the checked study.
        outcomes: of the runs, by address; one that is not there counts as not started.
        ledger_folder: the folder runs lie in, for their curves.
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
        search=_search_words(study),
        budget=_budget_words(study),
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


def write_results(study: Study, outcomes: Mapping[str, Outcome], ledger_folder: Path, folder: Path) -> StudyResults:
    """Summarise a study and write its results and costs.

    Args:
        study, outcomes, ledger_folder: as for `summarise`.
        folder: the study's own; made if it is not there.
    """
    results = summarise(study, outcomes, ledger_folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RESULTS, results.model_dump_json(indent=2) + "\n")
    costs = Costs(runs={row.address: cost for row in results.runs if (cost := _cost(outcomes.get(row.address)))})
    write_text(folder / COSTS, costs.model_dump_json(indent=2) + "\n")
    return results


def runs_of(study: Study, cell: Cell, outcomes: Mapping[str, Outcome]) -> CellRuns:
    """Replay a cell's search over what is known: the rate is chosen by the code that chose it in the study."""
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
    """What all runs of a cell say alike of their parts; nothing where no run has begun."""
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
    """The rates that were tried, ascending."""
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
    """Which end of the rates the chosen one lies on; a single rate has none."""
    rates = sorted(study.settings.learning_rates)
    if len(rates) < 2 or runs.chosen_rate is None:
        return ""
    return "low" if runs.chosen_rate <= rates[0] else "high" if runs.chosen_rate >= rates[-1] else ""


def _validated(runs: CellRuns, rate: float | None) -> dict[int, float]:
    """Validation at a rate by seed, of runs that came as far as the search asked."""
    return {
        seed: float(value)
        for seed, outcome in runs.at(rate).items()
        if (outcome.status == "paused" or is_trained(runs.cell, outcome))
        and (value := outcome.validation) is not None
        and math.isfinite(value)
    }


def _tested(runs: CellRuns) -> dict[int, float]:
    """The first test split's figure at the chosen rate by seed."""
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
    """A metric of some split over the runs that have it."""
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
        return "trained, its test is not opened yet"
    steps = _steps(outcome)
    return f"not finished: {steps:,} steps are done" if steps else "not started"


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


def _search_words(study: Study) -> str:
    settings = study.settings
    if not settings.learning_rates:
        return "each recipe's own learning rate"
    search, count = settings.search, len(settings.learning_rates)
    ends = f"{min(settings.learning_rates):g} to {max(settings.learning_rates):g}"
    words = {
        "grid": f"grid of {count} rate{'s' if count != 1 else ''}, {ends}, chosen on validation"
        if count > 1
        else f"the rate {settings.learning_rates[0]:g}",
        "halving": f"successive halving of {count} rates, {ends}, one in {search.keep} goes on at each of "
        f"{search.rungs} rungs, chosen on validation",
        "optuna": f"optuna (TPE), {search.trials} rates between {ends}, chosen on validation",
    }[search.name]
    few = search.seeds is not None and search.seeds < len(settings.seeds)
    return words + (f" with {search.seeds} of {len(settings.seeds)} seeds" if few else "")


def _budget_words(study: Study) -> str:
    budget = study.settings.budget
    if budget.steps is not None:
        return f"{budget.steps:,} steps each"
    if budget.seconds is not None:
        return f"{budget.seconds:g} seconds of training each"
    if budget.flops is not None:
        return f"{budget.flops:.3g} floating-point operations of training each"
    return "each recipe's own length"


def _cost(outcome: Outcome | None) -> RunCost | None:
    """What a run cost, None where it has not told."""
    told = outcome.summary if outcome else {}
    if not {"seconds", "peak_memory_mib", "device", "threads"} <= told.keys():
        return None
    return RunCost(
        seconds=told["seconds"],
        peak_memory_mib=told["peak_memory_mib"],
        device=told["device"],
        threads=told["threads"],
    )
