"""Made-up study results for tests of reports, in the form that runs give."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from fptkit.lab.studies.results import (
    COSTS,
    RESULTS,
    CellResult,
    Comparison,
    Costs,
    CurvePoint,
    Effort,
    Estimate,
    Failure,
    RateResult,
    RunCost,
    RunRow,
    StudyResults,
)

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


def estimate(values: Sequence[float]) -> Estimate:
    sem = stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return Estimate(values=tuple(values), mean=fmean(values) if values else None, sem=sem)


def address(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def cell(task: str, arm: str, *, seeds: Sequence[int], rates: Sequence[float], level: float, **more: Any) -> CellResult:
    """A finished cell whose accuracy lies about ``level`` and peaks at one rate of the grid."""
    rng = random.Random(f"{task} {arm} {more.get('data_fraction')}")
    peak = rng.randrange(len(rates))
    fraction = more.get("data_fraction", 1.0)
    tried = []
    for position, rate in enumerate(rates):
        at = max(0.02, level - 0.06 * abs(position - peak))
        values = [min(1.0, at + rng.uniform(-0.01, 0.01)) for _ in seeds]
        gone = rate == max(rates) and rng.random() < 0.3 and position != peak
        tried.append(
            RateResult(
                learning_rate=rate,
                validation=estimate([] if gone else values),
                runs=tuple(address(task, arm, fraction, rate, seed) for seed in seeds),
                diverged=len(seeds) if gone else 0,
                steps=1000,
            )
        )
    edge = {0: "low", len(rates) - 1: "high"}.get(peak, "") if len(rates) > 1 else ""
    test = estimate([min(1.0, level + rng.uniform(-0.02, 0.02)) for _ in seeds])
    curve = tuple(
        CurvePoint(step=step, mean=level * (1 - 0.6 * 0.99 ** (step / 4)), sem=0.012 if len(seeds) > 1 else None)
        for step in range(50, 1001, 50)
    )
    return CellResult.model_validate(
        {
            "task": task,
            "arm": arm,
            "complete": True,
            "metric": "accuracy",
            "rates": tried,
            "chosen_rate": rates[peak],
            "at_edge": edge,
            "validation": tried[peak].validation,
            "test_split": "test",
            "test": {"test": test},
            "curve": curve,
            "effort": Effort(
                target=0.8, steps=(400,) * len(seeds), flops=(4e12,) * len(seeds), reached=len(seeds), seeds=len(seeds)
            ),
            "parameters": {"total": 86_000_000, "trained": 120_000 + rng.randrange(10**7), "reached": 120_000},
            "flops_per_step": 10 ** rng.uniform(9, 11),
            "steps": (1000,) * len(seeds),
            "best_steps": tuple(rng.randrange(200, 1001, 50) for _ in seeds),
            "majority": 0.1,
            "task_name": task,
            "protocol": "clean",
            "source": "generated",
            "backbone": "gpt2",
            "weights": "builtin:gpt2_nano",
            "blocks": 4,
            "width": 256,
            "freezing": "fpt",
            "readout": "last",
            **more,
        }
    )


def comparison(task: str, a: str, b: str, mean: float, *, seeds: int = 3, **more: Any) -> Comparison:
    """A comparison with figures that suit its verdict."""
    verdict = (
        "not enough evidence"
        if seeds < 2
        else "better"
        if mean > 0.02
        else "worse"
        if mean < -0.02
        else "no difference found"
    )
    p = None if seeds < 2 else 0.002 if abs(mean) > 0.02 else 0.41
    return Comparison.model_validate(
        {
            "task": task,
            "a": a,
            "b": b,
            "differences": (mean,) * seeds,
            "mean": mean,
            "interval": None if seeds < 2 else (mean - 0.024, mean + 0.024),
            "t": None if p is None else 9.4,
            "degrees": None if p is None else seeds - 1,
            "p": p,
            "p_holm": None if p is None else min(1.0, 2 * p),
            "p_verdict": more.get("p_holm", None if p is None else min(1.0, 2 * p)),
            "effect_size": None if p is None else 3.21,
            "verdict": verdict,
            "note": "one seed" if seeds < 2 else "",
            **more,
        }
    )


def study(
    tasks: Sequence[str] = ("bit_memory", "bit_xor"),
    arms: Sequence[str] = ("pretrained", "random", "statistics_only"),
    *,
    seeds: Sequence[int] = (0, 1, 2),
    rates: Sequence[float] = RATES,
    fractions: Sequence[float] = (1.0,),
    **more: Any,
) -> StudyResults:
    """A complete study; the first arm is the reference and the best."""
    cells = [
        cell(
            task,
            arm,
            seeds=seeds,
            rates=rates,
            level=max(0.15, 0.95 - 0.06 * place - 0.1 * (1 - fraction)),
            data_fraction=fraction,
        )
        for task in tasks
        for fraction in fractions
        for place, arm in enumerate(arms)
    ]
    compared = [
        comparison(task, arms[0], arm, 0.06 * place - 0.05, seeds=len(seeds), data_fraction=fraction)
        for task in tasks
        for fraction in fractions
        for place, arm in enumerate(arms)
        if place
    ]
    rows = [
        RunRow(
            task=one.task,
            arm=one.arm,
            data_fraction=one.data_fraction,
            learning_rate=rate.learning_rate,
            seed=seed,
            address=made,
            status="done" if rate.validation.values else "diverged",
            steps=1000,
            validation=rate.validation.mean,
            test=one.main.mean if one.main and rate.learning_rate == one.chosen_rate else None,
        )
        for one in cells
        for rate in one.rates
        for seed, made in zip(seeds, rate.runs, strict=True)
    ]
    return StudyResults.model_validate(
        {
            "name": "modality",
            "description": "Does the modality of pretraining matter?",
            "question": "Is a backbone pretrained on language better than one that was not?",
            "profile": "nano",
            "code_version": "0123456789abcdef",
            "versions": {"fptkit": ("0.1.0",), "torch": ("2.14.0",)},
            "tasks": tuple(tasks),
            "arms": tuple(arms),
            "arm_summaries": {arms[0]: "GPT-2 pretrained on English"},
            "reference": arms[0],
            "seeds": tuple(seeds),
            "learning_rates": tuple(rates),
            "search": "grid: every rate to the end",
            "budget": "1,000 steps",
            "confidence": 0.95,
            "cells": tuple(cells),
            "comparisons": tuple(compared),
            "lifts": tuple(one for one in compared if one.b == "random"),
            "runs": tuple(rows),
            "warnings": (),
            **more,
        }
    )


def costs_of(results: StudyResults) -> Costs:
    """Ten seconds and some for each run."""
    return Costs(
        runs={
            one.address: RunCost(seconds=10 + index % 70, peak_memory_mib=600, device="cpu", threads=1)
            for index, one in enumerate(results.runs)
        }
    )


def with_failures(results: StudyResults, reason: str = "RecipeError: no weights") -> StudyResults:
    """The same study, its last cell never finished."""
    last = results.cells[-1]
    broken = CellResult(task=last.task, arm=last.arm, data_fraction=last.data_fraction, complete=False)
    failures = tuple(
        Failure(
            task=last.task,
            arm=last.arm,
            learning_rate=one.learning_rate,
            seed=seed,
            address=made,
            status="failed",
            reason=reason,
        )
        for one in last.rates
        for seed, made in zip(results.seeds, one.runs, strict=True)
    )
    return results.model_copy(
        update={
            "cells": (*results.cells[:-1], broken),
            "failures": failures,
            "runs": tuple(one for one in results.runs if (one.task, one.arm) != (last.task, last.arm)),
            "warnings": (f"{len(failures)} runs failed; the arm '{last.arm}' is incomplete",),
        }
    )


def save(results: StudyResults, folder: Path, costs: Costs | None = None) -> Path:
    """Write what a study leaves in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULTS).write_text(results.model_dump_json(), encoding="utf-8")
    if costs is not None:
        (folder / COSTS).write_text(costs.model_dump_json(), encoding="utf-8")
    return folder
