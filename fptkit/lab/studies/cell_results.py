"""Makes the record of one cell's results from its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from fptkit.lab.studies.cell_runs import CellRuns, is_number, test_value
from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.outcome import Outcome, Status
from fptkit.lab.studies.plan import Trial
from fptkit.lab.studies.results import CellResult, CommonRate, Estimate, Failure, RateResult, RunRow, run_folder
from fptkit.lab.studies.search.choice import is_trained


def cell_result(settings: StudySettings, runs: CellRuns, ledger_folder: Path) -> CellResult:
    """Summarise the runs of a cell.

    Args:
        settings: settings of the study.
        runs: the runs of the cell.
        ledger_folder: folder of the ledger, to read the runs' validation curves.
    """
    from fptkit.lab.studies.efficiency import effort, mean_curve, validation_curve

    name, chosen = runs.cell.name, list(runs.chosen.values())
    example = runs.example
    told: Mapping[str, Any] = example.summary if example else {}
    metric = told.get("selection", {}).get("metric", "")
    test = _tests(chosen, told, metric)
    train = _of_metric(chosen, ("train",), metric)
    curves = [validation_curve(run_folder(ledger_folder, outcome.address), metric) for outcome in chosen]
    target = settings.targets.get(name.task)
    flops = told.get("flops_per_step")
    higher = example.higher_is_better if example else True
    rates = set(runs.chosen_rates.values())
    return CellResult(
        task=name.task,
        arm=name.arm,
        data_fraction=name.data_fraction,
        complete=not any(trial in runs.missing for trial in runs.outcomes) and bool(runs.outcomes) and not runs.growing,
        metric=metric,
        higher_is_better=higher,
        fraction=bool(example and example.fraction),
        rates=tuple(_rate_result(runs, rate) for rate in runs.rates),
        chosen_rates=dict(runs.chosen_rates),
        chosen_rate=rates.pop() if len(rates) == 1 else None,
        common=_common(settings, runs, told, metric),
        reason=runs.reason,
        at_edge=_edge(settings, runs),
        validation=_estimate(runs.validated(runs.chosen)) if runs.chosen_rates else None,
        test_split=next(iter(_splits(told)), ""),
        test=test,
        train=train if train.values else None,
        curve=mean_curve(curves),
        effort=effort(curves, target, higher_is_better=higher, flops_per_step=flops)
        if target is not None and any(curves)
        else None,
        flops_per_step=flops,
        steps=tuple(outcome.summary["steps"] for outcome in chosen if "steps" in outcome.summary),
        best_steps=tuple(outcome.summary["best_step"] for outcome in chosen if "best_step" in outcome.summary),
        majority=example.majority if example else None,
        chance=example.chance if example else None,
        held=runs.cell.train.seeds.model_dump(exclude_none=True),
        precision=_precision(runs),
        **_shared_facts(told),
    )


def failures_of(runs: CellRuns) -> list[Failure]:
    """The missing runs of a cell."""
    return [
        Failure(
            **_place(runs, trial),
            address=outcome.address,
            status=outcome.status if outcome.status in ("failed", "lost", "interrupted") else "waiting",
            reason=outcome.reason or _why_missing(outcome),
        )
        for trial, outcome in {**runs.outcomes, **runs.varied}.items()
        if trial in runs.missing
    ]


def rows_of(runs: CellRuns) -> list[RunRow]:
    """All runs of a cell."""
    return [
        RunRow(
            **_place(runs, trial),
            address=outcome.address,
            status=_status(runs, trial, outcome),
            steps=_steps(outcome),
            validation=outcome.validation if is_number(outcome.validation) else None,
            test=value if is_number(value := test_value(outcome)) else None,
        )
        for trial, outcome in {**runs.outcomes, **runs.varied}.items()
    ]


def _status(runs: CellRuns, trial: Trial, outcome: Outcome) -> Status:
    """Status of a run in the results.

    A worker may die, or be stopped, after everything that the search needs of its run is saved. Such a run is not
    continued, and counts as what it would have become: results do not depend on what was killed when.
    """
    if trial in runs.missing or outcome.status not in ("lost", "interrupted", "waiting"):
        return outcome.status
    return "validated" if is_trained(runs.cell, outcome) else "paused"


def _precision(runs: CellRuns) -> str:
    """How the cell's runs stored and multiplied frozen weights; several if machines chose differently."""
    found = {outcome.summary.get("precision") for outcome in runs.outcomes.values()}
    return ", ".join(sorted(filter(None, found)))


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
        "pretrained_on": backbone.get("pretrained_on", ""),
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
        "training_parts": dict(told.get("training_parts", {})),
    }


