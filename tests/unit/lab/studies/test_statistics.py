"""Statistics of studies: against scipy, statsmodels and formulas by hand. For error rates see the integration tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from fptkit.lab.studies.statistics import (
    bca_interval,
    combined,
    equivalence,
    hedges_g,
    heterogeneity,
    holm,
    interval,
    mean_and_error,
    paired_tests,
    rounding_of,
    sign_flip_p,
    stouffer,
)

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
    bounds = theirs.confidence_interval(0.95)
    assert interval(float(ours.mean), float(ours.standard_error), pairs) == pytest.approx(
        (bounds.low, bounds.high), rel=1e-10
    )


def test_rows_are_tested_one_by_one() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=(2, 4, 6, 3))
    ours, theirs = paired_tests(a, b), scipy.stats.ttest_rel(a, b, axis=-1)
    np.testing.assert_allclose(ours.p, theirs.pvalue, rtol=1e-12)


def test_the_scale_of_a_row_does_not_make_another_one_equal() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=(2, 4, 6)) * [[1e9], [1.0], [1e-3], [1e-9]]
    theirs = scipy.stats.ttest_rel(a, b, axis=-1)
    np.testing.assert_allclose(paired_tests(a, b).p, theirs.pvalue, rtol=1e-12)


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


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
def test_a_missing_score_gives_no_p(missing: float) -> None:
    a = np.array([missing, 0.2, 0.3, 0.2])
    tests = paired_tests(a, np.full(4, 0.1))
    assert math.isnan(float(tests.p))
    assert math.isnan(float(equivalence(tests.mean, tests.standard_error, 4, 0.01)))
    assert math.isnan(float(combined(np.array([a, a])).p))


def test_no_difference_at_all_is_p_1() -> None:
    ours = paired_tests(np.ones(3), np.ones(3))
    assert (float(ours.p), float(ours.mean)) == (1, 0)


@pytest.mark.parametrize(
    "p", [[0.01, 0.04, 0.03, 0.005], [0.5, 0.5], [0.02, 0.02, 0.02], [0.2], [1.0, 0.001, 0.9], [0.9, 0.8, 0.001]]
)
def test_holm_agrees_with_statsmodels(p: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    np.testing.assert_allclose(holm(np.array(p)), multitest.multipletests(p, method="holm")[1], rtol=1e-14)


def test_holm_corrects_each_row_by_itself() -> None:
    rows = np.array([[0.04, 0.01, 0.3], [0.5, math.nan, 0.001]])
    found = holm(rows)
    np.testing.assert_allclose(found[0], [0.08, 0.03, 0.3], rtol=1e-12)
    np.testing.assert_allclose(found[1], [0.5, math.nan, 0.002], rtol=1e-12)


def test_comparisons_without_a_test_do_not_count() -> None:
    corrected = holm(np.array([math.nan, 0.01, math.nan, 0.02]))
    np.testing.assert_array_equal(corrected, [math.nan, 0.02, math.nan, 0.02])
    assert np.isnan(holm(np.full(3, math.nan))).all()
    assert holm(np.array([])).size == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], (None, None)), ([4.0], (4.0, None)), ([1.0, 3.0], (2.0, 1.0)), ([1, 1, 4], (2.0, 1.0))],
)
def test_the_error_of_few_values(values: list[float], expected: tuple[float | None, float | None]) -> None:
    assert mean_and_error(values) == pytest.approx(expected)


def test_three_pairs_have_an_effect_size() -> None:
    exact = math.gamma(1) / math.gamma(0.5)  # for two degrees of freedom
    assert hedges_g(0.3, 0.1, 3) == pytest.approx(exact * 3 / math.sqrt(3), rel=1e-12)


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


def random_pairs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two arms, of random number, size and noise."""
    generator = np.random.default_rng(seed)
    a, b = generator.normal(generator.uniform(0, 0.05), generator.uniform(0.001, 0.05), (2, generator.integers(3, 15)))
    return 0.8 + a, 0.8 + b * generator.uniform(0.2, 3)


@pytest.mark.parametrize("seed", range(20))
def test_equivalence_agrees_with_statsmodels(seed: int) -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    a, b = random_pairs(seed)
    tests = paired_tests(a, b)
    for margin in (0.002, 0.01, 0.1):
        ours = equivalence(tests.mean, tests.standard_error, len(a), margin)
        assert float(ours) == pytest.approx(weightstats.ttost_paired(a, b, -margin, margin)[0], rel=1e-9)


