"""Formats numbers, units and places for reports; the only place where figures are rounded."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from fptkit.lab.studies.results import Estimate, Failure, Measure, RunRow, StudyResults
from fptkit.lab.studies.verdicts import Comparison

NOTHING = "–"
"""Shown if there is no figure."""

LEAST_SEEDS = 3
"""Fewer seeds give neither a standard error nor an interval: with two, each would be off by a large factor."""

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def scaled(value: float, metric: Measure) -> float:
    """A value in the unit it is shown in: percent for fractions."""
    return 100 * value if metric.fraction else value


def seed(run: RunRow | Failure) -> str:
    """``3``; ``init 3`` for a run in which only this source of randomness has the seed."""
    return f"{run.varied} {run.seed}".lstrip()


def number(value: float | None, metric: Measure) -> str:
    """Format a value of a metric without its unit: percent with one decimal for fractions, else four digits."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return _with_minus(f"{100 * value:.1f}" if metric.fraction else f"{value:.4g}")


def _with_minus(text: str) -> str:
    """A number with a typographic minus sign, and no sign before zero."""
    return text.removeprefix("-") if not float(text) else f"−{text[1:]}" if text.startswith("-") else text


def effect_size(value: float | None) -> str:
    """Hedges' g with two decimals."""
    return NOTHING if value is None else _with_minus(f"{value:.2f}")


def mean_and_sem(estimate: Estimate | None, metric: Measure) -> str:
    """``98.5 ± 0.1``; only the mean if there are too few seeds for an error."""
    if estimate is None or estimate.mean is None:
        return NOTHING
    mean, error = number(estimate.mean, metric), error_of(estimate)
    return mean if error is None else f"{mean} ± {number(error, metric)}"


def error_of(estimate: Estimate) -> float | None:
    """The standard error; None for fewer than three seeds."""
    return estimate.sem if len(estimate.values) >= LEAST_SEEDS else None


def unit(metric: Measure) -> str:
    """Name and unit of a metric, for the header of a column or the label of an axis: ``accuracy, %``."""
    words = metric.name.replace("_", " ")
    return f"{words}, %" if metric.fraction else words


def difference(value: float, metric: Measure, *, signed: bool = False) -> str:
    """A difference of two values with its unit: ``22.5 points`` for fractions; ``signed`` adds a plus sign."""
    text = number(value, metric) if not signed else _signed(value, metric)
    return f"{text} points" if metric.fraction else text


def interval(bounds: tuple[float, float] | None, metric: Measure) -> str:
    """``[20.1, 24.9]``, empty for None."""
    return "" if bounds is None else f"[{number(bounds[0], metric)}, {number(bounds[1], metric)}]"


def margin(value: float, metric: Measure) -> str:
    """A difference that counts as none: ``1 point``, ``0.5 points``; without a unit for other metrics."""
    if not metric.fraction:
        return f"{value:g}"
    return f"{100 * value:.4g} point{'' if math.isclose(value, 0.01) else 's'}"


def _signed(value: float, metric: Measure) -> str:
    text = number(value, metric)
    return text if text.startswith("−") or text == NOTHING else f"+{text}"


def p_value(value: float | None) -> str:
    """``0.004``, or ``< 0.001``."""
    if value is None:
        return NOTHING
    if value < 0.001:
        return "< 0.001"
    text = f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    return "< 0.05" if value < 0.05 <= float(text) else text  # rounding must not contradict the verdict


def rate(value: float | None) -> str:
    """A learning rate as in recipes: ``3e-3``."""
    if value is None:
        return NOTHING
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def amount(value: float | None, what: str = "") -> str:
    """A large number with an SI prefix: ``1.24 TFLOP``, ``86 M``."""
    if value is None:
        return NOTHING
    for size, prefix in _PREFIXES:
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {prefix}{what}"
    return f"{value:.3g} {what}".strip()


def duration(seconds: float | None) -> str:
    """A time span: ``3.2 s``, ``4 min 10 s``, ``2 h 5 min``."""
    if seconds is None:
        return NOTHING
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def share(fraction: float) -> str:
    """A fraction of the data in percent."""
    return f"{100 * fraction:.3g} %"


def counted(count: int, what: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def place(task: str, data_fraction: float = 1.0) -> str:
    """A task, with the fraction of its data unless it is 1."""
    return task if data_fraction == 1 else f"{task} with {share(data_fraction)} of the data"


def metric_of(results: StudyResults, comparison: Comparison) -> Measure:
    """The metric of the cells that a comparison compares."""
    arms = (comparison.a, comparison.b)
    return next(
        (cell.measure for cell in results.cells if cell.task == comparison.task and cell.arm in arms and cell.metric),
        Measure(),
    )


def counted_rates(rates: Iterable[float]) -> str:
    """The rates that seeds chose, with the number of seeds: ``rate 1e-3``, ``rates 1e-3 (3), 3e-3 (2)``.

    More than three rates are summarised: ``4 rates, 1e-4 to 3e-3``.
    """
    counts = sorted(Counter(rates).items())
    if len(counts) == 1:
        return f"rate {rate(counts[0][0])}"
    if len(counts) > 3:
        return f"{len(counts)} rates, {rate(counts[0][0])} to {rate(counts[-1][0])}"
    return f"rates {', '.join(f'{rate(value)} ({count})' for value, count in counts)}" if counts else ""


_NUMBER = r"[+−<]?\d[\d.,]*"
_RATE = r"\d[\d.]*e-?\d+"
_UNIT = r"(?:%|points?|(?:more )?seeds?|(?:[kMGTPE]?FLOP|[kMGTPE])\b)"
_TOGETHER = re.compile(
    rf"p [=<] {_NUMBER}|\[{_NUMBER}, {_NUMBER}\]|{_NUMBER} ± {_NUMBER}|I² {_NUMBER} %"
    rf"|{_RATE} \(\d+\)|{_RATE} to {_RATE}|{_NUMBER} {_UNIT}"
)


def together(text: str, space: str = "\N{NO-BREAK SPACE}") -> str:
    """Text in which no line breaks between a number and what belongs to it: ``p = 0.82``, ``98.5 ± 0.1``, ``3 seeds``.

    Args:
        text: any text.
        space: replaces the spaces there.
    """
    return _TOGETHER.sub(lambda found: found[0].replace(" ", space), text)
