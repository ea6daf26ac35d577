"""Floating-point operations of a step: against formulas worked out by hand, and between ways of computing the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.backbones.lstm.build import draw_lstm
from fptkit.backbones.lstm.options import LstmSizes
from fptkit.backbones.lstm.recurrence import Loop
from fptkit.backbones.options import Gpt2Sizes
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.options import LinearOptions
from fptkit.engine.batches import TrainingBatches, micro_batches
from fptkit.engine.build import Built, build
from fptkit.freezing import count_parameters, gradient_pass
from fptkit.interfaces import Backbone, Batch, Classes, Task, Vectors, keep_tokens
from fptkit.model import CrossModalModel, Head
from fptkit.numerics import compiler
from fptkit.recipe.load import load_recipe

B, T, F, D, K, BLOCKS = 5, 12, 7, 32, 3, 3
ENCODER, HEAD = 2 * B * T * F * D, 2 * B * T * D * K
"""Of one product each: encoder for all tokens; head for all tokens."""
MAPS, ATTENTION = 2 * 12 * B * T * D * D, 2 * 2 * B * T * T * D
"""Of a block's forward: 12 maps from D to D of each token; scores, and the sum of the values they weigh."""


class AllTokens(Task):
    """An answer at each token, so that no work is left out."""

    input, output, max_tokens = Vectors(F), Classes(K, tokens=T), T


class Nothing(Backbone):
    """Returns the tokens unchanged."""

    width = D

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        return keep_tokens(tokens, keep)


def batch_of(output: Classes = AllTokens.output) -> Batch:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, K, output.target_shape(B), generator=generator)
    return Batch(torch.randn(B, T, F, generator=generator), targets)


def model_with(backbone: Backbone, output: Classes = AllTokens.output) -> CrossModalModel:
    encoder = LinearEncoder(LinearOptions(), input=Vectors(F), width=D)
    return CrossModalModel(encoder, backbone, Head(output, D, readout="last_k" if output.tokens > 1 else "last"))


def gpt2(*, attention_dropout: float = 0.0) -> Backbone:
    sizes = Gpt2Sizes(blocks=BLOCKS, width=D, heads=2, positions=T)
    return random_gpt2(sizes, positions=T, seed=0, attention_dropout=attention_dropout)


def freeze_maps(model: CrossModalModel) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad = ".attn." not in name and ".mlp." not in name


def flops_of(model: CrossModalModel, task: Task | None = None) -> int:
    return gradient_pass(model, task or AllTokens(), batch_of()).flops


def test_a_linear_model_costs_its_products() -> None:
    """Forward and the weights' gradients; of the head, the gradient of what it reads as well."""
    assert flops_of(model_with(Nothing())) == 2 * ENCODER + 3 * HEAD


def test_only_the_tokens_that_are_read_are_counted() -> None:
    class OneAnswer(Task):
        input, output, max_tokens = Vectors(F), Classes(K), T

    model = model_with(Nothing(), OneAnswer.output)
    counted = gradient_pass(model, OneAnswer(), batch_of(OneAnswer.output)).flops
    assert counted == 2 * ENCODER + 3 * HEAD // T

    read_all = flops_of(model_with(gpt2()))
    read_one = gradient_pass(model_with(gpt2(), OneAnswer.output), OneAnswer(), batch_of(OneAnswer.output)).flops
    # Of the last block, feed-forward and output map (9 of 12 maps) serve one token of each example.
    assert 3 * MAPS * 9 / 12 * 0.8 < read_all - read_one < 3 * (MAPS + ATTENTION)


def test_a_gpt2_that_trains_completely() -> None:
    assert flops_of(model_with(gpt2())) == 2 * ENCODER + 3 * BLOCKS * (MAPS + ATTENTION) + 3 * HEAD


def test_frozen_maps_have_no_gradient_of_their_own() -> None:
    model = model_with(gpt2())
    freeze_maps(model)
    assert flops_of(model) == 2 * ENCODER + BLOCKS * (2 * MAPS + 3 * ATTENTION) + 3 * HEAD


def test_explicit_attention_costs_as_much_as_fused_attention() -> None:
    """In bfloat16 on CPUs attention is two products and a softmax; in float32 it is torch's fused kernel."""
    model = model_with(gpt2())
    freeze_maps(model)
    fused = flops_of(model)
    model.mixed = True
    assert flops_of(model) == fused