def test_equivalence_of_rows_with_their_own_margins() -> None:
    mean, error, margin = np.array([0.0, 0.02, -0.02]), np.array([0.002, 0.004, 0.004]), np.array([0.01, 0.03, 0.03])
    rows = equivalence(mean, error, 5, margin)
    assert rows.shape == (3,)
    assert rows[1] == rows[2] == float(equivalence(0.02, 0.004, 5, 0.03))


@pytest.mark.parametrize(
    ("mean", "expected"), [(0.0, 2**-5), (0.009, 2**-5), (-0.009, 2**-5), (0.01, 1), (0.01 - 1e-9, 1), (-0.5, 1)]
)
def test_equal_differences_are_the_same_by_flipping_signs_on_one_side(mean: float, expected: float) -> None:
    """All five differences are above -margin: of 32 flips around it, one is as extreme."""
    assert float(equivalence(mean, 0.0, 5, 0.01)) == expected


def test_equivalence_without_room_is_never_shown() -> None:
    assert float(equivalence(0.0, 0.01, 5, 0.0)) == 0.5
    assert float(equivalence(0.0, 0.0, 5, 0.0)) == 1
    assert math.isnan(float(equivalence(math.nan, math.nan, 5, 0.01)))


@pytest.mark.parametrize("pairs", [2, 3, 6, 9, 12])
@pytest.mark.parametrize("step", [0.0, 1 / 360])
def test_sign_flips_agree_with_scipy(pairs: int, step: float) -> None:
    """Also for multiples of 1/360, whose sums tie."""
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.004, 0.01, pairs)
        whole = np.round(differences / step) if step else differences
        theirs = scipy.stats.permutation_test((whole,), np.sum, permutation_type="samples", n_resamples=np.inf)
        assert sign_flip_p(whole * step if step else whole) == pytest.approx(theirs.pvalue, abs=1.01 / 2**pairs)
        if step:
            assert sign_flip_p(whole * step) == pytest.approx(theirs.pvalue, rel=1e-12)


def test_sixteen_pairs_are_flipped_exactly_and_more_by_the_seed_0() -> None:
    differences = np.linspace(0.1, 1.0, 16)
    assert sign_flip_p(differences) == 2 / 2**16
    more = np.random.default_rng(5).normal(0.3, 1.0, 18)
    signs = 1 - 2 * np.random.default_rng(0).integers(0, 2, size=(2**16, 18))
    expected = (np.abs(signs @ more) >= abs(more.sum()) - 1e-4 * np.abs(more).max()).sum()
    assert sign_flip_p(more) == (expected + 1) / (2**16 + 1)


def test_the_bootstrap_is_scipys_with_the_seed_0() -> None:
    differences = np.random.default_rng(3).normal(0.02, 0.05, 9)
    found = scipy.stats.bootstrap(
        (differences,), np.mean, confidence_level=0.9, method="BCa", random_state=np.random.default_rng(0)
    ).confidence_interval
    assert bca_interval(differences, 0.9) == (found.low, found.high)


def test_rows_of_differences_are_judged_apart() -> None:
    a = np.array([[0.5, 0.7, 0.9], [0.5, 0.6, 0.9], [0.8, 0.8, 0.8]])
    b = np.array([[0.4, 0.6, 0.8], [0.4, 0.4, 0.9], [0.8, 0.8, 0.8 + 1e-9]])
    found = paired_tests(a, b)
    assert found.standard_error.tolist() == pytest.approx([0.0, (a - b)[1].std(ddof=1) / math.sqrt(3), 0.0])
    assert found.p[[0, 2]].tolist() == [0.25, 1.0]
    assert found.p[1] == pytest.approx(scipy.stats.ttest_rel(a[1], b[1]).pvalue)
    assert found.mean.tolist() == pytest.approx([0.1, 0.1, 0.0])
    assert found.mean[2] == 0.0  # exactly: what differs by rounding does not differ


def test_sums_that_differ_by_rounding_tie() -> None:
    """Of single-precision values, 0.875 - 0.8625 is not 0.7375 - 0.725; flipping these two must count as extreme."""
    a, b = np.float32([0.875, 0.7375, 0.9, 0.8, 0.7, 0.6]), np.float32([0.8625, 0.725, 0.8, 0.7, 0.6, 0.5])
    differences = a.astype(float) - b.astype(float)
    differences[0] *= -1
    exact = np.array([-1, 1, 8, 8, 8, 8.0])
    assert sign_flip_p(differences) == sign_flip_p(exact)
    assert sign_flip_p(differences, rounding=float(rounding_of(a, b))) == sign_flip_p(exact)


