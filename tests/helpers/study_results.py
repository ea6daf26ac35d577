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
    CommonRate,
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
from fptkit.lab.studies.verdicts import Answer, Comparison, NoiseSource, Rank

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


DIFFERENCES = (0.07, 0.051, 0.001, 0.013)
"""Differences of the reference from the other arms, one after the other: verdicts of every kind."""


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
    usable = [one.learning_rate for one in tried if one.validation.values]
    chosen = {seed: rates[peak] if rng.random() < 0.7 else rng.choice(usable) for seed in seeds}
    ends = {min(rates): "low", max(rates): "high"} if len(rates) > 1 else {}
    edges = {ends[rate] for rate in chosen.values() if rate in ends}
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
            "chosen_rates": chosen,
            "chosen_rate": rates[peak] if set(chosen.values()) == {rates[peak]} else None,
            "common": CommonRate(learning_rate=rates[peak], validation=tried[peak].validation, test={"test": test}),
            "at_edge": "both" if len(edges) == 2 else next(iter(edges), ""),
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
            "majority": 0.112,
            "chance": 0.1,
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


def comparison(task: str, a: str, b: str, mean: float, *, seeds: int = 5, **more: Any) -> Comparison:
    """A comparison with figures that suit its verdict: a difference above 2 points, the same below 0.3."""
    tested = seeds > 2
    size = abs(mean)
    verdict = ("better" if mean > 0 else "worse") if size > 0.02 else "same" if size < 0.003 else "undecided"
    p = None if not tested else 0.002 if size > 0.02 else 0.41
    p_same = None if not tested else 0.011 if size < 0.003 else 0.6
    half = 0.008 if size < 0.003 else 0.024
    return Comparison.model_validate(
        {
            "task": task,
            "a": a,
            "b": b,
            "seeds": tuple(range(seeds)),
            "differences": tuple(mean + 0.001 * (seed - (seeds - 1) / 2) for seed in range(seeds)),
            "mean": mean,
            "interval": (mean - half, mean + half) if tested else None,
            "t": 9.4 if tested else None,
            "degrees": seeds - 1 if tested else None,
            "p": p,
            "p_holm": None if p is None else min(1.0, 2 * p),
            "margin": 0.01,
            "p_same": p_same,
            "p_same_holm": None if p_same is None else min(1.0, 2 * p_same),
            "resolution": 0.031 if tested else None,
            "further_seeds": 4 if tested and verdict == "undecided" else None,
            "effect_size": 3.21 if tested else None,
            "verdict": verdict if tested else "not enough evidence",
            "note": "" if tested else f"{seeds} seed{'s' if seeds > 1 else ''} in common, a test needs 3",
            **more,
        }
    )


def answer(compared: Sequence[Comparison], **more: Any) -> Answer:
    """The answer over the tasks of some comparisons of the same two arms."""
    first = compared[0]
    mean = fmean(one.mean or 0.0 for one in compared)
    tested = len(first.seeds) > 2
    like = comparison("", first.a, first.b, mean, seeds=len(first.seeds))
    shared = ("mean", "interval", "t", "degrees", "p", "margin", "p_same", "resolution", "verdict", "seeds")
    varies = {"q": 12.3, "q_degrees": len(compared) - 1, "p_heterogeneity": 0.0021, "i2": 0.83}
    return Answer.model_validate(
        {
            "a": first.a,
            "b": first.b,
            "places": tuple((one.task, one.data_fraction) for one in compared) if tested else (),
            **{name: getattr(like, name) for name in shared},
            **(varies if tested and len(compared) > 1 else {}),
            "note": "" if tested else "no task has 3 seeds in common",
            **more,
        }
    )


def ranks(task: str, arms: Sequence[str], fraction: float) -> list[Rank]:
    """The first arm alone, then pairs of arms that share a rank."""
    places = [1, *(2 + 2 * (place // 2) for place in range(len(arms) - 1))]
    return [Rank(task=task, data_fraction=fraction, arm=arm, rank=rank) for arm, rank in zip(arms, places, strict=True)]


def noise(task: str, arm: str, *, seeds: int = 5) -> list[NoiseSource]:
    """Noise of one cell by source; training examples are its largest part."""
    found = []
    for source, deviation in (("init", 0.006), ("order", 0.004), ("data", 0.012)):
        values = tuple(0.9 + deviation * (seed % 2) for seed in range(seeds))
        bounds = (0.6 * deviation, 2.9 * deviation) if seeds > 2 else None
        made = {"source": source, "values": values, "deviation": deviation, "interval": bounds}
        found.append(NoiseSource.model_validate({"task": task, "arm": arm, **made}))
    return found


def study(
    tasks: Sequence[str] = ("bit_memory", "bit_xor"),
    arms: Sequence[str] = ("pretrained", "random", "statistics_only"),
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
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
        comparison(task, arms[0], arm, DIFFERENCES[place % 4], seeds=len(seeds), data_fraction=fraction)
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
            test=one.main.mean if one.main and rate.learning_rate == one.chosen_rates.get(seed) else None,
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
            "choose": "per_seed",
            "search": "grid of 5 rates, 0.0001 to 0.01, chosen on validation by each seed for itself",
            "budget": "1,000 steps",
            "confidence": 0.95,
            "cells": tuple(cells),
            "comparisons": tuple(compared),
            "lifts": tuple(one for one in compared if one.b == "random"),
            "answers": tuple(answer([one for one in compared if one.b == arm]) for arm in arms[1:]),
            "ranks": tuple(one for task in tasks for fraction in fractions for one in ranks(task, arms, fraction))
            if len(seeds) > 2
            else (),
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