def test_counting_does_not_change_the_model() -> None:
    model = model_with(gpt2()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    counts = count_parameters(model, AllTokens(), batch_of())
    assert counts.flops == flops_of(model)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.backbone._forward_pre_hooks


def test_a_pass_that_fails_leaves_no_hook() -> None:
    class Broken(AllTokens):
        def loss(self, predictions: Tensor, batch: Batch) -> Tensor:
            raise RuntimeError("no loss")

    model = model_with(gpt2())
    with pytest.raises(RuntimeError, match="no loss"):
        flops_of(model, Broken())
    assert not model.backbone._forward_pre_hooks


LOOPS: tuple[Loop, ...] = ("compiled", "torch")


def lstm_flops(loop: Loop, *, frozen: bool = False, encoder: bool = True, mixed: bool = False) -> int:
    backbone = draw_lstm(LstmSizes(layers=2, width=D), 0)
    backbone.loop = loop
    model = model_with(backbone)
    for name, parameter in model.named_parameters():
        if name.startswith("backbone."):
            parameter.requires_grad = not frozen
        elif name.startswith("encoder."):
            parameter.requires_grad = encoder
    model.mixed = mixed
    return flops_of(model)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("encoder", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_compiled_recurrence_is_counted(frozen: bool, encoder: bool, mixed: bool) -> None:
    """Torch counts the products of its own loop; those of the compiled loop are added by a formula."""
    if not compiler.commands("C++"):
        pytest.skip("no C++ compiler here")
    compiled, written_out = (lstm_flops(loop, frozen=frozen, encoder=encoder, mixed=mixed) for loop in LOOPS)
    assert compiled == written_out


@pytest.mark.parametrize("loop", LOOPS)
def test_an_lstm_by_hand(loop: Loop) -> None:
    if loop == "compiled" and not compiler.commands("C++"):
        pytest.skip("no C++ compiler here")
    product = 2 * B * T * D * 4 * D
    # Frozen, below a trained encoder: input map and recurrent map, forward and backward, in two layers.
    assert lstm_flops(loop, frozen=True) == 2 * ENCODER + 2 * 4 * product + 3 * HEAD
    # Nothing below the head trains: forward only, and no gradient of what the head reads.
    assert lstm_flops(loop, frozen=True, encoder=False) == ENCODER + 2 * 2 * product + 2 * HEAD


RAGGED = """
task:
  name: remote_homology
  source: [simulated]
  simulated: {folds: 2, length: [10, 60]}
backbone: {name: random, blocks: 2, width: 32, heads: 2, size: nano}
train: {batch_size: 8}
threads: 1
"""


def per_step(built: Built, batches: TrainingBatches, accumulate: int = 1) -> float:
    batch = batches.batch(0)
    first = micro_batches(batch, accumulate)[0]
    return gradient_pass(built.model, built.task, first).flops * len(batch) / len(first) * batches.step_cost()


@pytest.mark.slow
@pytest.mark.parametrize(("batch_tokens", "accumulate"), [(None, 1), (None, 4), (300, 1)])
def test_steps_of_different_lengths_cost_their_mean(tmp_path: Path, batch_tokens: int | None, accumulate: int) -> None:
    path = tmp_path / "ragged.yaml"
    path.write_text(RAGGED)
    loaded = load_recipe(str(path))
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    split = built.task.split("train")
    batches = TrainingBatches(built.task, split, 8, seed=0, batch_tokens=batch_tokens)
    order = batches._order_of(0)
    each = [gradient_pass(built.model, built.task, batches.batch(step)).flops for step in range(len(order))]
    assert max(each) > 1.5 * min(each)
    # Attention grows with the square of a length and the head not at all; what is scaled, with the length itself.
    assert per_step(built, batches, accumulate) == pytest.approx(sum(each) / len(each), rel=0.1)


class Numbered:
    """Examples of one length."""

    token_counts = None

    def __init__(self, size: int | None) -> None:
        self.size = size

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        return Batch(torch.zeros(len(indices), T, F), torch.zeros(len(indices), T, dtype=torch.int64))


def test_a_short_batch_counts_for_what_it_is() -> None:
    """Of 10 examples in batches of 4, steps hold 4, 4 and 2; 3 examples never fill a batch."""
    batches = TrainingBatches(AllTokens(), Numbered(10), 4, seed=0)
    assert batches.step_cost() * len(batches.batch(0)) == pytest.approx(10 / 3)
    small = TrainingBatches(AllTokens(), Numbered(3), 4, seed=0)
    assert (small.step_cost(), len(small.batch(0))) == (1.0, 3)
    assert TrainingBatches(AllTokens(), Numbered(None), 4, seed=0).step_cost() == 1.0
