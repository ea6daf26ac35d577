"""Where the noise of a result comes from: the deviation of test results when one source of randomness varies alone.

Source: Bouthillier et al. 2021, "Accounting for Variance in Machine Learning Benchmarks".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import stdev

from fptkit.lab.studies.cell_runs import CellRuns, is_number, test_value
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.verdicts import NoiseSource

CONFIDENCE = 0.95
MINIMUM_VALUES = 3
"""Fewer values give no interval: with two, its upper end is about thirty times the lower one."""


def noise_of(runs: CellRuns) -> list[NoiseSource]:
    """The noise of a cell by source, in the order of the study; empty if it varies none.

    The run of the first seed belongs to every source: it is the one with that source's first seed.
    """
    first = list(runs.chosen.values())[:1]
    names = dict.fromkeys(trial.varied for trial in runs.varied)
    return [
        _noise(runs, name, [*first, *(outcome for trial, outcome in runs.varied.items() if trial.varied == name)])
        for name in names
    ]


def deviation_interval(deviation: float, count: int, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Confidence interval of a standard deviation: by the chi-squared distribution, for normal values.

    Args:
        deviation: of the values, with n - 1.
        count: number of values, n.
        confidence: level of the interval.

    Returns:
        None for fewer than three values, or if all of them are equal.
    """
    from scipy.special import chdtri  # the inverse of the upper tail

    if count < MINIMUM_VALUES or not deviation:
        return None
    degrees, tail = count - 1, (1 - confidence) / 2
    low, high = (deviation * math.sqrt(degrees / chdtri(degrees, p)) for p in (tail, 1 - tail))
    return float(low), float(high)


def _noise(runs: CellRuns, name: str, outcomes: Sequence[Outcome]) -> NoiseSource:
    values = tuple(_values(outcomes))
    deviation = stdev(values) if len(values) > 1 else None
    cell = runs.cell.name
    return NoiseSource(
        task=cell.task,
        arm=cell.arm,
        data_fraction=cell.data_fraction,
        source=name,
        values=values,
        deviation=deviation,
        interval=None if deviation is None else deviation_interval(deviation, len(values)),
        diverged=sum(outcome.status == "diverged" for outcome in outcomes),
    )


def _values(outcomes: Iterable[Outcome]) -> Iterable[float]:
    for outcome in outcomes:
        if is_number(value := test_value(outcome)):
            yield float(value)
