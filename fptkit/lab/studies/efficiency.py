"""How validation went on over training, and how much training a target took; read from the runs' ``metrics.jsonl``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from fptkit.files import METRICS
from fptkit.lab.studies.results import CurvePoint, Effort
from fptkit.lab.studies.statistics import mean_and_error

ROUNDING = 1e-6
"""Share of a target by which a value may miss it."""

Curve = Mapping[int, float]
"""Value of the selection metric at each step that was validated."""


def validation_curve(run_folder: Path, metric: str) -> Curve:
    """The validations of a run; empty where its folder has none.

    A line that cannot be read is passed over: a run that is cut off may leave half a line at the end.
    """
    try:
        text = (run_folder / METRICS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    found: dict[int, float] = {}
    for line in text.splitlines():
        if '"validation"' not in line:  # lines of training are many, and need no reading
            continue
        try:
            record = json.loads(line)
        except ValueError:
            continue
        value = record.get(metric)
        if record.get("split") == "validation" and isinstance(value, (int, float)) and math.isfinite(value):
            found[int(record["step"])] = float(value)
    return found


def mean_curve(curves: Sequence[Curve]) -> tuple[CurvePoint, ...]:
    """Mean over seeds at the steps that all of them validated: one more or less would bend the line by itself."""
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
    """Steps and floating-point operations until validation first reached a target.

    A value below the target by rounding reaches it: 0.7 counted in single precision is 0.69999999.

    Resolved to the steps between two validations: the target may have been reached up to that many steps earlier.

    Args:
        curves: of the seeds, in their order.
        target: value of the selection metric.
        higher_is_better: its direction.
        flops_per_step: None where the runs do not tell.
    """
    sign = 1 if higher_is_better else -1
    bound = sign * target - ROUNDING * abs(target)
    firsts = [min((step for step, value in curve.items() if sign * value >= bound), default=None) for curve in curves]
    steps = tuple(step for step in firsts if step is not None)
    flops = tuple(float(step * flops_per_step) for step in steps) if flops_per_step is not None else ()
    return Effort(target=target, steps=steps, flops=flops, reached=len(steps), seeds=len(curves))
