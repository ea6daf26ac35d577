"""Formats numbers and words comparisons for reports; the only place where figures are rounded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from fptkit.lab.studies.results import Estimate, Failure, Measure, RunRow, StudyResults
from fptkit.lab.studies.verdicts import Comparison

NOTHING = "–"
"""Shown if there is no figure."""

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
    """``98.5 ± 0.1``; only the mean if there is one seed and so no error."""
    if estimate is None or estimate.mean is None:
        return NOTHING
    mean = number(estimate.mean, metric)
    return mean if estimate.sem is None else f"{mean} ± {number(estimate.sem, metric)}"


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


def _signed(value: float, metric: Measure) -> str:
    text = number(value, metric)
    return text if text.startswith("−") or text == NOTHING else f"+{text}"


def p_value(value: float | None) -> str:
    """``0.004``, or ``< 0.001``."""
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


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


def verdict_sentence(results: StudyResults, comparison: Comparison) -> str:
    """The verdict of a comparison as a sentence with its figures."""
    metric = metric_of(results, comparison)
    where = place(comparison.task, comparison.data_fraction)
    facts = _facts(comparison)
    if comparison.verdict == "not enough evidence" or comparison.mean is None:
        reason = comparison.note or "too few seeds"
        found = "" if comparison.mean is None else f" (difference so far {difference_of(comparison, metric)})"
        return f"{comparison.a} against {comparison.b} on {where}: not enough evidence: {reason}{found}"
    if comparison.verdict == "no difference found":
        measured = difference_of(comparison, metric)
        return f"no difference found between {comparison.a} and {comparison.b} on {where}: {measured}{facts}"
    size = difference(abs(comparison.mean), metric)
    bounds = comparison.interval
    if bounds is not None and comparison.mean < 0:
        bounds = (-bounds[1], -bounds[0])
    shown = f" {interval(bounds, metric)}" if bounds else ""
    return f"{comparison.a} is {comparison.verdict} than {comparison.b} on {where} by {size}{shown}{facts}"


def difference_of(comparison: Comparison, metric: Measure) -> str:
    """The signed mean difference with its interval: ``+0.3 points [−1.2, 1.8]``."""
    if comparison.mean is None:
        return NOTHING
    return f"{difference(comparison.mean, metric, signed=True)} {interval(comparison.interval, metric)}".strip()


def _facts(comparison: Comparison) -> str:
    """p and the note of the comparison, each after a comma."""
    p, after = (comparison.p_holm, " after Holm") if comparison.p_holm is not None else (comparison.p, "")
    text = "" if p is None else f", p {_equals(p_value(p))}{after}"
    if comparison.p_verdict is not None and p_value(comparison.p_verdict) != p_value(p):
        text += f" ({p_value(comparison.p_verdict)} with allowance)"
    return f"{text}, {comparison.note}" if comparison.note else text


def _equals(text: str) -> str:
    return text if text.startswith("<") else f"= {text}"


def verdict_counts(comparisons: Iterable[Comparison]) -> list[str]:
    """For each pair of arms, the tasks of each verdict; for studies with many comparisons."""
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons:
        pairs.setdefault((one.a, one.b), []).append(one)
    return [f"{a} against {b}: {_counts(found)}" for (a, b), found in pairs.items()]


def _counts(found: Sequence[Comparison]) -> str:
    words = []
    for verdict, count in sorted(Counter(one.verdict for one in found).items()):
        names = [place(one.task, one.data_fraction) for one in found if one.verdict == verdict]
        where = f"all {len(found)} tasks" if count == len(found) > 1 else listed(names)
        words.append(f"{verdict} on {where}")
    return "; ".join(words)
