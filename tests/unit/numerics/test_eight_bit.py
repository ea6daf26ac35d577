"""Frozen linear maps in 8 bits: against NumPy, with gradients, without stored copies, in models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fptkit.engine.build import build
from fptkit.engine.run import RunRequest, run
from fptkit.errors import FreezingError, UsageError
from fptkit.freezing import FreezeProof
from fptkit.inference.trained import load
from fptkit.lab.benchmarking.estimate import estimate
from fptkit.numerics import int8
from fptkit.numerics import precision as numerics_precision
from fptkit.numerics.eight_bit import EightBitLinear, linear_rows
from fptkit.numerics.precision import choose_precision
from fptkit.recipe.load import load_recipe

RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, like: vit, size: nano, blocks: 2, width: 32, heads: 2, dropout: 0.0}
train: {batch_size: 8, max_steps: 30, validate_every: 15, patience: null}
threads: 1
"""


def maps() -> tuple[nn.Linear, EightBitLinear]:
    torch.manual_seed(0)
    linear = nn.Linear(48, 20)
    with torch.no_grad():
        linear.weight[3] = 0.0
    linear.weight.requires_grad_(False)
    return linear, EightBitLinear(linear)


def dequantised(linear: nn.Linear) -> np.ndarray:
    weight = linear.weight.detach().numpy()
    largest = np.abs(weight).max(1, keepdims=True)
    scale = np.where(largest > 0, largest, 1) / 127
    return np.rint(weight / scale) * scale  # type: ignore[no-any-return]


def test_as_numpy_rounds() -> None:
    linear, small = maps()
    hidden = torch.randn(5, 7, 48)
    assert small.weight.dtype == torch.int8
    assert linear.bias is not None
    expected = hidden.numpy() @ dequantised(linear).T + linear.bias.detach().numpy()
    np.testing.assert_allclose(small(hidden).detach().numpy(), expected, atol=1e-5)
    assert np.abs(dequantised(linear) - linear.weight.detach().numpy()).max() <= 0.5 / 127 * linear.weight.abs().max()


def test_gradients_are_those_of_the_rounded_weight() -> None:
    linear, small = maps()
    rounded = nn.Linear(48, 20)
    rounded.weight.data = torch.from_numpy(dequantised(linear)).float()
    assert linear.bias is not None
    rounded.bias.data = linear.bias.data.clone()
    hidden = torch.randn(5, 48)
    found = []
    for module in (small, rounded):
        given = hidden.clone().requires_grad_()
        module(given).square().sum().backward()
        assert module.bias.grad is not None
        assert given.grad is not None
        found.append((given.grad, module.bias.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_some_rows() -> None:
    linear, small = maps()
    hidden = torch.randn(5, 48)
    rows = slice(4, 11)
    torch.testing.assert_close(linear_rows(small, hidden, rows), small(hidden)[:, rows])
    torch.testing.assert_close(linear_rows(linear, hidden, rows), linear(hidden)[:, rows])


def kept_bytes(module: nn.Module, hidden: Tensor) -> int:
    kept: list[Tensor] = []
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: (kept.append(tensor), tensor)[1], lambda t: t):
        module(hidden.requires_grad_()).sum()
    storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in kept}
    return sum(size for place, size in storages.items() if place not in own)


@pytest.mark.parametrize("autocast", [False, True])
def test_no_copy_of_the_weight_is_stored(autocast: bool) -> None:
    _, small = maps()
    small.bias = None
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert kept_bytes(small, torch.randn(2, 48)) == 0
        if autocast:  # the check can fail: an ordinary frozen weight is cast, and the cast one kept
            assert kept_bytes(maps()[0], torch.randn(2, 48)) >= 48 * 20 * 2


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def hidden_of(recipe: Path, *overrides: str) -> tuple[Any, Tensor]:
    loaded = load_recipe(str(recipe), overrides=overrides)
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    built.model.eval()
    batch = built.task.split("validation").batch(range(16), torch.Generator())
    return built, built.model(batch.inputs, batch.lengths)


LIKES = ["gpt2", "vit", "bert", "t5_encoder", "longformer"]


@pytest.mark.parametrize("precision", ["int8", "int8_storage"])
@pytest.mark.parametrize("like", LIKES)
def test_a_model_keeps_its_parameters_and_returns_nearly_the_same(recipe: Path, like: str, precision: str) -> None:
    (plain, expected), (small, found) = (
        hidden_of(recipe, f"backbone.like={like}", f"precision={kind}") for kind in ("float32", precision)
    )
    shapes = [{name: p.shape for name, p in built.model.named_parameters()} for built in (plain, small)]
    assert shapes[0] == shapes[1]
    eight = [p for p in small.model.parameters() if p.dtype == torch.int8]
    assert eight
    assert not any(p.requires_grad for p in eight)
    assert torch.corrcoef(torch.stack((expected.flatten(), found.flatten())))[0, 1] > 0.99


INPUTS = np.random.default_rng(0).integers(0, 2, (5, 6, 1)).astype(np.float32)


def run_of(recipe: Path | str, folder: Path, *overrides: str) -> dict[str, Any]:
    return run(RunRequest(load_recipe(str(recipe), overrides=overrides), folder))


