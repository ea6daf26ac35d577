"""When a run counts as trained, and what its group chooses: every case by itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from fptkit.lab.studies.outcome import Outcome, Status
from fptkit.lab.studies.plan import Request, Trial
from fptkit.lab.studies.search.choice import (
    Choice,
    Standing,
    best_of,
    choose,
    is_settled,
    is_trained,
    score_of,
    searching,
    standing,
    train_all,
)

CELL: Any = SimpleNamespace(train=SimpleNamespace(max_steps=80))


def outcome(now: Status, value: float | None = 0.5, /, *, higher: bool = True, **summary: Any) -> Outcome:
    selection = {"metric": "accuracy", "higher_is_better": higher}
    metrics = {"validation": {} if value is None else {"accuracy": value}}
    return Outcome("a" * 64, now, summary={"selection": selection, "metrics": metrics, **summary})


@pytest.mark.parametrize(
    ("given", "trained", "settled"),
    [
        (None, False, False),
        (Outcome("a" * 64), False, False),
        (Outcome("a" * 64, "validated"), True, True),
        (Outcome("a" * 64, "finished"), True, True),
        (outcome("running", validated_step=79), False, False),
        (outcome("running", validated_step=80), True, True),
        (outcome("running", None, validated_step=80), False, False),
        (outcome("paused", validated_step=40), False, False),
        # Stopped, or failed, after its training: in its test, which the choice must not depend on.
        (outcome("running", status="validated"), True, True),
        (outcome("interrupted", status="finished"), True, True),
        (outcome("failed", status="failed"), False, True),
        (outcome("failed", times_tested=1), True, True),
        (outcome("failed", times_tested=0), False, True),
        (outcome("lost", times_tested=1), True, True),
        (outcome("diverged", times_tested=1), False, True),
        (outcome("diverged", status="validated", validated_step=80), False, True),
    ],
)
def test_when_a_run_is_trained(given: Outcome | None, trained: bool, settled: bool) -> None:
    assert is_trained(CELL, given) is trained
    assert is_settled(CELL, given) is settled


@pytest.mark.parametrize(
    ("given", "score"),
    [
        (outcome("finished", 0.25), 0.25),
        (outcome("finished", 0.25, higher=False), -0.25),
        (outcome("finished", None), None),
        (outcome("finished", float("nan")), None),
        (outcome("finished", 0.0), 0.0),
    ],
)
def test_scores_are_signed(given: Outcome, score: float | None) -> None:
    assert score_of(given) == score


def outcomes(*rows: Outcome) -> Mapping[Trial, Outcome]:
    return {Trial(1e-3, seed): row for seed, row in enumerate(rows)}


def test_a_standing_counts_every_seed() -> None:
    ended = (outcome("finished", 0.5), outcome("finished", 1.0))
    diverged = (outcome("diverged"), outcome("diverged"))
    failed = (outcome("failed"), outcome("finished", None), outcome("failed", float("nan"), times_tested=1))
    found = standing(1e-3, range(7), CELL, outcomes(*ended, *diverged, *failed))
    assert found == Standing(1e-3, 0.75, diverged=2, failed=3)
    assert standing(1e-3, range(2), CELL, outcomes(*diverged)).score is None


@pytest.mark.parametrize(("diverged", "failed", "sound"), [(0, 0, True), (1, 0, False), (0, 1, False), (2, 3, False)])
def test_a_sound_standing_has_no_lost_run(diverged: int, failed: int, sound: bool) -> None:
    assert Standing(1e-3, 0.5, diverged, failed).sound is sound


@pytest.mark.parametrize(
    ("standings", "best"),
    [
        ([], None),
        ([Standing(1e-3, None, 0, 2)], None),
        ([Standing(1e-3, 0.5, 0, 0), Standing(1e-2, 0.7, 0, 0)], 1e-2),
        ([Standing(1e-2, 0.5, 0, 0), Standing(1e-3, 0.5, 0, 0)], 1e-3),  # the smaller of two that are equal
        ([Standing(1e-3, 0.5, 0, 0), Standing(1e-2, 0.9, 1, 0)], 1e-3),  # a diverged run excludes
        ([Standing(1e-3, 0.5, 0, 0), Standing(1e-2, 0.9, 0, 1)], 1e-3),  # more failed runs exclude
        ([Standing(1e-3, 0.5, 0, 1), Standing(1e-2, 0.9, 0, 1)], 1e-2),  # as many do not
        ([Standing(1e-3, -0.5, 0, 0), Standing(1e-2, -0.1, 0, 0)], 1e-2),  # losses, signed
        ([Standing(1e-3, 0.0, 0, 0), Standing(1e-2, -0.5, 0, 0)], 1e-3),
        ([Standing(1e-3, 0.0, 0, 0), Standing(1e-2, 0.5, 0, 0)], 1e-2),
    ],
)
def test_the_best_rate(standings: list[Standing], best: float | None) -> None:
    assert best_of(standings) == best


@pytest.mark.parametrize(
    ("rows", "rate", "reason", "out"),
    [
        ((outcome("finished", 0.2), outcome("finished", 0.4)), 1e-2, "", 0),
        ((outcome("finished", 0.2), outcome("diverged")), 1e-3, "", 1),
        ((outcome("diverged"), outcome("diverged")), None, "diverged at every rate", 0),
        ((outcome("failed"), outcome("failed")), None, "every run failed", 0),
        ((outcome("failed"), outcome("diverged")), None, "every rate diverged or failed", 2),
    ],
)
def test_a_choice_says_why(rows: tuple[Outcome, Outcome], rate: float | None, reason: str, out: int) -> None:
    given = {Trial(1e-3, 0): rows[0], Trial(1e-2, 0): rows[1]}
    found = choose(CELL, [0], given, [1e-3, 1e-2])
    assert (found.rate, found.reason, len(found.out), found.requests) == (rate, reason, out, ())
    assert found.compared == (1e-3, 1e-2)


def test_only_runs_that_have_not_ended_are_requested() -> None:
    trials = [Trial(1e-3, seed) for seed in range(4)]
    given = outcomes(outcome("finished"), outcome("failed"), outcome("running", validated_step=10))
    assert train_all(CELL, trials, given) == (Request(trials[2]), Request(trials[3]))


def test_an_unfinished_search_has_no_rate() -> None:
    request = Request(Trial(1e-3, 0))
    assert searching([request], 7, "rung 1") == Choice((request,), None, "rung 1", (), (), 7)
    assert searching([request], 7).reason == ""