def test_many_pairs_are_flipped_at_random_but_always_the_same() -> None:
    differences = np.random.default_rng(0).normal(0.4, 1, 30)
    t = scipy.stats.ttest_1samp(differences, 0).pvalue
    assert sign_flip_p(differences) == sign_flip_p(differences) == pytest.approx(t, abs=0.005)
    assert sign_flip_p(np.ones(40)) == 1 / 65_537  # none of the random flips is as extreme


def test_sign_flips_of_nothing_and_of_nan() -> None:
    assert sign_flip_p(np.zeros(6)) == 1
    assert math.isnan(sign_flip_p(np.array([0.1, math.nan, 0.2])))


def bca_by_hand(differences: np.ndarray, confidence: float) -> tuple[float, float]:
    """Efron's formulas, with other resamples."""
    n, mean = len(differences), differences.mean()
    resamples = np.random.default_rng(9).choice(differences, (100_000, n)).mean(axis=1)
    bias = scipy.stats.norm.ppf(((resamples < mean).mean() + (resamples <= mean).mean()) / 2)
    left_out = np.array([np.delete(differences, i).mean() for i in range(n)])
    away = left_out.mean() - left_out
    acceleration = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    z = bias + scipy.stats.norm.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(resamples, scipy.stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


@pytest.mark.parametrize("seed", range(5))
def test_the_bootstrap_interval_agrees_with_its_formulas(seed: int) -> None:
    differences = np.random.default_rng(seed).exponential(0.02, 8)
    ours, by_hand = bca_interval(differences, 0.9), bca_by_hand(differences, 0.9)
    assert ours is not None
    assert ours == bca_interval(differences, 0.9)
    assert ours == pytest.approx(by_hand, abs=0.05 * np.ptp(differences))


@pytest.mark.parametrize(
    "differences", [[0.1, 0.2, 0.3, 0.1, 0.2], [0.1] * 7, [0.1, 0.2, math.nan, 0.1, 0.2, 0.3], [math.inf] * 6]
)
def test_no_bootstrap_of_few_equal_or_missing_differences(differences: list[float]) -> None:
    assert bca_interval(np.array(differences)) is None


def test_the_bootstrap_of_one_odd_value_is_an_interval() -> None:
    bounds = bca_interval(np.array([0.0, 0, 0, 0, 0, 0.01]))
    assert bounds is not None
    assert 0 <= bounds[0] <= bounds[1] <= 0.01


@pytest.mark.parametrize("seed", range(5))
def test_the_test_over_tasks_is_the_t_test_of_each_seeds_mean(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.01, 0.02, (3, 4, 6))
    ours, theirs = combined(differences), scipy.stats.ttest_1samp(differences.mean(axis=1), 0, axis=-1)
    np.testing.assert_allclose(ours.t, theirs.statistic, rtol=1e-12)
    np.testing.assert_allclose(ours.p, theirs.pvalue, rtol=1e-12)
    np.testing.assert_allclose(ours.mean, differences.mean(axis=(1, 2)), rtol=1e-12)
    assert ours.degrees == 5


def test_equal_means_over_tasks_are_judged_by_flipping_signs() -> None:
    a = np.float32([[0.8, 0.7, 0.75], [0.7, 0.8, 0.75]]).astype(float)
    b = np.float32([[0.75, 0.65, 0.7], [0.65, 0.75, 0.7]]).astype(float)
    found = combined(a - b, rounding=float(rounding_of(a, b).max()))
    assert (float(found.standard_error), float(found.p)) == (0, 0.25)
    assert float(combined(np.zeros((2, 3))).p) == 1


@pytest.mark.parametrize("seed", range(10))
def test_stouffer_agrees_with_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    p, signs = generator.uniform(0, 1, (2, generator.integers(1, 6)))
    signs = np.sign(signs - 0.3)
    above = np.where(signs > 0, p / 2, 1 - p / 2)
    theirs = scipy.stats.combine_pvalues(above, method="stouffer").pvalue
    assert float(stouffer(p, signs)) == pytest.approx(2 * min(theirs, 1 - theirs), rel=1e-9)
    missing = stouffer(np.append(p, math.nan), np.append(signs, 1))
    assert float(missing) == pytest.approx(float(stouffer(p, signs)), rel=1e-12)


def test_stouffer_of_one_task_is_its_own_p_and_rows_are_apart() -> None:
    p = np.array([[0.03, math.nan], [0.5, 0.2], [math.nan, math.nan]])
    signs = np.array([[1, 1], [1, -1], [1, 1]])
    found = stouffer(p, signs)
    assert found[0] == pytest.approx(0.03, rel=1e-12)
    assert found[1] == pytest.approx(float(stouffer(p[1], signs[1])), rel=1e-12)
    assert math.isnan(found[2])


def test_stouffer_at_the_ends() -> None:
    assert float(stouffer(np.array([0.0, 0.0]), np.array([1, -1]))) == 1
    assert float(stouffer(np.array([0.0, 1.0]), np.array([1, 0]))) < 1e-100
    assert math.isnan(float(stouffer(np.full(2, math.nan), np.ones(2))))
    assert stouffer(np.full((4, 2), 0.5), np.ones((4, 2))).shape == (4,)


@pytest.mark.parametrize("seed", range(10))
def test_heterogeneity_agrees_with_statsmodels(seed: int) -> None:
    """Q and I2 with the average noise as the variance of each task; p is that of Brown, Forsythe and Mehrotra."""
    meta_analysis = pytest.importorskip("statsmodels.stats.meta_analysis")
    oneway = pytest.importorskip("statsmodels.stats.oneway")
    generator = np.random.default_rng(seed)
    tasks, pairs = int(generator.integers(2, 8)), int(generator.integers(3, 8))
    samples = generator.normal(0, generator.uniform(0.5, 3, (tasks, 1)), (tasks, pairs)) + np.arange(tasks)[:, None]
    means, errors = samples.mean(axis=1), scipy.stats.sem(samples, axis=1)
    ours = heterogeneity(means, errors, pairs)
    theirs = meta_analysis.combine_effects(means, np.full(tasks, np.square(errors).mean()))
    assert float(ours.q) == pytest.approx(theirs.q, rel=1e-9)
    assert float(ours.i2) == pytest.approx(max(theirs.i2, 0), abs=1e-9)
    assert ours.degrees == tasks - 1
    assert float(ours.p) == pytest.approx(oneway.anova_oneway(list(samples), use_var="bf").pvalue, rel=1e-9)


def test_heterogeneity_and_rounding_of_rows_are_those_of_each_row() -> None:
    means = np.array([[0.1, 0.14, 0.2], [0.1, 0.102, 0.101]])
    errors = np.array([[0.01, 0.02, 0.03], [0.002, 0.002, 0.001]])
    rows = heterogeneity(means, errors, 4)
    for row in range(2):
        one = heterogeneity(means[row], errors[row], 4)
        np.testing.assert_allclose([rows.q[row], rows.p[row], rows.i2[row]], [one.q, one.p, one.i2], rtol=1e-12)
    assert rows.i2[0] == pytest.approx(1 - 2 / rows.q[0])
    assert 0 < rows.q[1] < 1
    assert rows.i2[1] == 0  # less variation than noise makes
    assert rounding_of(np.array([[1.0, -8.0], [2.0, 0.5]]), np.zeros((2, 2))).tolist() == pytest.approx([8e-6, 2e-6])


def test_no_heterogeneity_of_one_task_or_without_noise() -> None:
    one = heterogeneity(np.array([0.1]), np.array([0.01]), 3)
    assert all(math.isnan(float(value)) for value in (one.q, one.p, one.i2))
    silent = heterogeneity(np.array([0.1, 0.2]), np.zeros(2), 3)
    assert all(math.isnan(float(value)) for value in (silent.q, silent.p, silent.i2))
    alike = heterogeneity(np.array([0.1, 0.1]), np.array([0.01, 0.02]), 3)
    assert (float(alike.q), float(alike.p), float(alike.i2)) == (0, 1, 0)


def test_three_seeds_do_not_find_tasks_to_differ_by_noise() -> None:
    """The usual Q against chi-squared, with each task's own variance, finds it in 4 of 10 studies."""
    samples = np.random.default_rng(0).standard_normal((4000, 6, 3))
    means, errors = samples.mean(axis=-1), scipy.stats.sem(samples, axis=-1)
    assert (heterogeneity(means, errors, 3).p < 0.05).mean() < 0.05
    weights = errors**-2
    center = (weights * means).sum(axis=-1, keepdims=True) / weights.sum(axis=-1, keepdims=True)
    usual = scipy.stats.chi2.sf((weights * (means - center) ** 2).sum(axis=-1), 5)
    assert (usual < 0.05).mean() > 0.35
