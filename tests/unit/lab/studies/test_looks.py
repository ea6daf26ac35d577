"""Evidence after every seed, and what follows: the smallest difference that is found, and seeds still needed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fptkit.lab.studies.looks import LEFT, Evidence, evidence_of
from fptkit.lab.studies.power import further_seeds, resolution
from fptkit.lab.studies.sequential import (
    anytime_critical_t,
    anytime_p,
    anytime_same,
    confidence_sequence,
    log_e,
)


def evidence(differences: Any, margin: float | None = 0.01, rounding: float = 0.0) -> Evidence:
    given = np.asarray(differences, dtype=float)
    return evidence_of(given, range(len(given)), margin, rounding)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ties", [False, True])
def test_values_after_a_seed_do_not_depend_on_later_ones(seed: int, ties: bool) -> None:
    given = np.random.default_rng(seed).normal(0.01, 0.02, 15)
    given[: 5 if ties else 0] = 0.01
    whole = evidence(given)
    for first in range(16):
        part = evidence(given[:first])
        assert whole.pairs(first) == first
        assert whole.p_after(first) == part.p_after()
        assert whole.p_same_after(first) == part.p_same_after()
        assert whole.direction(first) == part.direction()


def test_the_figures_are_those_of_the_sequential_tests() -> None:
    given = np.random.default_rng(4).normal(0.02, 0.02, 12)
    found = evidence(given, 0.015)
    assert found.e == pytest.approx(math.exp(log_e(given)[-1]))
    assert found.p_after() == anytime_p(given)[-1]
    assert found.p_same_after() == anytime_same(given, 0.015)[-1]
    low, high = confidence_sequence(given)
    assert found.interval == (low[-1], high[-1])


def test_pairs_are_counted_by_their_seeds() -> None:
    found = evidence_of(np.array([0.1, 0.2, 0.15]), (1, 4, 5), None, 0.0)
    assert [found.pairs(first) for first in range(8)] == [0, 0, 1, 1, 1, 2, 3, 3]
    assert found.pairs() == 3
    assert found.p_same_after() is None


def test_without_a_difference_there_is_no_evidence() -> None:
    found = evidence([])
    assert (found.e, found.p_after(), found.p_same_after(), found.direction(), found.interval) == (0, 1, 1, 0, None)


def test_the_direction_is_that_of_the_greatest_evidence() -> None:
    found = evidence([0.1, 0.11, 0.09, 0.1, 0.1, -0.5, -0.5, -0.5, -0.5])
    assert found.p_after() < 0.05
    assert np.mean([0.1, 0.11, 0.09, 0.1, 0.1, -0.5, -0.5, -0.5, -0.5]) < 0
    assert (found.direction(), found.direction(5), found.direction(2)) == (1, 1, 1)
    assert evidence([-0.1, -0.11, -0.09]).direction() == -1
    assert evidence([0, 0, 0]).direction() == 0


def test_there_is_no_interval_that_excludes_nothing() -> None:
    given = np.random.default_rng(1).normal(size=6)
    assert [evidence(given[:count]).interval is None for count in range(7)] == [True] * 5 + [False] * 2
    assert evidence([0.1] * 8).interval is None


@pytest.mark.parametrize(
    "given",
    [
        [*np.random.default_rng(1).normal(0, 0.001, 10), *np.random.default_rng(2).normal(0.1, 0.001, 90)],
        [-0.019, -0.017, -0.021, -0.018, -0.022, -0.019, 0.19, 0.2],  # two runs that did not learn
        [0.019, 0.017, 0.021, 0.018, 0.022, 0.019, -0.5],
    ],
)
def test_an_interval_contains_the_mean_whatever_earlier_seeds_gave(given: list[float]) -> None:
    found = evidence(given)
    mean, deviation, pairs = np.mean(given), np.std(given, ddof=1), len(given)
    assert found.interval is not None
    assert found.interval[0] < mean < found.interval[1]
    half = anytime_critical_t(pairs, 0.05)[0] * deviation / math.sqrt(pairs)  # that of one look
    assert found.interval == pytest.approx((mean - half, mean + half))
    low, high = confidence_sequence(np.array(given))
    assert not low[-1] <= mean <= high[-1]
    assert found.notes == [LEFT]


@pytest.mark.parametrize("seed", range(5))
def test_normal_differences_have_the_confidence_sequence_without_a_note(seed: int) -> None:
    given = np.random.default_rng(seed).normal(0.01, 0.02, 12)
    low, high = confidence_sequence(given)
    assert (evidence(given).interval, evidence(given).notes) == ((low[-1], high[-1]), [])


def test_overwhelming_evidence_is_a_number() -> None:
    found = evidence(np.random.default_rng(1).normal(1, 1e-5, 1000))
    assert math.isfinite(found.e)
    assert found.p_after() == 0


def test_few_pairs_never_decide() -> None:
    assert [math.isinf(anytime_critical_t(pairs, 0.05)[0]) for pairs in (3, 4, 5)] == [True, True, False]
    assert resolution(0.01, 4, critical=anytime_critical_t) is None
    assert resolution(0.01, 5, critical=anytime_critical_t) is not None


def decided(rng: np.random.Generator, mean: float, pairs: int, margin: float, *, at_once: bool) -> float:
    """Fraction of simulated studies that are decided at the last look, or by then."""
    given = rng.normal(mean, 1, (4000, pairs))
    p, same = np.exp(-log_e(given)), anytime_same(given, margin) if margin else np.ones_like(given)
    below = (p < 0.05) | (same < 0.05)
    return float((below[:, -1] if at_once else below[:, 2:].any(axis=1)).mean())


@pytest.mark.parametrize("pairs", [5, 8, 20])
def test_the_resolution_is_found_in_80_of_100_studies(pairs: int) -> None:
    effect = resolution(1.0, pairs, critical=anytime_critical_t)
    assert effect is not None
    assert effect > (resolution(1.0, pairs) or 0), "a test of a fixed number finds smaller ones"
    assert decided(np.random.default_rng(1), effect, pairs, 0, at_once=True) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("mean", "margin"), [(1.0, 0.0), (0.5, 0.0), (0.0, 1.0), (0.2, 0.8)])
def test_the_seeds_still_needed_decide_in_at_least_80_of_100_studies(mean: float, margin: float) -> None:
    further = further_seeds(mean, 1.0, 3, margin or None, critical=anytime_critical_t)
    assert further is not None
    assert further > (further_seeds(mean, 1.0, 3, margin or None) or 1000)
    rng = np.random.default_rng(1)
    assert 0.78 < decided(rng, mean, 3 + further, margin, at_once=False) < 0.95
    assert decided(rng, mean, max(3 + further // 2, 3), margin, at_once=False) < 0.8
