"""Statistics of studies: against scipy, statsmodels and formulas by hand, and by simulation without an effect."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from fptkit.lab.studies.statistics import (
    hedges_g,
    holm,
    interval,
    largest_gain,
    mean_and_error,
    paired_tests,
    standard_error_of_differences,
)

sys.path.insert(0, str(Path(__file__).parents[4] / "benchmarks"))
import verdicts

A = np.array([0.912, 0.875, 0.934, 0.901, 0.888])
B = np.array([0.871, 0.866, 0.902, 0.899, 0.841])


def test_mean_and_error_agree_with_scipy() -> None:
    mean, error = mean_and_error(A.tolist())
    assert mean == pytest.approx(A.mean(), rel=1e-15)
    assert error == pytest.approx(scipy.stats.sem(A), rel=1e-14)


@pytest.mark.parametrize(
    ("values", "expected"), [([], (None, None)), ([0.5], (0.5, None)), ([0.1, 0.1, 0.1], (0.1, 0.0))]
)
def test_few_and_equal_values(values: list[float], expected: tuple[float | None, float | None]) -> None:
    assert mean_and_error(values) == expected


@pytest.mark.parametrize("pairs", [2, 3, 5])
def test_the_paired_test_agrees_with_scipy(pairs: int) -> None:
    a, b = A[:pairs], B[:pairs]
    ours, theirs = paired_tests(a, b), scipy.stats.ttest_rel(a, b)
    assert float(ours.t) == pytest.approx(theirs.statistic, rel=1e-12)
    assert float(ours.p) == pytest.approx(theirs.pvalue, rel=1e-12)
    assert float(ours.p_allowed) == float(ours.p)
    bounds = theirs.confidence_interval(0.95)
    assert interval(float(ours.mean), float(ours.standard_error), pairs) == pytest.approx(
        (bounds.low, bounds.high), rel=1e-10
    )


def test_rows_are_tested_one_by_one() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=(2, 4, 6, 3))
    ours, theirs = paired_tests(a, b), scipy.stats.ttest_rel(a, b, axis=-1)
    np.testing.assert_allclose(ours.p, theirs.pvalue, rtol=1e-12)


def test_swapping_the_arms_turns_the_sign_only() -> None:
    there, back = paired_tests(A, B), paired_tests(B, A)
    assert float(back.t) == -float(there.t)
    assert float(back.p) == float(there.p)


@pytest.mark.parametrize("pairs", [3, 5, 6])
def test_equal_differences_are_judged_by_flipping_signs(pairs: int) -> None:
    """0.3 - 0.2 and 0.8 - 0.7 differ in the last bit; a t-test would find that beyond doubt."""
    b = np.linspace(0.1, 0.7, pairs)
    a = b + 0.1
    assert np.ptp(a - b) > 0
    ours = paired_tests(a, b)
    flips = scipy.stats.permutation_test(
        (np.full(pairs, 0.1), np.zeros(pairs)), lambda x, y: np.mean(x - y), permutation_type="samples"
    )
    assert float(ours.p) == pytest.approx(flips.pvalue)
    assert math.isnan(float(ours.t))
    assert float(ours.standard_error) == 0


def test_no_difference_at_all_is_p_1() -> None:
    ours = paired_tests(np.ones(3), np.ones(3))
    assert (float(ours.p), float(ours.p_allowed), float(ours.mean)) == (1, 1, 0)


@pytest.mark.parametrize(
    "p", [[0.01, 0.04, 0.03, 0.005], [0.5, 0.5], [0.02, 0.02, 0.02], [0.2], [1.0, 0.001, 0.9], [0.9, 0.8, 0.001]]
)
def test_holm_agrees_with_statsmodels(p: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    np.testing.assert_allclose(holm(np.array(p)), multitest.multipletests(p, method="holm")[1], rtol=1e-14)


def test_comparisons_without_a_test_do_not_count() -> None:
    corrected = holm(np.array([math.nan, 0.01, math.nan, 0.02]))
    np.testing.assert_array_equal(corrected, [math.nan, 0.02, math.nan, 0.02])
    assert np.isnan(holm(np.full(3, math.nan))).all()
    assert holm(np.array([])).size == 0


def test_hedges_g_agrees_with_its_formula() -> None:
    differences = A - B
    d = differences.mean() / differences.std(ddof=1)
    exact = math.gamma(4 / 2) / (math.sqrt(4 / 2) * math.gamma(3 / 2))
    tests = paired_tests(A, B)
    ours = hedges_g(float(tests.mean), float(tests.standard_error), 5)
    assert ours == pytest.approx(exact * d, rel=1e-12)
    assert ours == pytest.approx((1 - 3 / (4 * 4 - 1)) * d, rel=5e-3)  # the usual approximation


def test_no_effect_size_without_deviation_or_from_two_pairs() -> None:
    assert hedges_g(0.1, 0.0, 5) is None
    assert hedges_g(0.1, 0.02, 2) is None


def test_the_allowances_by_hand() -> None:
    """The mean moves towards zero by the allowance; half the validation's error is added in squares."""
    tests = paired_tests(A, B, allowance=0.01, validation_error=0.02)
    error = scipy.stats.sem(A - B)
    t = ((A - B).mean() - 0.01) / math.sqrt(error**2 + 0.01**2)
    assert float(tests.p_allowed) == pytest.approx(2 * scipy.stats.t.sf(t, 4), rel=1e-10)
    assert float(tests.p) == pytest.approx(scipy.stats.ttest_rel(A, B).pvalue, rel=1e-12)


