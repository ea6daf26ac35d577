"""Holm's correction within the question that two arms pose on all tasks, for fixed and for added seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fptkit.lab.studies.options import UntilDecided
from fptkit.lab.studies.pairs import Tested, number


@dataclass(frozen=True)
class Corrected:
    """The corrected p-values of one comparison.

    Args:
        p: of a difference; None if there is no test.
        p_same: of equivalence; None without a test or a margin.
        tests: number of tests in its question.
        found_at, same_at: number of its pairs at the first look that found a difference, and equivalence; None if none
            did, or if the number of seeds is fixed.
    """

    p: float | None
    p_same: float | None
    tests: int
    found_at: int | None = None
    same_at: int | None = None


def corrected(members: Sequence[Tested]) -> list[Corrected]:
    """Correct the p-values of the comparisons of one question, each pair of cells once."""
    if members[0].until is not None:
        return _with_looks(members, members[0].until)
    p = [one.p for one in members]
    tests = sum(value is not None for value in p)
    both = zip(holm_of(p), holm_of([one.p_same for one in members]), strict=True)
    return [Corrected(p, p_same, tests) for p, p_same in both]


def p_after(members: Sequence[Tested], seeds: Sequence[int]) -> list[tuple[float | None, float | None]]:
    """Corrected p-values of difference and equivalence, if each comparison is looked at after its first seeds.

    Every comparison that can have a test counts, as p = 1 before it has one, see `fptkit.lab.studies.looks`.

    Args:
        members: the comparisons of one question in a study that adds seeds until decided.
        seeds: for each of them, how many of the first seeds to look at.
    """
    each = list(zip(members, seeds, strict=True))
    p = [one.evidence.p_after(first) if one.like else None for one, first in each]
    p_same = [_p_same_after(one, first) if one.like else None for one, first in each]
    return list(zip(holm_of(p), holm_of(p_same), strict=True))


def _p_same_after(tested: Tested, first: int) -> float | None:
    """p of equivalence; 1 as long as there is no metric, since there may be a margin."""
    return tested.evidence.p_same_after(first) if tested.metric.name else 1.0


def _with_looks(members: Sequence[Tested], until: UntilDecided) -> list[Corrected]:
    """The corrected p-values after all seeds, and when they decided."""
    looks = range(until.at_least, until.at_most + 1)
    rows = [p_after(members, [first] * len(members)) for first in looks]
    tests = sum(one.like for one in members)
    found = []
    for place, one in enumerate(members):
        p, p_same = (rows[-1][place][kind] if one.enough else None for kind in (0, 1))
        at = [_first_below(one, looks, [row[place][kind] for row in rows]) for kind in (0, 1)]
        found.append(Corrected(p, p_same, tests, *at))
    return found


def _first_below(tested: Tested, looks: Sequence[int], p: Sequence[float | None]) -> int | None:
    """Number of pairs at the first look with a p below the level."""
    from fptkit.lab.studies.statistics import LEVEL

    first = next((look for look, value in zip(looks, p, strict=True) if value is not None and value < LEVEL), None)
    return None if first is None else tested.evidence.pairs(first)


def holm_of(p: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of the p-values that there are."""
    import numpy as np

    from fptkit.lab.studies.statistics import holm

    given = np.array([math.nan if value is None else value for value in p])
    return list(map(number, holm(given)))
