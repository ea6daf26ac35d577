"""Activation checkpointing: the same bits, fewer bytes stored, and nothing run twice unnecessarily."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fptkit.engine.run import RunRequest, run
from fptkit.errors import UsageError
from fptkit.lab.benchmarking.estimate import estimate
from fptkit.lab.benchmarking.prepare import Prepared, prepare
from fptkit.lab.studies.address import address_of
from fptkit.recipe.load import LoadedRecipe, load_recipe

TEXT = """
task: {name: bit_memory, bits: 200, bits_per_token: 50, validation_size: 8, test_size: 8}
backbone: {name: random, size: nano, dropout: 0.1}
train: {batch_size: 8, max_steps: 4, validate_every: 2, log_every: 1, patience: null, learning_rate: 1e-2}
precision: float32
threads: 1
"""
ON = "train.activation_checkpointing=true"
GPT2 = "backbone={name: random, blocks: 4, width: 64, heads: 4, size: nano, dropout: 0.1, attention_dropout: 0.1}"
NANO = "backbone={name: gpt2, weights: 'builtin:gpt2_nano', dropout: 0.1}"
VIT = "backbone={name: random, like: vit, blocks: 4, width: 64, heads: 4, size: nano, dropout: 0.1}"
BERT = "backbone={name: random, like: bert, blocks: 4, width: 64, heads: 4, size: nano, dropout: 0.1}"
T5 = "backbone={name: random, like: t5_encoder, blocks: 4, width: 64, heads: 4, size: nano, dropout: 0.1}"


def load(folder: Path, *overrides: str) -> LoadedRecipe:
    path = folder / "recipe.yaml"
    path.write_text(TEXT)
    return load_recipe(str(path), overrides=overrides)


def trained(prepared: Prepared) -> dict[str, torch.Tensor]:
    parameters = prepared.built.model.named_parameters()
    return {name: parameter for name, parameter in parameters if parameter.requires_grad}


def kept_bytes(prepared: Prepared) -> int:
    """Bytes that autograd keeps from forward to backward, each storage once, without the model's own."""
    batch, model = prepared.batches.batch(0), prepared.built.model
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = prepared.built.task.loss(model(batch.inputs, batch.lengths), batch)
    found = sum(tensor.untyped_storage().nbytes() for storage, tensor in kept.items() if storage not in own)
    loss.backward()
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize(
    "overrides",
    [
        (NANO,),
        (GPT2, "train.accumulate=2"),
        (GPT2, "precision=bfloat16", "freezing.name=full"),
        (VIT, "precision=bfloat16"),
        (BERT,),
        (T5,),
    ],
    ids=["gpt2_nano", "gpt2 in parts", "gpt2 bfloat16 full", "vit bfloat16", "bert", "t5"],
)
def test_steps_are_the_same_bit_for_bit_and_less_is_stored(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    plain, again = (prepare(load(tmp_path, *overrides, *further)) for further in ((), (ON,)))
    for number in range(2):
        plain.step(number)
        again.step(number)
    ours, theirs = trained(plain), trained(again)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert kept_bytes(again) < kept_bytes(plain) / 3


def test_other_random_numbers_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above is of runs that dropout influences."""
    import fptkit.numerics.recompute as recompute

    kept = recompute.checkpoint

    def careless(*arguments: object, preserve_rng_state: bool, **named: object) -> object:
        return kept(*arguments, preserve_rng_state=False, **named)

    monkeypatch.setattr(recompute, "checkpoint", careless)
    plain, again = (prepare(load(tmp_path, GPT2, *further)) for further in ((), (ON,)))
    plain.step(0)
    again.step(0)
    ours, theirs = trained(plain), trained(again)
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


class Counter:
    """How often a part of each block has run forward."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        self.calls = [0] * len(blocks)
        for index, block in enumerate(blocks):
            block.ln_1.register_forward_pre_hook(lambda module, given, index=index: self._add(index))

    def _add(self, index: int) -> None:
        self.calls[index] += 1


def test_only_blocks_that_need_a_gradient_run_twice(tmp_path: Path) -> None:
    rules = "freezing={name: custom, train: [{role: output}, {role: norm, blocks: '2:3'}]}"
    prepared = prepare(load(tmp_path, GPT2, ON, rules))
    counter = Counter(prepared.built.model.backbone.h)
    prepared.step(0)
    assert counter.calls == [1, 1, 2, 2]
    prepared.built.model.eval()
    batch = prepared.batches.batch(0)
    prepared.built.model(batch.inputs, batch.lengths).sum().backward()
    assert counter.calls == [2, 2, 3, 3], "in evaluation mode nothing is run twice"


@pytest.mark.parametrize("backbone", ["{name: lstm, size: nano}", "{name: none}", "{name: attention_layer}"])
def test_a_backbone_without_blocks_says_so(tmp_path: Path, backbone: str) -> None:
    name = backbone[1:-1].split(",")[0].split(": ")[1]
    with pytest.raises(
        UsageError, match=f"train.activation_checkpointing: the backbone {name} has no blocks"
    ) as caught:
        run(RunRequest(load(tmp_path, f"backbone={backbone}", ON), tmp_path / "run"))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("backbone", [GPT2, VIT, BERT])
def test_an_estimate_counts_what_is_stored(tmp_path: Path, backbone: str) -> None:
    plain, again = (estimate(load(tmp_path, backbone, *further)) for further in ((), (ON,)))
    assert again.activation_bytes == pytest.approx(kept_bytes(prepare(load(tmp_path, backbone, ON))), rel=0.1)
    assert again.activation_bytes < plain.activation_bytes / 3
    assert again.flops_per_step == plain.flops_per_step


@pytest.mark.slow
def test_a_run_is_the_same_and_may_be_resumed_with_it(tmp_path: Path) -> None:
    whole = run(RunRequest(load(tmp_path, GPT2), tmp_path / "whole"))
    run(RunRequest(load(tmp_path, GPT2), tmp_path / "parts", pause_at=2))
    again = run(RunRequest(load(tmp_path, GPT2, ON), tmp_path / "parts", resume=True))
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert whole["metrics"] == again["metrics"]
    assert whole["flops_per_step"] == again["flops_per_step"]
    assert (whole["activation_checkpointing"], again["activation_checkpointing"]) == (False, True)
    addresses = [address_of(load(tmp_path, GPT2, *further).recipe, "code") for further in ((), (ON,))]
    assert addresses[0] == addresses[1]
