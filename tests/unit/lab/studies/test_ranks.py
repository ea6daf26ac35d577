"""Ranks: arms that are not told apart share one."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import scipy.stats
from statsmodels.stats.multitest import multipletests
from study_facts import facts, scores

from fptkit.lab.studies.plan import CellName
from fptkit.lab.studies.ranks import ranks_of

ARMS = ("a", "b", "c", "d")


def drawn(*means: float, seed: int = 1, deviation: float = 0.01) -> dict[tuple[str, str], Any]:
    rng = np.random.default_rng(seed)
    return {("xor", arm): rng.normal(mean, deviation, 5) for arm, mean in zip(ARMS, means, strict=False)}


def ranks(table: dict[tuple[str, str], Any], arms: tuple[str, ...] = ARMS) -> dict[str, int]:
    study = facts(arms=arms)
    return {rank.arm: rank.rank for rank in ranks_of(study, scores(study, table))}


def test_arms_far_apart_have_ranks_of_their_own() -> None:
    assert ranks(drawn(0.5, 0.9, 0.7, 0.3)) == {"a": 3, "b": 1, "c": 2, "d": 4}


def test_arms_that_are_not_told_apart_share_a_rank() -> None:
    assert ranks(drawn(0.9, 0.9, 0.5, 0.5)) == {"a": 1, "b": 1, "c": 3, "d": 3}


def test_ranks_follow_tests_corrected_over_all_pairs() -> None:
    for seed in range(30):
        table = drawn(0.9, 0.89, 0.88, 0.87, seed=seed)
        pairs = list(combinations(ARMS, 2))
        tests = [scipy.stats.ttest_rel(table["xor", a], table["xor", b]) for a, b in pairs]
        found = multipletests([test.pvalue for test in tests], method="holm", alpha=0.05)[0]
        losers = [b if t.statistic > 0 else a for (a, b), t, yes in zip(pairs, tests, found, strict=True) if yes]
        assert ranks(table) == {arm: 1 + losers.count(arm) for arm in ARMS}


def test_there_are_no_ranks_before_all_cells_are_complete() -> None:
    table = drawn(0.9, 0.8, 0.7)
    assert ranks(table) == {}, "d has no runs yet"
    assert set(ranks(table, ("a", "b", "c"))) == {"a", "b", "c"}
    study = facts(arms=("a", "b"))
    given = scores(study, table)
    given[CellName("xor", "b")] = replace(given[CellName("xor", "b")], complete=False)
    assert ranks_of(study, given) == ()


def test_an_arm_that_diverged_everywhere_has_no_rank_and_others_do() -> None:
    study = facts(arms=ARMS)
    given = scores(study, drawn(0.9, 0.8, 0.7))
    given[CellName("xor", "d")] = replace(given[CellName("xor", "d")], complete=True)
    assert {rank.arm: rank.rank for rank in ranks_of(study, given)} == {"a": 1, "b": 2, "c": 3}


def test_two_seeds_give_no_ranks() -> None:
    assert ranks({key: values[:2] for key, values in drawn(0.9, 0.8, 0.7, 0.6).items()}) == {}
    table = drawn(0.9, 0.8, 0.7, 0.6)
    study = facts(arms=ARMS)
    given = scores(study, table)
    cell = given[CellName("xor", "a")]
    given[CellName("xor", "a")] = replace(cell, test={seed: cell.test[seed] for seed in (0, 1, 2)})
    other = given[CellName("xor", "b")]
    given[CellName("xor", "b")] = replace(other, test={seed: other.test[seed] for seed in (2, 3, 4)})
    assert ranks_of(study, given) == (), "one seed in common"


def test_a_single_arm_has_no_rank() -> None:
    assert ranks(drawn(0.9), ("a",)) == {}
