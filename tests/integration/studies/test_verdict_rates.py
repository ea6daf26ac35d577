"""How often verdicts are wrong and what they find, by simulation: a small run of ``benchmarks/verdicts.py``."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
import verdicts

STUDIES = 2000


def most(rate: float, studies: int = STUDIES) -> float:
    """Highest share of studies that chance explains at a true rate: three standard errors."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / studies)


@pytest.mark.slow
@pytest.mark.parametrize("design", verdicts.DESIGNS, ids=lambda design: design.name)
def test_no_effect_gives_a_verdict_in_5_of_100_questions(design: verdicts.Design) -> None:
    shares = verdicts.verdict_shares(design, STUDIES, seed=1)
    assert max(shares["per_seed"]) <= most(0.05)
    assert shares[verdicts.UNTIL][0] <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("margin", [verdicts.MARGIN, verdicts.LARGE_MARGIN])
@pytest.mark.parametrize("design", verdicts.DESIGNS, ids=lambda design: design.name)
def test_arms_at_the_margin_are_the_same_in_5_of_100_questions(design: verdicts.Design, margin: float) -> None:
    shares = verdicts.same_shares(design, margin, margin, STUDIES, seed=1)
    assert max(shares["per_seed"]) <= most(0.05)
    assert shares[verdicts.UNTIL][0] <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("design", verdicts.SEVERAL_TASKS, ids=lambda design: design.name)
def test_no_effect_on_any_task_gives_an_answer_in_5_of_100_questions(design: verdicts.Design) -> None:
    for shares in verdicts.answer_shares(design, STUDIES, seed=1).values():
        assert max(shares) <= most(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("points", "expected"), [(5, (0.645, 0.987, 1.0)), (2, (0.185, 0.42, 0.82))], ids=["5 points", "2 points"]
)
def test_effects_are_found(points: int, expected: tuple[float, ...]) -> None:
    """Expected: from 50,000 studies of another implementation."""
    design = replace(verdicts.POWER[1], effect=points / 100)
    found = verdicts.verdict_shares(design, STUDIES, seed=1, count=verdicts.right)["per_seed"]
    for share, rate in zip(found, expected, strict=True):
        assert share == pytest.approx(rate, abs=0.005 + 3 * math.sqrt(rate * (1 - rate) / STUDIES))


@pytest.mark.slow
def test_a_common_rate_is_wrong_where_validation_is_small() -> None:
    """Why each seed chooses its own; without this, the bounds above would prove nothing about the choice."""
    design = next(design for design in verdicts.DESIGNS if design.name == "five rates, validation of 100")
    shares = verdicts.verdict_shares(design, STUDIES, seed=1)
    assert min(shares["common"]) > 0.15
    assert max(shares["per_seed"]) < most(0.05)


@pytest.mark.slow
def test_what_is_not_covered_is_as_documented() -> None:
    """docs/statistics.md, "What it does not cover": if these are no longer wrong, the page is."""
    collapsing, skewed, one_collapses = (verdicts.verdict_shares(design, STUDIES, seed=1) for design in verdicts.LIMITS)
    assert collapsing["per_seed"][0] > 0.08
    assert max(collapsing["per_seed"][1:]) < 0.02
    assert 0.07 < min(skewed["per_seed"]) <= max(skewed["per_seed"]) < 0.15
    assert one_collapses["per_seed"][0] > 0.3


def test_an_effect_of_two_deviations_is_decided_with_eight_seeds() -> None:
    stopped = verdicts.until_decided(verdicts.normal_scores(2.0, STUDIES, seed=1))
    assert verdicts.right(stopped.verdict).mean() > 0.985
    assert np.median(stopped.seeds) in (7, 8, 9)


def test_looking_at_a_t_test_after_each_seed_is_wrong_and_at_e_values_is_not() -> None:
    given = verdicts.normal_scores(0.0, STUDIES, seed=1)
    assert verdicts.wrong(verdicts.repeated_test(given).verdict).mean() == pytest.approx(0.23, abs=0.03)
    assert verdicts.wrong(verdicts.until_decided(given).verdict).mean() <= 0.05


def test_the_page_has_every_design() -> None:
    page = (Path(__file__).parents[3] / "docs" / "statistics.md").read_text(encoding="utf-8")
    for design in (*verdicts.DESIGNS, *verdicts.LIMITS, *verdicts.POWER, *verdicts.SAME, *verdicts.SEVERAL_TASKS):
        assert f"| {design.name} |" in page, design.name
