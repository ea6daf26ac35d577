"""Anytime-valid tests: against integrals over scipy's noncentral t, another library, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from fptkit.lab.studies.sequential import (
    anytime_critical_t,
    anytime_p,
    anytime_p_over_tasks,
    anytime_same,
    confidence_sequence,
    log_e,
    log_e_below,
)
from fptkit.lab.studies.statistics import rounding_of

DIFFERENCES = np.array([0.0125, 0.0074, 0.0228, 0.0121, -0.0007, 0.0172, 0.0361, 0.0289])


def random_differences(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(generator.uniform(-2, 2), 1, generator.integers(3, 12)) * 10.0 ** generator.integers(-6, 6)


def by_integral(differences: np.ndarray, scale: float, low: float, high: float) -> float:
    """Likelihood ratio of t, averaged over effects between two bounds in deviations of the prior."""
    pairs = len(differences)
    t, degrees = scipy.stats.ttest_1samp(differences, 0).statistic, pairs - 1

    def weighted(effect: float) -> float:
        likelihood = scipy.stats.nct.pdf(t, degrees, effect * math.sqrt(pairs))
        return float(likelihood * scipy.stats.norm.pdf(effect, scale=scale))

    points = [0.0, float(np.clip(t / math.sqrt(pairs), low, high) * scale)]
    found = scipy.integrate.quad(weighted, low * scale, high * scale, points=points, epsrel=1e-10, epsabs=0, limit=400)
    return math.log(found[0] / scipy.stats.t.pdf(t, degrees))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_e_value_is_the_averaged_likelihood_ratio(seed: int, scale: float) -> None:
    differences = random_differences(seed)
    null = 0.3 * differences.std()
    expected = by_integral(differences - null, scale, -9, 9)
    assert log_e(differences, null, scale)[-1] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_one_sided_e_value_averages_over_negative_effects(seed: int, scale: float) -> None:
    differences = random_differences(seed)
    null = differences.mean() + np.random.default_rng(seed).normal() * differences.std()
    expected = math.log(2) + by_integral(differences - null, scale, -9, 0)
    assert log_e_below(differences, null, scale)[-1] == pytest.approx(expected, abs=1e-7)


def test_the_e_value_agrees_with_the_package_expectation() -> None:
    """Values of expectation 0.6.1, whose prior precision is one over our scale, from Python 3.12:

        from expectation.parametric.ttest_universal import TtestGaussianMixtureMartingale
        for n in range(3, 9):
            d = DIFFERENCES[:n]
            TtestGaussianMixtureMartingale(1 / scale).log_superMG(np.full(n, d.sum()), (d**2).sum())[0]

    ``log_superMG`` takes the number of observations from the length of its first argument.
    """
    scale_1 = [0.7728585409426504, 1.5033670737594464, 1.132489173719465]
    scale_1 += [1.9204987657384587, 2.0144123283171345, 2.806009496069195]
    scale_half = [0.38119314852462965, 0.7703111424518323, 0.7515846391284025]
    scale_half += [1.244964803248351, 1.4211689199551722, 1.9708757339237932]
    np.testing.assert_allclose(log_e(DIFFERENCES)[2:], scale_1, rtol=1e-9)
    np.testing.assert_allclose(log_e(DIFFERENCES, scale=0.5)[2:], scale_half, rtol=1e-9)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_the_e_value_agrees_with_expectation_on_random_differences(seed: int, scale: float) -> None:
    universal = pytest.importorskip("expectation.parametric.ttest_universal")
    differences = random_differences(seed)
    martingale = universal.TtestGaussianMixtureMartingale(prior_precision=1 / scale)
    for pairs in range(3, len(differences) + 1):
        there = differences[:pairs]
        theirs = martingale.log_superMG(np.full(pairs, there.sum()), (there**2).sum())[0]
        assert log_e(differences, scale=scale)[pairs - 1] == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_value_depends_on_the_seeds_so_far_only(seed: int) -> None:
    differences = random_differences(seed)
    pairs = len(differences) - 1
    margin = differences.std()
    for of in (log_e, anytime_p, lambda d: anytime_same(d, margin), lambda d: confidence_sequence(d)[0]):
        np.testing.assert_array_equal(of(differences)[:pairs], of(differences[:pairs]))


def test_rows_are_tested_one_by_one_with_their_own_nulls() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 3, 6))
    rows[0] *= 1e9
    rows[1, 2] = rows[1, 1, 0] + 0.5  # equal, beside rows that are not
    nulls = np.random.default_rng(1).normal(size=(2, 3))
    for of in (log_e, log_e_below, anytime_p):
        found = of(rows, nulls)
        assert found.shape == rows.shape
        for place in np.ndindex(2, 3):
            np.testing.assert_allclose(found[place], of(rows[place], nulls[place]), rtol=1e-12)
    low, high = confidence_sequence(rows)
    np.testing.assert_allclose((low[0, 1], high[0, 1]), confidence_sequence(rows[0, 1]), rtol=1e-12)
    margins = np.abs(nulls) + 0.5
    np.testing.assert_allclose(
        anytime_same(rows, margins)[1, 1], anytime_same(rows[1, 1], float(margins[1, 1])), rtol=1e-12
    )


def test_unit_and_direction_do_not_matter() -> None:
    np.testing.assert_allclose(log_e(1e5 * DIFFERENCES), log_e(DIFFERENCES), rtol=1e-10)
    np.testing.assert_allclose(log_e(-DIFFERENCES), log_e(DIFFERENCES), rtol=1e-12)
    np.testing.assert_allclose(anytime_same(-DIFFERENCES, 0.03), anytime_same(DIFFERENCES, 0.03), rtol=1e-12)
    np.testing.assert_allclose(anytime_same(1e5 * DIFFERENCES, 3e3), anytime_same(DIFFERENCES, 0.03), rtol=1e-10)


def test_there_is_no_evidence_before_the_third_seed() -> None:
    assert (log_e(DIFFERENCES[:2]) == -math.inf).all()
    assert (log_e_below(DIFFERENCES[:2], 1.0) == -math.inf).all()
    assert (anytime_p(DIFFERENCES[:2]) == 1).all()
    assert (anytime_same(DIFFERENCES[:2], 1.0) == 1).all()
    assert anytime_p(np.array([0.1])).tolist() == [1]
    assert anytime_p(np.zeros((4, 0))).shape == (4, 0)


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
def test_a_missing_difference_ends_the_evidence(missing: float) -> None:
    differences = np.r_[DIFFERENCES, missing, DIFFERENCES]
    low, high = confidence_sequence(differences)
    for found in (log_e(differences), log_e_below(differences, 0.1), anytime_p(differences), low, high):
        assert not np.isnan(found[:8]).any()
        assert np.isnan(found[8:]).all()
    assert np.isnan(anytime_same(differences, 0.01)[8:]).all()


def test_equal_differences_count_as_in_the_sign_flip_test() -> None:
    """0.8 - 0.7 and 0.3 - 0.2 differ in the last bit: t would be beyond 10^15."""
    b = np.linspace(0.1, 0.7, 7)
    p = anytime_p((b + 0.1) - b)
    np.testing.assert_allclose(p, [1, 1, 2**-2, 2**-3, 2**-4, 2**-5, 2**-6], rtol=1e-12)
    p_same = anytime_same(np.zeros(6), 0.01)
    np.testing.assert_allclose(p_same[3:], [2**-4, 2**-5, 2**-6], rtol=1e-12)
    assert 2**-3 < p_same[2] < 0.13  # of three, the likelihood ratio is below that of the signs
    assert (anytime_p(np.zeros(30)) == 1).all()
    assert (anytime_same(np.full(30, 0.01), 0.01) == 1).all()


def test_differences_of_single_precision_are_equal_up_to_its_rounding() -> None:
    generator = np.random.default_rng(0)
    b = np.round(generator.uniform(0.5, 0.9, 8), 3)
    a = b + 0.005
    a, b = a.astype(np.float32).astype(float), b.astype(np.float32).astype(float)
    assert anytime_p(a - b)[-1] < 1e-3  # rounding is not so small beside these differences
    assert anytime_p(a - b, rounding=rounding_of(a, b))[-1] == pytest.approx(2**-7)
    assert anytime_same(a - b, 0.01, rounding=rounding_of(a, b))[-1] == pytest.approx(2**-8)
    assert anytime_same(a - b, 0.005, rounding=rounding_of(a, b))[-1] == 1


def test_a_single_other_value_ends_the_equality() -> None:
    found = log_e(np.array([0.1, 0.1, 0.1, 0.1, 0.2]))
    assert found[-1] == pytest.approx(by_integral(np.array([0.1, 0.1, 0.1, 0.1, 0.2]), 1.0, -12, 12), abs=1e-6)


def test_evidence_beyond_floats() -> None:
    differences = 1 + 0.01 * np.random.default_rng(0).standard_normal(1500)
    assert 1000 < log_e(differences)[-1] < math.inf
    assert anytime_p(differences)[-1] == 0
    assert anytime_same(differences, 2.0)[-1] == 0
    assert anytime_same(differences, 0.5)[-1] == 1
    low, high = confidence_sequence(differences)
    assert 0.99 < low[-1] < 1 < high[-1] < 1.01


def test_anytime_p_never_rises() -> None:
    rows = np.random.default_rng(0).normal(0.5, 1, (50, 20))
    for p in (anytime_p(rows), anytime_same(rows, 1.5)):
        assert (np.diff(p, axis=-1) <= 0).all()
        assert ((p > 0) & (p <= 1)).all()


@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_the_confidence_sequence_holds_what_is_not_rejected(confidence: float) -> None:
    rows = np.random.default_rng(0).normal(0.3, 1, (40, 15))
    low, high = confidence_sequence(rows, confidence)
    for shift in (-1e-6, 1e-6):
        for bound, inside in ((low, shift > 0), (high, shift < 0)):
            for seed in (9, 14):
                rejected = anytime_p(rows, bound[:, seed] + shift)[:, seed] <= 1 - confidence
                assert (rejected != inside).all()


def test_the_confidence_sequence_is_unbounded_while_nothing_can_be_rejected() -> None:
    low, high = confidence_sequence(DIFFERENCES)
    assert (low[:4] == -math.inf).all()
    assert (high[:4] == math.inf).all()
    assert np.isfinite([low[4:], high[4:]]).all()
    assert np.isinf(confidence_sequence(np.full(20, 0.1))).all()


def test_the_confidence_sequence_contains_the_mean_at_all_times() -> None:
    rows = np.random.default_rng(0).normal(0.3, 1, (4000, 30))
    low, high = confidence_sequence(rows, 0.9)
    outside = (low[:, -1] > 0.3) | (high[:, -1] < 0.3)
    assert outside.mean() <= 0.1


@pytest.mark.parametrize("seed", range(5))
def test_evidence_against_the_margin_is_never_above_that_against_a_mean_beyond(seed: int) -> None:
    """What makes the boundary cover every mean beyond it, also for equal differences."""
    rows = np.random.default_rng(seed).normal(0, 1, (30, 12))
    rows[:3] = rows[:3, :1]
    rows[3:6] = np.round(rows[3:6])
    nulls = np.linspace(-3, 3, 41)
    evidence = np.array([log_e_below(rows, null)[..., 2:] for null in nulls])
    assert (np.diff(evidence, axis=0) >= -1e-9).all()


@pytest.mark.parametrize("beyond", [1.0, 1.5, -1.0])
def test_arms_at_or_beyond_the_margin_are_rarely_called_the_same(beyond: float) -> None:
    rows = np.random.default_rng(1).normal(beyond, 0.7, (4000, 30))
    assert (anytime_same(rows, 1.0)[:, -1] < 0.05).mean() <= 0.05


def test_arms_within_the_margin_are_called_the_same() -> None:
    rows = np.random.default_rng(1).normal(0, 0.7, (2000, 20))
    assert (anytime_same(rows, 1.0)[:, -1] < 0.05).mean() > 0.99


@pytest.mark.parametrize("side", [-1, 1])
def test_at_the_margin_up_to_rounding_nothing_speaks_for_the_same(side: int) -> None:
    inside = side * (0.25 - 1e-4 * np.array([1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.1, 0.9]))
    assert anytime_same(inside, 0.25)[-1] < 0.05
    assert anytime_same(inside, 0.25, rounding=1e-3)[-1] == 1


def test_a_distance_of_just_the_rounding_is_rounding() -> None:
    assert anytime_p(np.full(9, 0.5), 0.25, rounding=0.25)[-1] == 1
    assert anytime_p(np.full(9, 0.5), 0.25, rounding=0.2)[-1] == pytest.approx(2**-8)


def test_three_seeds_bound_the_mean_at_a_low_confidence() -> None:
    low, high = confidence_sequence(DIFFERENCES, 0.3)
    assert np.isinf([low[:2], high[:2]]).all()
    assert np.isfinite([low[2], high[2]]).all()
    assert low[2] < DIFFERENCES[:3].mean() < high[2]


@pytest.mark.parametrize("differences", [[1e308, -1e308, 1e308, 1e308], [math.inf, 0.0, 1.0, 2.0], [0.0] * 4])
def test_no_value_makes_numpy_warn(differences: list[float]) -> None:
    given = np.array(differences)
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        for found in (log_e(given), log_e_below(given, 0.0), anytime_same(given, 1.0), *confidence_sequence(given)):
            assert found.shape == (4,)


# ---- one look, and tasks together


def standard(pairs: int, t: float) -> np.ndarray:
    """Differences whose mean is t standard errors above 0."""
    values = np.linspace(-1, 1, pairs)
    values /= values.std(ddof=1) / math.sqrt(pairs)
    return values + t


@pytest.mark.parametrize("pairs", [5, 6, 10, 40, 500])
@pytest.mark.parametrize("level", [0.05, 0.05 / 7])
def test_the_critical_t_is_where_the_evidence_is_enough(pairs: int, level: float) -> None:
    anytime_critical_t.cache_clear()  # it must compute here, whatever ran before
    different, same = anytime_critical_t(pairs, level)
    if math.isfinite(different):
        assert log_e(standard(pairs, different * (1 + 1e-9)))[-1] > -math.log(level)
        assert log_e(standard(pairs, different * (1 - 1e-9)))[-1] < -math.log(level)
    if math.isfinite(same):
        assert log_e_below(standard(pairs, -same * (1 + 1e-9)), 0.0)[-1] > -math.log(level)
        assert log_e_below(standard(pairs, -same * (1 - 1e-9)), 0.0)[-1] < -math.log(level)
    assert math.isfinite(different) is bool(log_e(standard(pairs, 1e4))[-1] > -math.log(level))
    assert math.isfinite(same) is bool(log_e_below(standard(pairs, -1e4), 0.0)[-1] > -math.log(level))


def test_tasks_that_agree_add_up_and_others_cancel() -> None:
    rng = np.random.default_rng(3)
    one = rng.normal(0.8, 1, (1, 8))
    agree = np.concatenate([one, 100 * rng.normal(0.8, 1, (1, 8)), 0.01 * rng.normal(0.8, 1, (1, 8))])
    disagree = agree * [[1], [-1], [1]]
    p_one, p_agree, p_disagree = (anytime_p_over_tasks(given)[0][-1] for given in (one, agree, disagree))
    assert p_agree < p_one
    assert p_disagree > p_agree
    expected = np.minimum(1, 2 * np.exp(-np.maximum.accumulate(sum(log_e_below(-row, 0.0) for row in agree))))
    assert anytime_p_over_tasks(agree)[0] == pytest.approx(expected)
    p, direction = anytime_p_over_tasks(-agree)
    assert p == pytest.approx(anytime_p_over_tasks(agree)[0])
    assert direction[-1] == -anytime_p_over_tasks(agree)[1][-1] == -1


def test_tasks_without_an_effect_are_rarely_combined_to_one() -> None:
    given = np.random.default_rng(5).normal(size=(4000, 3, 20)) * [[1.0], [100.0], [0.1]]
    p, _ = anytime_p_over_tasks(given)
    assert 0.005 < (p[:, -1] < 0.05).mean() <= 0.05


def test_the_noise_of_rounding_on_one_task_is_no_evidence() -> None:
    """Each task has its own rounding; in the first row it is as large as the differences, in the second far below."""
    equal, apart = np.full(8, 1e-7) + np.linspace(0, 1e-9, 8), np.linspace(1.0, 2.0, 8)
    rows, rounding = np.array([[equal, -apart], [equal, -apart]]), np.array([[1e-6, 1e-6], [1e-9, 1e-6]])
    p, direction = anytime_p_over_tasks(rows, rounding=rounding)
    assert p.shape == direction.shape == (2, 8)
    alone = 2 / np.exp(log_e_below(-apart, 0.0)[2:])
    assert p[0, 2:] == pytest.approx(alone * np.sqrt(np.arange(4, 10))), "the price of a bet on equal values"
    assert p[1, -1] > p[0, -1]
    assert (direction[0, -1], direction[0, 0]) == (-1, 1)


def test_a_p_value_over_tasks_is_one_at_most() -> None:
    p, _ = anytime_p_over_tasks(np.random.default_rng(0).normal(size=(100, 2, 6)))
    assert p.max() == 1
