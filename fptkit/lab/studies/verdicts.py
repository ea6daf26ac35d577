"""What a study concludes, as records of its results file: comparisons, answers over tasks, ranks, sources of noise."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

Verdict = Literal["better", "worse", "same", "undecided", "not enough evidence", "no difference found"]
"""better, worse: a difference was found; same: the difference is within the margin; undecided: neither was shown; not
enough evidence: there is no test. ``no difference found`` is from earlier versions."""


class Anytime(BaseModel, frozen=True, extra="forbid"):
    """Evidence of a comparison that is looked at after every seed.

    Args:
        e: e-value against no difference, after all common seeds.
        p: anytime-valid p-value: 1 over the largest e-value so far.
        p_holm: the same after Holm's correction within the question.
        p_same: anytime-valid p-value against a difference beyond the margin; None without a margin.
        p_same_holm: the same after Holm's correction within the question.
        decided_at: number of common seeds at which the verdict was reached; None while undecided.
    """

    e: float
    p: float
    p_holm: float
    p_same: float | None = None
    p_same_holm: float | None = None
    decided_at: int | None = None


class Comparison(BaseModel, frozen=True, extra="forbid"):
    """Two arms on one task and fraction of the data, paired by seed, on the first test split.

    Args:
        task, data_fraction: the task and the fraction of the data.
        a, b: the arms; differences are ``a`` minus ``b``, signed so that above 0 means ``a`` is better.
        seeds: seeds that both arms have a result for.
        differences: one for each of these seeds.
        mean: their mean.
        interval: 95 % confidence interval of the mean: Student's t, or a confidence sequence if seeds are added until
            decided; None for fewer than three pairs or if all differences are equal. A confidence sequence excludes
            nothing, so is None, for fewer than five pairs; if the mean has left it, that of the last look alone.
        interval_bca: the same by the bootstrap (BCa); None for fewer than six pairs or if all differences are equal.
        t, degrees: of the paired test; None for fewer than three pairs or if all differences are equal.
        p: two-sided p-value; None if there is no test. With ``anytime``, this and the following are valid at any time;
            figures that would be valid for a fixed number of seeds only are None: ``t``, ``p_exact``, ``interval_bca``.
        p_holm: the same after Holm's correction over the comparisons of its question.
        p_exact: two-sided p-value of the exact sign-flip test; None for fewer than six pairs.
        margin: differences below this count as the same, in the unit of the metric; None if there is none.
        p_same: p-value of equivalence: two one-sided tests against the margin; None without margin or test.
        p_same_holm: the same after Holm's correction over the comparisons of its question.
        resolution: the difference that this number of seeds finds in 80 % of studies with this noise, uncorrected; None
            if there is no test or no noise.
        further_seeds: number of further seeds that would decide in 80 % of studies if difference and noise are as
            observed; None if decided, more than 1,000, or if no number would decide.
        anytime: evidence after every seed, if the study adds seeds until decided.
        effect_size: Hedges' g of the paired differences; None if it cannot be computed.
        verdict: ``a`` against ``b``: ``better`` or ``worse`` if ``p_holm`` is below the study's ``level``, ``same`` if
            ``p_same_holm`` is, else ``undecided``.
        note: why there is no test, which other test was made, or what else may explain the difference.
        allowance, p_verdict: of earlier versions, which chose a common rate and allowed for a wrong choice.
    """

    task: str
    data_fraction: float = 1.0
    a: str
    b: str
    seeds: tuple[int, ...] = ()
    differences: tuple[float, ...]
    mean: float | None
    interval: tuple[float, float] | None
    interval_bca: tuple[float, float] | None = None
    t: float | None = None
    degrees: int | None = None
    p: float | None = None
    p_holm: float | None = None
    p_exact: float | None = None
    margin: float | None = None
    p_same: float | None = None
    p_same_holm: float | None = None
    resolution: float | None = None
    further_seeds: int | None = None
    anytime: Anytime | None = None
    effect_size: float | None = None
    verdict: Verdict
    note: str = ""
    allowance: float = 0.0
    p_verdict: float | None = None


class Answer(BaseModel, frozen=True, extra="forbid"):
    """Two arms over all tasks of a study: the answer to the question that compares them.

    Args:
        a, b: the arms; differences are ``a`` minus ``b``, signed so that above 0 means ``a`` is better.
        places: tasks that count, each with its fraction of the data.
        seeds: seeds that every place has a difference for.
        mean: mean over tasks and seeds of the differences; None if the tasks' metrics differ.
        interval, t, degrees, p: of the paired t-test over seeds, each seed with its mean difference over tasks; with
            differing metrics ``p`` combines the tasks' tests (Stouffer) and the others are None. If seeds are added
            until decided, all are valid at any time, as in `Comparison`.
        margin, p_same: as in `Comparison`.
        q, q_degrees, p_heterogeneity: Cochran's Q: whether the difference varies between tasks beyond noise; None for
            one task or without noise. ``p_heterogeneity`` is None if seeds are added until decided, since it is valid
            for a fixed number only.
        i2: fraction of the variation between tasks that is not noise (I²), in [0, 1]; None like ``q``.
        resolution: as in `Comparison`.
        verdict: as in `Comparison`, uncorrected, since it is one test.
        note: why there is no test, or how tasks were combined.
    """

    a: str
    b: str
    places: tuple[tuple[str, float], ...] = ()
    seeds: tuple[int, ...] = ()
    mean: float | None = None
    interval: tuple[float, float] | None = None
    t: float | None = None
    degrees: int | None = None
    p: float | None = None
    margin: float | None = None
    p_same: float | None = None
    q: float | None = None
    q_degrees: int | None = None
    p_heterogeneity: float | None = None
    i2: float | None = None
    resolution: float | None = None
    verdict: Verdict
    note: str = ""


class Rank(BaseModel, frozen=True, extra="forbid"):
    """Place of an arm on one task: 1 plus the number of arms that are better by a test corrected over all pairs.

    Arms that are not told apart share a rank.
    """

    task: str
    data_fraction: float = 1.0
    arm: str
    rank: int


class NoiseSource(BaseModel, frozen=True, extra="forbid"):
    """Variance of a cell's test result by what the seeds vary.

    Args:
        task, arm, data_fraction: the cell.
        source: ``init``, ``order`` or ``data``.
        values: test results when only this source varies, on the first test split: of the first seed, then of the other
            runs that have one.
        deviation: their standard deviation; None for fewer than two.
        interval: 95 % interval of the standard deviation (chi-squared); None for fewer than three values or if all are
            equal.
        diverged: number of runs that diverged and so have no value.
    """

    task: str
    arm: str
    data_fraction: float = 1.0
    source: Literal["init", "order", "data"]
    values: tuple[float, ...]
    deviation: float | None
    interval: tuple[float, float] | None = None
    diverged: int = 0
