"""Estimates of sizes and products: against hand counts and the configurations of models."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from benchmark_recipes import BIT_MEMORY, SETTINGS, SMALL, load

from fptkit.errors import DataError, ShapeError, SourceError
from fptkit.lab.benchmarking.estimate import estimate
from fptkit.lab.benchmarking.hours import Work
from fptkit.lab.benchmarking.products import ProductsAlone, largest, products_of


def test_products_are_found_with_their_sizes() -> None:
    one, other, added = torch.randn(5, 7), torch.randn(7, 3), torch.randn(3)

    def work() -> None:
        torch.mm(one, other)
        torch.addmm(added, one, other)
        torch.bmm(one[None], other[None])  # batched: left out

    assert products_of(work) == {(5, 7, 3): 2}


def test_the_largest_products_stand_for_nine_tenths_of_the_operations() -> None:
    seen = Counter({(100, 10, 10): 1, (10, 10, 10): 9, (1, 1, 1): 50})  # 20,000, 18,000 and 100 operations
    assert largest(seen) == [(100, 10, 10), (10, 10, 10)]
    assert largest(Counter()) == []


def test_a_matrix_rate_is_one_a_machine_can_have() -> None:
    alone = ProductsAlone([(64, 64, 64), (32, 16, 8)], torch.float32, torch.device("cpu"))
    assert all(1e7 < alone.rate() < 1e14 for _ in range(3))


def test_products_alone_are_those_asked_for() -> None:
    alone = ProductsAlone([(32, 16, 8), (5, 3, 2)], torch.bfloat16, torch.device("cpu"))
    done = products_of(alone.rate)
    assert set(done) == {(32, 16, 8), (5, 3, 2)}


def test_a_config_alone_gives_the_sizes_of_an_lstm(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "layer_norm_lstm", "layers": 2, "width": 24}))
    text = f"backbone: {{name: lstm, weights: 'path:{tmp_path}', blocks: {{keep: 1}}}}\nfreezing: {{name: full}}\n"
    found = estimate(load(tmp_path, BIT_MEMORY + text + SETTINGS))
    layer = 2 * (24 * 96 + 96) + 2 * 2 * 96 + 2 * 24
    encoder_and_head = 50 * 24 + 24 + 24 * 100 + 100
    assert found.parameters == found.trained == layer + encoder_and_head
    assert found.weights == f"path:{tmp_path}"


def test_a_config_that_is_nowhere_is_told(tmp_path: Path) -> None:
    loaded = load(tmp_path, BIT_MEMORY + f"backbone: {{name: gpt2, weights: 'path:{tmp_path}/none'}}\n" + SETTINGS)
    with pytest.raises(SourceError, match=r"no config.json in .*none.*\n.*Parameters and memory cannot be estimated"):
        estimate(loaded)


def test_a_hub_model_that_is_not_here_is_told(tmp_path: Path) -> None:
    loaded = load(tmp_path, BIT_MEMORY + "backbone: {name: gpt2, weights: 'hub:nobody/nothing'}\n" + SETTINGS)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE forbids"):
        estimate(loaded)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("not json", "not readable as JSON"),
        ("[]", "does not hold a JSON"),
        ('{"model_type": "bert"}', "not 'gpt2'"),
    ],
)
def test_a_broken_config_is_told(tmp_path: Path, content: str, fault: str) -> None:
    (tmp_path / "config.json").write_text(content)
    loaded = load(tmp_path, BIT_MEMORY + f"backbone: {{name: gpt2, weights: 'path:{tmp_path}'}}\n" + SETTINGS)
    with pytest.raises(DataError, match=fault):
        estimate(loaded)


def test_a_task_too_long_for_the_model_is_refused_as_in_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**SMALL["gpt2"], "n_positions": 16}))
    loaded = load(tmp_path, BIT_MEMORY + f"backbone: {{name: gpt2, weights: 'path:{tmp_path}'}}\n" + SETTINGS)
    with pytest.raises(ShapeError, match="position table ends at 16"):
        estimate(loaded)


RANDOM = "backbone: {name: random, size: nano, blocks: 2, width: 32, heads: 2}\n"
LONGER = "train: {batch_size: 4, max_steps: 25, validate_every: 10}\nthreads: 1\n"


def test_every_evaluation_of_a_run_is_counted(tmp_path: Path) -> None:
    """After steps 10, 20 and 25 on 8 examples, and the test of 8 once; 25 batches of 4 each time under fpt2021."""
    loaded = load(tmp_path, BIT_MEMORY + RANDOM + LONGER)
    assert estimate(loaded).evaluated == 3 * 8 + 8
    loaded = load(tmp_path, BIT_MEMORY + RANDOM + LONGER, ["task.protocol=fpt2021"])
    found = estimate(loaded)
    assert found.evaluated == (3 + 1) * 25 * 4
    assert found.work == Work(25, found.flops_per_step, found.flops_per_example * found.evaluated)
    assert (found.blocks, found.width, found.in_turn) == (2, 32, 0)


def test_a_forward_pass_is_a_third_of_a_step_that_trains_everything(tmp_path: Path) -> None:
    full = estimate(load(tmp_path, BIT_MEMORY + RANDOM + "freezing: {name: full}\n" + LONGER))
    assert 4 * full.flops_per_example == pytest.approx(full.flops_per_step / 3, rel=0.05)
    frozen = estimate(load(tmp_path, BIT_MEMORY + RANDOM + "freezing: {name: fpt}\n" + LONGER))
    assert frozen.flops_per_example == full.flops_per_example
    assert frozen.flops_per_step < 0.75 * full.flops_per_step


def test_an_lstm_takes_its_time_steps_in_turn(tmp_path: Path) -> None:
    text = "backbone: {name: lstm, layers: 2, width: 16}\nfreezing: {name: full}\n"
    found = estimate(load(tmp_path, BIT_MEMORY + text + LONGER))
    assert found.in_turn == 2 * found.tokens
