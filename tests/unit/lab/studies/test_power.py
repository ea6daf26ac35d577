"""Power against scipy's noncentral t and against an integral over the chi distribution."""

from __future__ import annotations

import math

import pytest
import scipy.integrate
import scipy.stats

from fptkit.lab.studies.power import probability_decided


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
