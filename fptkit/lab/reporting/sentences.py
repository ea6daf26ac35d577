"""Verdicts in words: a sentence for each question, and what was found on each of its tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.wording import NOTHING, difference, interval, margin, p_value, place
from fptkit.lab.studies.results import Measure
from fptkit.lab.studies.verdicts import Answer, Comparison

FURTHER_SEEDS = 1000
"""Largest number of further seeds that a results file gives."""

MORE_SEEDS = (
    "More seeds: how many, besides those the study has, would decide in 80 % of studies if difference and noise are as "
    "observed."
)

ADD_SEEDS = "Add them with --seeds decided: a larger fixed number, after a look, would give more false verdicts."

RAISE_AT_MOST = "They are added up to at_most; raise it for more."


def sentence(one: Comparison | Answer, where: str, metric: Measure | None) -> str:
    """A verdict as a sentence with its figures, without its note.

    Args:
        one: a comparison, or the answer over all tasks.
        where: ``on bit_xor``, ``over 3 tasks``.
        metric: metric of the differences; None if the tasks have several.
    """
    a, b = one.a, one.b
    if one.verdict in ("better", "worse"):
        by = f" by {_size(one, metric)}" if metric and one.mean is not None else ""
        return f"{a} is {one.verdict} than {b} {where}{by}{_facts(one)}"
    opening = {
        "same": f"{a} and {b} are the same {where}{_within(one, metric)}",
        "undecided": f"undecided between {a} and {b} {where}",
        "no difference found": f"no difference found between {a} and {b} {where}",
        "not enough evidence": f"{a} against {b} {where}: not enough evidence",
    }[one.verdict]
    return opening + _after(one, metric)


def finding(one: Comparison, metric: Measure) -> str:
    """What was found on one task of a question whose arms are named already: ``better by 22.5 points``."""
    if one.verdict in ("better", "worse"):
        return f"{one.verdict} by {_size(one, metric)}{_facts(one)}"
    opening = f"the same{_within(one, metric)}" if one.verdict == "same" else one.verdict
    return opening + _after(one, metric)


def _after(one: Comparison | Answer, metric: Measure | None) -> str:
    """The figures of a verdict that names no winner."""
    measured = difference_of(one, metric) if metric and one.mean is not None else ""
    if one.verdict == "not enough evidence":
        return f" (difference so far {measured})" if measured else ""
    facts = _facts(one)
    return f": {measured}{facts}" if measured else facts


def _within(one: Comparison | Answer, metric: Measure | None) -> str:
    return f" within {margin(one.margin, metric)}" if one.margin is not None and metric else ""


def _size(one: Comparison | Answer, metric: Measure) -> str:
    """The difference without sign, and its interval turned with it."""
    bounds = interval_of(one)
    mean = one.mean or 0.0
    if bounds is not None and mean < 0:
        bounds = (-bounds[1], -bounds[0])
    return f"{difference(abs(mean), metric)} {interval(bounds, metric)}".strip()


def interval_of(one: Comparison | Answer) -> tuple[float, float] | None:
    """The confidence interval; None for fewer than three seeds, also in older files that have one."""
    seeds = len(one.differences) if isinstance(one, Comparison) else len(one.seeds)
    return one.interval if seeds >= wording.LEAST_SEEDS else None


def difference_of(one: Comparison | Answer, metric: Measure) -> str:
    """The signed mean difference with its interval: ``+0.3 points [−1.2, 1.8]``."""
    if one.mean is None:
        return NOTHING
    return f"{difference(one.mean, metric, signed=True)} {interval(interval_of(one), metric)}".strip()


def p_of(one: Comparison | Answer) -> float | None:
    """The p-value behind the verdict: corrected within the question, of equivalence if the verdict is ``same``."""
    same = one.verdict == "same"
    if isinstance(one, Answer):
        return one.p_same if same else one.p
    if one.anytime is not None:
        return one.anytime.p_same_holm if same else one.anytime.p_holm
    found = one.p_same_holm if same else one.p_holm
    return found if found is not None else one.p


def _facts(one: Comparison | Answer) -> str:
    """p, and what else a reader should know, each after a comma."""
    p = p_of(one)
    text = "" if p is None else f", p {_equals(p_value(p))}"
    if one.verdict == "same" and p is not None:
        text += " (equivalence)"
    if isinstance(one, Answer):
        return text + _heterogeneity(one)
    if one.p_verdict is not None and p_value(one.p_verdict) != p_value(p):
        text += f" ({p_value(one.p_verdict)} with allowance)"
    if one.anytime is not None and one.anytime.decided_at is not None:
        text += f", decided after {one.anytime.decided_at} seeds"
    return text + _further(one)


def _further(one: Comparison) -> str:
    """Number of further seeds that would decide; nothing if it is decided or no number can be given."""
    if one.verdict != "undecided":
        return ""
    if one.further_seeds is not None:
        return f", {wording.counted(one.further_seeds, 'more seed')} needed"
    return "" if one.resolution is None else f", more than {FURTHER_SEEDS:,} more seeds needed"


def _heterogeneity(one: Answer) -> str:
    """Whether the difference varies between tasks."""
    if one.p_heterogeneity is None or one.i2 is None:
        return ""
    varies = one.p_heterogeneity < 0.05
    words = "the difference varies between tasks" if varies else "no variation between tasks found"
    return f"; {words} (I² {wording.share(one.i2)}, p {_equals(p_value(one.p_heterogeneity))})"


def _equals(text: str) -> str:
    return text if text.startswith("<") else f"= {text}"


def over(places: Sequence[tuple[str, float]], asked: int) -> str:
    """Where an answer holds: ``on bit_xor``, ``over 3 tasks``, ``over 2 of 3 tasks``.

    Args:
        places: tasks that count, each with its fraction of the data.
        asked: number of those in the study.
    """
    if len(places) == asked == 1:
        return f"on {place(*places[0])}"
    number = f"{len(places)} of {asked}" if len(places) < asked else str(asked)
    whole = all(fraction == 1 for _, fraction in places)
    return f"over {number} tasks" if whole else f"over {number} combinations of task and fraction of the data"


def counts(found: Sequence[Comparison], total: int | None = None) -> tuple[str, ...]:
    """The tasks of each verdict; for studies with many comparisons.

    Args:
        found: the comparisons, each on another task.
        total: number of tasks, if these are not all; the tasks are then named.
    """
    words = []
    for verdict, count in sorted(Counter(one.verdict for one in found).items()):
        names = [place(one.task, one.data_fraction) for one in found if one.verdict == verdict]
        every = "both tasks" if len(found) == 2 else f"all {len(found)} tasks"
        where = every if count == len(found) > 1 and total in (None, count) else wording.listed(names)
        words.append(f"{'the same' if verdict == 'same' else verdict} on {where}")
    return tuple(words)
