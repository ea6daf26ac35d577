"""Power against scipy's noncentral t and against an integral over the chi distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from fptkit.lab.studies.power import further_seeds, probability_decided, resolution
from fptkit.lab.studies.statistics import equivalence, paired_tests


@pytest.mark.parametrize("pairs", [3, 5, 20])
@pytest.mark.parametrize("effect", [0.0, 0.5, -1.5])
def test_without_a_margin_it_is_the_power_of_the_t_test(pairs: int, effect: float) -> None:
    critical, noncentrality = scipy.stats.t.ppf(0.975, pairs - 1), effect * math.sqrt(pairs)
    distribution = scipy.stats.nct(pairs - 1, noncentrality) if effect else scipy.stats.t(pairs - 1)
    expected = distribution.sf(critical) + distribution.cdf(-critical)
    assert probability_decided(effect, pairs, 0.0, 0.05) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("pairs", [3, 8, 30])
@pytest.mark.parametrize(("effect", "margin"), [(0.0, 1.0), (0.4, 1.0), (1.0, 1.0), (0.2, 3.0)])
def test_with_a_margin_equivalence_counts_as_well(pairs: int, effect: float, margin: float) -> None:
    degrees = pairs - 1
    one_sided, two_sided = scipy.stats.t.ppf([0.95, 0.975], degrees)

    def decided(deviation: float) -> float:
        """Probability given the sample's deviation."""
        error = deviation / math.sqrt(pairs)
        mean = scipy.stats.norm(effect, 1 / math.sqrt(pairs))
        different, same = two_sided * error, max(margin - one_sided * error, 0)
        inside = min(same, different)
        found = mean.sf(different) + mean.cdf(-different) + mean.cdf(inside) - mean.cdf(-inside)
        return float(found * scipy.stats.chi.pdf(deviation * math.sqrt(degrees), degrees) * math.sqrt(degrees))

    kinks = [margin * math.sqrt(pairs) / one_sided, margin * math.sqrt(pairs) / (one_sided + two_sided)]
    expected = scipy.integrate.quad(decided, 0, 8, points=[min(kink, 7.9) for kink in kinks], limit=200)[0]
    assert probability_decided(effect, pairs, margin, 0.05) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("pairs", [3, 5, 10, 40])
@pytest.mark.parametrize("level", [0.05, 0.05 / 3])
def test_the_resolution_agrees_with_statsmodels(pairs: int, level: float) -> None:
    power = pytest.importorskip("statsmodels.stats.power")
    ours = resolution(0.02, pairs, level=level, power=0.8)
    assert ours is not None
    assert power.TTestPower().power(ours / 0.02, pairs, level) == pytest.approx(0.8, abs=1e-5)


def test_the_resolution_at_strict_levels_by_simulation() -> None:
    """Where scipy's noncentral t is not a number."""
    found = resolution(1.0, 5, level=0.001, power=0.8)
    assert found is not None
    samples = found + np.random.default_rng(0).standard_normal((40_000, 5))
    assert (paired_tests(samples, np.zeros_like(samples)).p < 0.001).mean() == pytest.approx(0.8, abs=0.008)


@pytest.mark.parametrize(("deviation", "pairs"), [(0.0, 5), (0.1, 2), (math.nan, 5), (math.inf, 5)])
def test_no_resolution_without_test_or_noise(deviation: float, pairs: int) -> None:
    assert resolution(deviation, pairs) is None


@pytest.mark.parametrize("effect", [0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_further_seeds_agree_with_statsmodels(effect: float, level: float) -> None:
    power = pytest.importorskip("statsmodels.stats.power")
    needed = math.ceil(power.TTestPower().solve_power(effect, alpha=level, power=0.8))
    assert further_seeds(-0.01 * effect, 0.01, 3, None, level=level) == max(needed - 3, 1)


@pytest.mark.parametrize(("mean", "margin"), [(0.0, 1.0), (0.3, 1.0), (0.6, 0.8), (0.2, 1.2)])
def test_further_seeds_decide_in_80_of_100_simulated_studies(mean: float, margin: float) -> None:
    """With as many, better or same is found in 80 of 100; with one fewer, in less."""
    further = further_seeds(mean, 1.0, 4, margin)
    assert further is not None
    shares = []
    for pairs in (4 + further, 3 + further):
        samples = mean + np.random.default_rng(pairs).standard_normal((40_000, pairs))
        tests = paired_tests(samples, np.zeros_like(samples))
        same = equivalence(tests.mean, tests.standard_error, pairs, margin)
        shares.append(float(((tests.p < 0.05) | (same < 0.05)).mean()))
    assert shares[0] > 0.8 - 0.008
    assert shares[1] < 0.8 + 0.008


def test_further_seeds_have_a_limit() -> None:
    assert further_seeds(0.0, 0.01, 5, None) is None
    assert further_seeds(0.0001, 0.01, 5, None) is None
    assert further_seeds(0.003, 0.01, 5, None, limit=84) is None
    assert further_seeds(0.003, 0.01, 5, None, limit=85) == 85
    assert further_seeds(math.nan, 0.1, 5, 0.01) is None
    assert further_seeds(1.0, 0.001, 1, None) == 2  # a test needs three
    assert further_seeds(1.0, 0.001, 5, None) == 1


@pytest.mark.parametrize("margin", [None, 0.01, 0.2])
@pytest.mark.parametrize("mean", [0.0, 0.05])
@pytest.mark.parametrize("level", [0.05, 0.05 / 3])
def test_equal_differences_need_as_many_seeds_as_their_exact_tests(
    mean: float, margin: float | None, level: float
) -> None:
    def decided(pairs: int) -> bool:
        a = np.full(pairs, 0.5)
        tests = paired_tests(a + mean, a)
        same = margin is not None and equivalence(tests.mean, tests.standard_error, pairs, margin) < level
        return bool(tests.p < level or same)

    expected = next((more for more in range(1, 30) if decided(3 + more)), None)
    assert further_seeds(mean, 0.0, 3, margin, level) == expected
    assert (expected is None) == (mean == 0 and margin is None)
