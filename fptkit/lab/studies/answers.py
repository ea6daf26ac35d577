"""The answer to each question of a study: two arms over all tasks, in one test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fptkit.lab.studies.pairs import Pair, Question, Scores, Tested, number, verdict_of
from fptkit.lab.studies.plan import CellName, StudyFacts
from fptkit.lab.studies.verdicts import Answer

if TYPE_CHECKING:
    from fptkit.lab.studies.statistics import Array


def answers_of(pairs: Sequence[Pair], scores: Mapping[CellName, Scores], study: StudyFacts) -> tuple[Answer, ...]:
    """Answer every question, in the direction of its first pair.

    Args:
        pairs: the pairs of the study; all with the same two arms are one question.
        scores: scores of every cell.
        study: the study.
    """
    asked: dict[Question, tuple[str, str]] = {}
    places: dict[Question, dict[tuple[str, float], None]] = {}
    for pair in pairs:
        asked.setdefault(pair.question, (pair.a, pair.b))
        places.setdefault(pair.question, {})[pair.task, pair.data_fraction] = None
    return tuple(
        _answer([Tested(Pair(*place, *arms), scores, study.settings) for place in places[question]])
        for question, arms in asked.items()
    )


def _answer(tested: Sequence[Tested]) -> Answer:
    """Answer one question from the tests of its tasks, all in the same direction."""
    counted = [one for one in tested if one.enough]
    seeds = tuple(seed for seed in counted[0].seeds if all(seed in one.seeds for one in counted)) if counted else ()
    out = [_place(one.pair) for one in tested if not one.enough]
    notes = [f"without {', '.join(out)}: fewer than 3 seeds in common"] if out and counted else []
    different, fixed = len({one.metric for one in counted}) > 1, tested[0].until is None
    found: dict[str, Any] = {"verdict": "not enough evidence"}
    if not counted:
        notes = ["no task has 3 seeds in common"]
    elif len(seeds) < 3 and not (different and fixed):
        notes.append(f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'} in common on all tasks, a test needs 3")
    elif different:
        found = _of_different_metrics(counted, seeds)
        how = "Stouffer" if fixed else "by the product of their e-values"
        notes.append(f"the tasks have different metrics, so their tests are combined, not their differences ({how})")
    else:
        found = _of_one_metric(counted, seeds)
        notes += found.pop("notes", [])
    return Answer(
        a=tested[0].pair.a,
        b=tested[0].pair.b,
        places=tuple((one.pair.task, one.pair.data_fraction) for one in counted),
        seeds=seeds,
        note="; ".join(notes),
        **found,
    )


def _of_one_metric(counted: Sequence[Tested], seeds: Sequence[int]) -> dict[str, Any]:
    """The test over seeds, each with its mean difference over tasks."""
    margins = [one.margin for one in counted if one.margin is not None]
    margin = math.fsum(margins) / len(margins) if len(margins) == len(counted) else None
    differences = _differences(counted, seeds)
    fixed = counted[0].until is None
    figures = (_at_fixed_number if fixed else _at_any_time)(counted, seeds, differences, margin)
    return {"margin": margin, **_heterogeneity(counted, differences, fixed=fixed), **figures}


def _differences(counted: Sequence[Tested], seeds: Sequence[int]) -> Array:
    """The differences of each task, for seeds that all of them have: (tasks, seeds)."""
    import numpy as np

    return np.array([[one.differences[one.seeds.index(seed)] for seed in seeds] for one in counted])


def _at_fixed_number(
    counted: Sequence[Tested], seeds: Sequence[int], differences: Array, margin: float | None
) -> dict[str, Any]:
    """The paired t-test."""
    from fptkit.lab.studies import statistics
    from fptkit.lab.studies.power import resolution

    test = statistics.combined(differences, rounding=max(one.rounding for one in counted))
    mean, error, pairs = float(test.mean), float(test.standard_error), len(seeds)
    p_same = None if margin is None else float(statistics.equivalence(mean, error, pairs, margin))
    p, t = float(test.p), number(float(test.t))
    return {
        "mean": mean,
        "interval": statistics.interval(mean, error, pairs) if error else None,
        "t": t,
        "degrees": test.degrees if t is not None else None,
        "p": p,
        "p_same": p_same,
        "resolution": resolution(error * math.sqrt(pairs), pairs) if error else None,
        "verdict": verdict_of(mean, p, p_same, statistics.LEVEL),
    }


def _at_any_time(
    counted: Sequence[Tested], seeds: Sequence[int], differences: Array, margin: float | None
) -> dict[str, Any]:
    """The same e-process as for one task. It is valid whenever it stops, so also when comparisons are decided."""
    from fptkit.lab.studies import statistics
    from fptkit.lab.studies.looks import evidence_of
    from fptkit.lab.studies.power import resolution
    from fptkit.lab.studies.sequential import anytime_critical_t

    rounding = max(one.early_rounding for one in counted)
    evidence = evidence_of(differences.mean(axis=0), seeds, margin, rounding)
    test = statistics.combined(differences, rounding=rounding)
    deviation = float(test.standard_error) * math.sqrt(len(seeds))
    p, p_same = evidence.p_after(), evidence.p_same_after()
    return {
        "mean": float(test.mean),
        "interval": evidence.interval,
        "p": p,
        "p_same": p_same,
        "resolution": resolution(deviation, len(seeds), critical=anytime_critical_t) if deviation else None,
        "verdict": verdict_of(evidence.direction(), p, p_same, statistics.LEVEL),
        "notes": evidence.notes,
    }


def _heterogeneity(counted: Sequence[Tested], differences: Array, *, fixed: bool) -> dict[str, Any]:
    """Cochran's Q over tasks; empty for one task or without noise. Its p is valid for a fixed number of seeds only."""
    import numpy as np

    from fptkit.lab.studies.statistics import combined, heterogeneity

    tasks, pairs = differences.shape
    if tasks < 2:
        return {}
    # Each task by itself, so that differences which are equal up to rounding have no noise.
    each = combined(differences[:, None], rounding=np.array([one.rounding for one in counted]))
    found = heterogeneity(each.mean, each.standard_error, pairs)
    if math.isnan(float(found.q)):
        return {}
    return {
        "q": float(found.q),
        "q_degrees": found.degrees,
        "p_heterogeneity": float(found.p) if fixed else None,
        "i2": float(found.i2),
    }


def _of_different_metrics(counted: Sequence[Tested], seeds: Sequence[int]) -> dict[str, Any]:
    """The tasks' tests combined; there is no common unit for a mean."""
    import numpy as np
    from scipy.special import ndtri

    from fptkit.lab.studies.sequential import anytime_p_over_tasks
    from fptkit.lab.studies.statistics import LEVEL, stouffer

    if counted[0].until is not None:
        rounding = np.array([one.early_rounding for one in counted])
        every_p, directions = anytime_p_over_tasks(_differences(counted, seeds), rounding=rounding)
        combined, direction = float(every_p[-1]), float(directions[-1])
    else:
        p = np.array([one.p for one in counted], dtype=float)
        signs = np.sign([one.mean or 0.0 for one in counted])
        combined = float(stouffer(p, signs))
        direction = float(np.sum(-ndtri(np.maximum(p, np.finfo(float).tiny) / 2) * signs))
    return {"p": combined, "verdict": verdict_of(direction, combined, None, LEVEL)}


def _place(pair: Pair) -> str:
    return pair.task if pair.data_fraction == 1 else f"{pair.task} ({pair.data_fraction:g} of the data)"