def _splits(told: Mapping[str, Any]) -> list[str]:
    return list(told.get("metrics", {}).get("test", {}))


def _tests(outcomes: Iterable[Outcome], told: Mapping[str, Any], metric: str) -> dict[str, Estimate]:
    """The selection metric on every test split, over the runs that have it."""
    found = {split: _of_metric(outcomes, ("test", split), metric) for split in _splits(told)}
    return {split: estimate for split, estimate in found.items() if estimate.values}


def _common(settings: StudySettings, runs: CellRuns, told: Mapping[str, Any], metric: str) -> CommonRate | None:
    """Figures at one rate for all seeds, beside those of a choice for each seed among several rates."""
    if settings.choose != "per_seed" or len(runs.rates) < 2 or not runs.chosen_rates or runs.growing:
        return None
    if runs.common_rate is None:
        return CommonRate(learning_rate=None)
    there = runs.at(runs.common_rate)
    return CommonRate(
        learning_rate=runs.common_rate,
        validation=_estimate(runs.validated(there)),
        test=_tests(there.values(), told, metric),
    )


def _rate_result(runs: CellRuns, rate: float) -> RateResult:
    there = runs.at(rate)
    return RateResult(
        learning_rate=rate,
        validation=_estimate(runs.validated(there)),
        runs=tuple(outcome.address for outcome in there.values()),
        diverged=sum(outcome.status == "diverged" for outcome in there.values()),
        steps=max(map(_steps, there.values()), default=0),
    )


def _steps(outcome: Outcome) -> int:
    return int(outcome.summary.get("steps", outcome.step))


def _edge(settings: StudySettings, runs: CellRuns) -> Literal["", "low", "high", "both"]:
    """The ends of the grid at which seeds chose their rate; a single rate has no end."""
    rates = sorted(settings.learning_rates)
    if len(rates) < 2:
        return ""
    low = any(rate <= rates[0] for rate in runs.chosen_rates.values())
    high = any(rate >= rates[-1] for rate in runs.chosen_rates.values())
    return "both" if low and high else "low" if low else "high" if high else ""


def _of_metric(outcomes: Iterable[Outcome], where: tuple[str, ...], metric: str) -> Estimate:
    """A metric on one split, over the runs that have it."""
    values = []
    for outcome in outcomes:
        found: Any = outcome.summary.get("metrics", {})
        for key in where:
            found = found.get(key, {})
        if is_number(value := found.get(metric)):
            values.append(value)
    return _estimate(dict(enumerate(values)))


def _estimate(by_seed: Mapping[int, float]) -> Estimate:
    from fptkit.lab.studies.statistics import mean_and_error

    values = tuple(map(float, by_seed.values()))
    mean, error = mean_and_error(values)
    return Estimate(values=values, mean=mean, sem=error)


def _why_missing(outcome: Outcome) -> str:
    if outcome.status == "validated":
        return "trained, not tested yet"
    steps = _steps(outcome)
    return f"not finished: {steps:,} steps done" if steps else "not started"


def _place(runs: CellRuns, trial: Trial) -> dict[str, Any]:
    name = runs.cell.name
    return {
        "task": name.task,
        "arm": name.arm,
        "data_fraction": name.data_fraction,
        "learning_rate": trial.learning_rate,
        "seed": trial.seed,
        "varied": trial.varied,
    }
