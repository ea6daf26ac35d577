"""Our model and engine against the numbers of the official code, kzl/universal-computation, on the same weights.

``official.json`` holds them, with the command that made them and the largest differences over all numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from parity_cases import (
    BLOCKS,
    CASES,
    GOLDEN,
    HEADS,
    LONG,
    LONG_CASES,
    LOSSES,
    LSTM_LAYERS,
    LSTM_WIDTH,
    RUNS,
    STEPS,
    TOLERANCE,
    WIDTH,
    Arm,
    Case,
    Draws,
    Outcome,
    differences,
    digest,
    digest_outcome,
    fixed_tensor,
    is_position_table,
    mismatches,
    our_backbone,
    our_model,
    our_name,
    run_lstm,
    run_ours,
)

from fptkit.backbones.lstm.network import LstmBackbone
from fptkit.backbones.lstm.options import LstmSizes
from fptkit.tasks.bits import BitMemory, BitXor
from fptkit.tasks.options import BitMemoryOptions, BitXorOptions

TABLES = [path for path in BLOCKS if path != "lstm"]
"""Those with a table of positions."""


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(GOLDEN.read_text())
    return content


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "name"), RUNS, ids=[arm.key(CASES[name]) for arm, name in RUNS])
def test_same_numbers_as_the_official_code(arm: Arm, name: str, golden: dict[str, Any], tmp_path: Path) -> None:
    """Logits; losses, gradient norms and trained tensors of three steps; which tensors train; evaluation after it.

    With dropout, both codes drop the same numbers, and both LSTMs start from the same states.
    """
    case = CASES[name]
    outcome = run_ours(case, our_backbone(arm.path, dropout=arm.dropout), tmp_path, arm)
    assert mismatches(golden["cases"][arm.key(case)], outcome, case) == []
    for name, tensor in outcome.trained.items():
        moved = float((tensor - fixed_tensor(name, tensor.shape)).abs().max())
        # Two numbers may go and come back; of more, one keeps its direction.
        assert moved > (0 if tensor.numel() == 2 else 1e-3), f"{name} hardly trained: that it agrees says nothing"


def test_dropout_changes_what_is_compared(golden: dict[str, Any]) -> None:
    """Were dropout lost in both, they would agree all the same."""
    dropped = [(arm, CASES[name]) for arm, name in RUNS if arm.dropout]
    assert {arm.path for arm, _ in dropped} == set(BLOCKS)
    for arm, case in dropped:
        with_it = golden["cases"][arm.key(case)]["losses"]
        without = golden["cases"][Arm(arm.path).key(case)]["losses"]
        assert min(abs(one - other) for one, other in zip(with_it, without, strict=True)) > 2 * TOLERANCE


def test_every_place_of_dropout_is_reached(tmp_path: Path) -> None:
    """Encoder, embedding, and in each block the attention weights and both branches; not the head."""
    case, seen = CASES["bit_xor"], []
    mask = Draws._mask
    with mock.patch.object(Draws, "_mask", lambda draws, shape, p: seen.append(tuple(shape)) or mask(draws, shape, p)):
        run_ours(case, our_backbone("gpt2", blocks=1, dropout=0.1), tmp_path, Arm("gpt2", dropout=0.1), steps=1)
    tokens, read = (case.count, case.tokens, WIDTH), (case.count, 5, WIDTH)
    # The last block computes the five tokens that are read out.
    assert seen == [tokens, tokens, (case.count, HEADS, 5, case.tokens), read, read]


def test_lstm_alone_from_the_weights_it_starts_with(golden: dict[str, Any]) -> None:
    """Output and every gradient, with norms that start within 1 / sqrt(N), dropout and random states."""
    backbone = LstmBackbone(LstmSizes(LSTM_LAYERS, LSTM_WIDTH), dropout=0.1, variant="official")
    found = run_lstm(backbone.train(), dict(backbone.named_parameters()))
    assert found.keys() == golden["lstm"].keys()
    for name, tensor in found.items():
        assert differences(name, golden["lstm"][name], digest(tensor)) == []
    other = LstmBackbone(backbone.sizes, dropout=0.1).train()
    assert differences(
        "output", golden["lstm"]["output"], digest(run_lstm(other, dict(other.named_parameters()))["output"])
    )


FIRST = 10


def test_first_losses_of_a_whole_training(tmp_path: Path) -> None:
    case, golden = LONG_CASES["bit_xor"], json.loads(LOSSES.read_text())["losses"]["bit_xor"]["official"]
    outcome = run_ours(case, our_backbone("gpt2", rows=case.tokens), tmp_path, steps=FIRST)
    np.testing.assert_allclose(outcome.losses, golden[:FIRST], rtol=0, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG_CASES)
def test_losses_of_a_whole_training(name: str, tmp_path: Path) -> None:
    case, golden = LONG_CASES[name], json.loads(LOSSES.read_text())["losses"][name]["official"]
    outcome = run_ours(case, our_backbone("gpt2", rows=case.tokens), tmp_path, steps=LONG)
    np.testing.assert_allclose(outcome.losses, golden, rtol=0, atol=TOLERANCE)
    assert outcome.losses[-1] < outcome.losses[0] / 2  # it did train


@pytest.mark.slow
@pytest.mark.parametrize("path", TABLES)
def test_position_table_of_the_tasks_length_changes_nothing(path: str, tmp_path: Path) -> None:
    """The official code trains 1,024 rows whatever the task; a table cut to the task's length gives the same."""
    case = CASES["bit_xor"]
    whole = run_ours(case, our_backbone(path), tmp_path / "whole")
    cut = run_ours(case, our_backbone(path, rows=case.tokens), tmp_path / "cut")
    assert cut.trained.keys() == whole.trained.keys()
    assert sum(map(is_position_table, whole.trained)) == 1
    assert torch.equal(cut.logits, whole.logits)
    for name, tensor in whole.trained.items():
        if is_position_table(name):
            unreached = tensor[case.tokens :]
            assert torch.equal(unreached, fixed_tensor(name, tensor.shape)[case.tokens :])
            tensor = tensor[: case.tokens]
        torch.testing.assert_close(cut.trained[name], tensor, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("path", BLOCKS)
def test_every_parameter_has_its_counterpart(path: str, golden: dict[str, Any]) -> None:
    names = golden["names"][path]
    assert {official: our_name(official, path) for official in names} == names
    ours = [f"backbone.{name}" for name, _ in our_backbone(path).named_parameters()]
    assert sorted(name for name in names.values() if name is not None) == sorted(ours)
    # What is left over is the part of the pretrained model that the official code bypasses and freezes.
    left_over = {official.split(".")[1] for official, name in names.items() if name is None}
    known = {"gpt2": {"wte"}, "vit": {"cls_token", "pos_embed", "patch_embed", "head"}, "lstm": set()}
    assert left_over == known[path]


def test_names_without_counterpart_are_told() -> None:
    assert our_name("in_net.0.weight", "gpt2") == "encoder.map.0.weight"
    assert our_name("in_net.weight", "vit") == "encoder.table.weight"
    assert our_name("out_net.0.bias", "vit") == "head.map.0.bias"
    assert our_name("sequence_model.wte.weight", "gpt2") is None
    assert our_name("sequence_model.pos_embed", "vit") is None
    assert our_name("sequence_model.h.0.ln_1.weight", "vit") is None


def test_cases_are_the_tasks() -> None:
    """What the official code was asked for is what our tasks declare at the paper's sizes."""
    for task, name in (
        (BitMemory(BitMemoryOptions(), seed=0), "bit_memory"),
        (BitXor(BitXorOptions(), seed=0), "bit_xor"),
    ):
        case = CASES[name]
        assert (task.input, task.output, task.max_tokens) == (case.input, case.output, case.tokens)


def test_batches_are_those_of_the_golden_numbers() -> None:
    """Were NumPy's frozen streams to change, the failure should say so."""
    assert CASES["bit_xor"].batch(STEPS).inputs[0].flatten().tolist() == XOR_BITS
    assert CASES["symbols"].batch(0).inputs[0, :10].tolist() == SYMBOLS
    assert fixed_tensor("head.map.0.bias", (2,)).tolist() == pytest.approx(HEAD_BIASES, abs=1e-7)


XOR_BITS = [0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0]
SYMBOLS = [1, 12, 5, 7, 10, 9, 4, 14, 13, 7]
HEAD_BIASES = [-0.00438234, 0.13319841]


def outcome_of(case: Case) -> Outcome:
    """Some outcome of the right form."""
    names = ("backbone.wpe.weight", "head.map.0.bias")
    return Outcome(
        logits=fixed_tensor("logits", (case.count, 5, 2)),
        faint_logits=fixed_tensor("faint", (case.count, 5, 2)),
        losses=[0.7, 0.6, 0.5],
        gradient_norms=[3.0, 2.0, 1.0],
        evaluation={"loss": 0.4, "accuracy": 0.5},
        trained={name: fixed_tensor(name, (12, 4)) for name in names},
        without_gradient=[],
    )


def changed(tensor: torch.Tensor, by: float) -> torch.Tensor:
    """The first number changed."""
    tensor = tensor.clone()
    tensor.view(-1)[0] += by
    return tensor


FAULTS: dict[str, tuple[Callable[[Outcome], dict[str, Any]], str]] = {
    "logits": (lambda good: {"logits": changed(good.logits, 2 * TOLERANCE)}, "logits: differs by 2.0e-05"),
    "faint": (lambda good: {"faint_logits": good.faint_logits.flip(0)}, "faint_logits: differs"),
    "not a number": (lambda good: {"logits": changed(good.logits, float("nan"))}, "logits: differs by nan"),
    "shape": (lambda good: {"logits": good.logits[:, :4]}, "logits: shape"),
    "loss": (lambda good: {"losses": [0.7, 0.6, 0.50002]}, "losses: differs by 2.0e-05"),
    "steps": (lambda good: {"losses": [0.7, 0.6]}, "losses: 3 numbers, found 2"),
    "gradient": (lambda good: {"gradient_norms": [3.0, 2.00002, 1.0]}, "gradient_norms: differs"),
    "evaluation": (lambda good: {"evaluation": {"loss": 0.4, "accuracy": 0.6}}, "evaluation accuracy: differs"),
    "trained": (
        lambda good: {"trained": {name: changed(tensor, 2 * TOLERANCE) for name, tensor in good.trained.items()}},
        "head.map.0.bias: differs by 2.0e-05",
    ),
    "between the entries": (
        lambda good: {"trained": {name: tensor + 2 * TOLERANCE for name, tensor in good.trained.items()}},
        "backbone.wpe.weight, mean: differs by 2.0e-05",
    ),
    "frozen": (
        lambda good: {"trained": {"head.map.0.bias": good.trained["head.map.0.bias"]}},
        "trained in one only: ['backbone.wpe.weight']",
    ),
    "gradient reached": (lambda good: {"without_gradient": ["head.map.0.bias"]}, "without a gradient: [], found"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_difference_is_found(fault: str) -> None:
    case = CASES["bit_xor"]
    good = outcome_of(case)
    golden = digest_outcome(good, case)
    assert mismatches(golden, good, case) == []
    change, message = FAULTS[fault]
    assert any(line.startswith(message) for line in mismatches(golden, replace(good, **change(good)), case))


def test_model_holds_the_fixed_weights() -> None:
    """No draw of its own is left: not in norms, biases, encoder or head."""
    model = our_model(CASES["bit_xor"], our_backbone("gpt2", rows=10, blocks=1))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, fixed_tensor(name, parameter.shape))
        assert float(parameter.detach().std()) > 0
