"""Validation curves and the training needed to reach a target, read from the runs' ``metrics.jsonl``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from fptkit.engine.records import undamaged
from fptkit.files import METRICS
from fptkit.lab.studies.results import CurvePoint, Effort
from fptkit.lab.studies.statistics import mean_and_error

ROUNDING = 1e-6
"""Fraction of a target by which a value may miss it and still count as reaching it."""

Curve = Mapping[int, float]
"""Value of the selection metric at each validated step."""


def validation_curve(run_folder: Path, metric: str) -> Curve:
    """Read the validation curve of a run; empty if its folder has none.

    Unreadable lines are skipped: an interrupted run may leave half a line at the end.

    Args:
        run_folder: folder of the run.
        metric: name of the selection metric.
    """
    try:
        text = (run_folder / METRICS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    found: dict[int, float] = {}
    # The many training lines are skipped without parsing them.
    for record in undamaged(line for line in text.splitlines() if '"validation"' in line):
        value = record.get(metric)
        if record["split"] == "validation" and isinstance(value, (int, float)) and math.isfinite(value):
            found[record["step"]] = float(value)
    return found


def mean_curve(curves: Sequence[Curve]) -> tuple[CurvePoint, ...]:
    """Average the curves of all seeds at the steps that every seed validated, so that each point has the same seeds."""
    there = [curve for curve in curves if curve]
    if not there:
        return ()
    points = []
    for step in sorted(set.intersection(*(set(curve) for curve in there))):
        mean, error = mean_and_error([curve[step] for curve in there])
        if mean is not None:
            points.append(CurvePoint(step=step, mean=mean, sem=error))
    return tuple(points)


def effort(curves: Sequence[Curve], target: float, *, higher_is_better: bool, flops_per_step: float | None) -> Effort:
    """Count steps and floating-point operations until validation first reached a target.

    A value below the target by rounding alone counts: 0.7 in single precision is 0.69999999.

    The resolution is the validation interval: the target may have been reached up to that many steps earlier.

    Args:
        curves: validation curve of each seed.
        target: value of the selection metric.
        higher_is_better: direction of the selection metric.
        flops_per_step: floating-point operations per training step, None if unknown.
    """
    sign = 1 if higher_is_better else -1
    bound = sign * target - ROUNDING * abs(target)
    firsts = [min((step for step, value in curve.items() if sign * value >= bound), default=None) for curve in curves]
    steps = tuple(step for step in firsts if step is not None)
    flops = tuple(float(step * flops_per_step) for step in steps) if flops_per_step is not None else ()
    return Effort(target=target, steps=steps, flops=flops, reached=len(steps), seeds=len(curves))