def test_an_allowance_above_the_difference_leaves_nothing() -> None:
    assert float(paired_tests(A, B, allowance=0.2).p_allowed) == 1


def test_an_allowance_never_helps() -> None:
    """Equal differences with an error of validation: the t-test of that error must not undercut the sign-flip test."""
    tests = paired_tests(np.full(3, 0.9), np.full(3, 0.4), validation_error=1e-6)
    assert float(tests.p) == float(tests.p_allowed) == 0.25


def test_the_largest_gain_is_taken_over_rates_and_seeds() -> None:
    chosen = np.array([0.8, 0.7, 0.9])
    others = np.array([[0.75, 0.72, 0.6], [math.nan, 0.6, 0.91]])
    assert float(largest_gain(chosen, others)) == pytest.approx(0.02)
    assert float(largest_gain(chosen, np.full((1, 3), math.nan))) == 0
    assert float(largest_gain(chosen, np.array([[0.1, 0.2, 0.3]]))) == 0


def test_the_error_of_differences_agrees_with_scipy() -> None:
    assert float(standard_error_of_differences(A, B)) == pytest.approx(scipy.stats.sem(A - B), rel=1e-12)


CASES = [
    replace(design, arms=arms, tasks=tasks, seeds=seeds)
    for design in verdicts.DESIGNS
    for arms, tasks in verdicts.SIZES
    for seeds in verdicts.SEEDS
]


@pytest.mark.slow
@pytest.mark.parametrize("design", CASES, ids=lambda d: f"{d.name}, {d.arms} arms, {d.tasks} tasks, {d.seeds} seeds")
def test_no_effect_gives_a_verdict_in_5_of_100_studies_at_most(design: verdicts.Design) -> None:
    assert verdicts.share_with_verdict(verdicts.draw(design, 2000, seed=0)) <= 0.05


@pytest.mark.slow
def test_the_plain_test_would_be_wrong_where_the_rate_is_chosen_on_little_validation() -> None:
    """What the allowances are for; without them the simulation above would prove nothing."""
    design = next(design for design in verdicts.DESIGNS if design.name == "five rates, validation of 100")
    drawn = verdicts.draw(design, 2000, seed=0)
    assert verdicts.share_with_verdict(drawn, allowances=False) > 0.15
    assert verdicts.share_with_verdict(drawn) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "effect", "least"), [(3, 5, 0.7), (5, 2, 0.5), (5, 5, 0.99), (3, 10, 0.99)])
def test_effects_are_found(seeds: int, effect: float, least: float) -> None:
    design = verdicts.Design("power", (0.6,), deviation=0.01, test=2000, seeds=seeds, effect=effect)
    assert verdicts.share_with_verdict(verdicts.draw(design, 2000, seed=0)) > least