@pytest.mark.parametrize("precision", ["int8", "int8_storage"])
def test_a_run_in_eight_bits(recipe: Path, tmp_path: Path, precision: str) -> None:
    summary = run_of(recipe, tmp_path / "run", f"precision={precision}")
    used = precision if precision == "int8_storage" else choose_precision("int8", torch.device("cpu"))
    assert (summary["status"], summary["precision"]) == ("finished", used)
    again = run_of(tmp_path / "run" / "recipe.yaml", tmp_path / "again")
    assert again["metrics"] == summary["metrics"]


def test_steps_in_int8_by_micro_batches_and_with_blocks_run_again(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numerics_precision, "why_not_int8", lambda device: "")
    sets = ("precision=int8", "backbone.like=gpt2", "train.max_steps=4", "train.validate_every=2")
    whole, parts, recomputed = (
        run_of(recipe, tmp_path / str(number), *sets, *further)["metrics"]["test"]["test"]["loss"]
        for number, further in enumerate(([], ["train.accumulate=2"], ["train.activation_checkpointing=true"]))
    )
    assert whole == recomputed
    assert whole == pytest.approx(parts, rel=1e-4)


def test_without_instructions_a_run_is_that_of_auto_with_one_note(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numerics_precision, "cpu_multiplies_int8", lambda: False)
    expected, found = (
        run_of(recipe, tmp_path / kind, f"precision={kind}", "train.max_steps=4", "train.validate_every=2")
        for kind in ("auto", "int8")
    )
    assert found["metrics"] == expected["metrics"]
    assert found["precision"] == expected["precision"] != "int8"
    (note,) = set(found["notes"]) - set(expected["notes"])
    assert note.startswith(f"precision: {found['precision']} is used instead of int8: this processor has no instruct")
    monkeypatch.undo()  # on a machine that has them, a repeated run is the same
    repeated = run_of(tmp_path / "int8" / "recipe.yaml", tmp_path / "repeated")
    assert repeated["metrics"] == found["metrics"]


def test_a_run_of_another_machine_predicts_without_instructions(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numerics_precision, "why_not_int8", lambda device: "")
    run_of(recipe, tmp_path / "run", "precision=int8", "train.max_steps=4", "train.validate_every=2")
    there = load(tmp_path / "run").logits(INPUTS)
    monkeypatch.undo()
    monkeypatch.setattr(numerics_precision, "cpu_multiplies_int8", lambda: False)
    monkeypatch.setattr(int8, "cpu_multiplies_int8", lambda: False)
    np.testing.assert_array_equal(load(tmp_path / "run").logits(INPUTS), there)


@pytest.mark.parametrize("precision", ["int8", "int8_storage"])
def test_a_backbone_without_such_maps_is_named(recipe: Path, tmp_path: Path, precision: str) -> None:
    overrides = ["backbone={name: random, like: lstm, blocks: 1, width: 32, heads: null}", f"precision={precision}"]
    with pytest.raises(UsageError, match=f"precision: {precision} quantises frozen linear maps, and LstmBackbone has"):
        run(RunRequest(load_recipe(str(recipe), overrides=overrides), tmp_path / "run"))


def test_without_a_frozen_map_it_is_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has none"):
        run(
            RunRequest(
                load_recipe(str(recipe), overrides=["precision=int8_storage", "freezing.name=full"]), tmp_path / "run"
            )
        )


LANGUAGE = "backbone={name: gpt2, weights: 'builtin:gpt2_nano', blocks: {keep: 1}}"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "int8"),
        (["precision=auto_float"], "bfloat16"),
        (["freezing.name=full"], "bfloat16"),  # no map is frozen
        (["backbone.init=random"], "bfloat16"),  # shown for the weights, not for the sizes
        (["backbone.weights=builtin:bit_memory_nano"], "bfloat16"),
    ],
)
def test_auto_takes_int8_only_as_it_was_shown(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], expected: str
) -> None:
    monkeypatch.setattr(numerics_precision, "EQUIVALENT_IN_INT8", {"builtin:gpt2_nano": "int8"})
    monkeypatch.setattr(numerics_precision, "why_not_int8", lambda device: "")
    monkeypatch.setattr(numerics_precision, "cpu_multiplies_bfloat16", lambda: True)
    loaded = load_recipe(str(recipe), overrides=[LANGUAGE, *overrides])
    assert build(loaded.recipe, loaded.registry, torch.device("cpu")).precision == expected
    assert estimate(loaded).precision == expected


def test_products_and_storage_are_different_frozen_parts() -> None:
    linear = maps()[0]
    stored, multiplied = (FreezeProof(nn.Sequential(EightBitLinear(linear, products=one))) for one in (False, True))
    assert not multiplied.matches(stored.digest)
    assert multiplied.advice(stored.digest) == (
        "The run stored weights in 8 bits and multiplied them in bfloat16, which precision: int8 meant before; "
        "set precision and pinned.precision to int8_storage in its recipe.yaml"
    )
    assert multiplied.advice("of other weights") == "Use the weights that the run used"


def test_a_changed_scale_is_detected() -> None:
    model = nn.Sequential(maps()[1], nn.Linear(20, 2))
    proof = FreezeProof(model)
    proof.check_unchanged()
    model[0].scale[4] *= 1.001
    with pytest.raises(FreezingError, match="a frozen parameter changed"):
        proof.check_unchanged()
