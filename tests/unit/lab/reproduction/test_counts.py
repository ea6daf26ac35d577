"""The kept counts: complete, as fresh ones, and near a formula."""

from __future__ import annotations

import pytest

from fptkit.errors import DataError
from fptkit.lab.benchmarking.hours import Speed
from fptkit.lab.reproduction.counts import (
    PRETRAINING,
    count,
    count_of,
    count_pretraining,
    preparing_seconds,
    read_counts,
    seconds_of,
)
from fptkit.lab.reproduction.plan import Job, chosen, plan
from fptkit.registry import load_plugins

JOBS = plan()
QUICK = ("fpt2021/bit_xor/frozen_language", "fpt2021/cifar10/full_random_3_blocks", "rothermel2021/mnist/full_language")
OTHERS = [job.name for job in JOBS if job.figure.body != "lstm" and job.name not in QUICK]
"""Counting an LSTM takes minutes: its time steps run one by one."""

TOKENS = {"bit_memory": 120, "bit_xor": 10, "listops": 512, "mnist": 49, "cifar10": 64, "cifar10_lra": 1024}
"""Tokens of an example under fpt2021, by the paper's definitions."""


def named(name: str) -> Job:
    return chosen(JOBS, [name])[0]


def test_every_job_is_counted_and_nothing_else() -> None:
    assert set(read_counts()) == {*(job.name for job in JOBS), PRETRAINING}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_a_kept_count_is_that_of_a_fresh_one(name: str) -> None:
    """Within two percent, since libraries change; what a plan shows has two digits."""
    kept, fresh = count_of(named(name)).model_dump(), count(named(name), load_plugins(selection="")).model_dump()
    assert {key: value for key, value in fresh.items() if value != pytest.approx(kept[key], rel=0.02)} == {}


def test_the_pretraining_is_counted_like_a_job() -> None:
    kept, fresh = read_counts()[PRETRAINING], count_pretraining(load_plugins(selection=""))
    assert fresh.model_dump() == pytest.approx(kept.model_dump(), rel=0.02)
    assert (kept.blocks, kept.width, kept.parameters == kept.trained) == (12, 768, True)


@pytest.mark.parametrize("job", [job for job in JOBS if job.paper == "fpt2021" and job.figure.task in TOKENS],
                         ids=lambda job: job.name)  # fmt: skip
def test_operations_are_near_the_formula_for_transformers(job: Job) -> None:
    """Two per weight and token forward, and again for each gradient; attention grows with the square of the length."""
    found = count_of(job)
    tokens = TOKENS[job.figure.task] * (8 if job.figure.task == "bit_memory" else 16)
    if job.figure.body == "lstm":
        weights, attention = 3 * 8 * 768**2, 0.0
    else:
        # The last block computes keys and values of all tokens, and the rest for those that are read.
        blocks = found.blocks - (5 / 6 if job.figure.task not in ("bit_memory", "bit_xor") else 0.5)
        weights = 12 * found.width**2 * blocks
        attention = 4 * found.width * TOKENS[job.figure.task] * blocks
    passes = 3 if job.figure.freezing == "full" else 2
    expected = tokens * (2 * weights * passes + attention * 3)
    assert found.flops_per_step == pytest.approx(expected, rel=0.15)


def test_evaluations_are_a_small_part() -> None:
    """25 batches of each evaluation under fpt2021; whole splits of thousands of examples under clean."""
    for job in JOBS:
        found = count_of(job)
        assert 0 < found.evaluation_flops < 0.25 * found.steps * found.flops_per_step, job.name


def test_the_memory_of_every_job_fits_a_common_gpu() -> None:
    assert max(count_of(job).memory_gib for job in JOBS) < 24


def test_a_job_takes_its_runs_and_what_it_needs_first() -> None:
    speed = Speed(tflops=10, step_s=0.02)
    job = named("rothermel2021/mnist/frozen_language")
    assert job.runs == 15
    assert seconds_of(job, speed) == pytest.approx(15 * 400_000 * 0.02, rel=0.1)
    assert preparing_seconds(job, speed) == 0
    assert preparing_seconds(named("fpt2021/mnist/frozen_bit_memory"), speed) > 0


def test_a_job_that_was_not_counted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fptkit.lab.reproduction.counts.read_counts", dict)
    with pytest.raises(DataError, match=r"bit_xor/frozen_language is not in counts\.json: python benchmarks/reproduce"):
        count_of(named("fpt2021/bit_xor/frozen_language"))
