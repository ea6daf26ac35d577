"""Frozen weights over several processes: less in each, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.backbones.options import Gpt2Sizes, RandomOptions
from fptkit.backbones.plain.model import AttentionLayer, NoBackbone
from fptkit.backbones.random import build_random
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.options import LinearOptions
from fptkit.engine.batches import Batch, micro_batches, most_micro_batches, part_of_process
from fptkit.engine.team import sharding
from fptkit.engine.team.processes import ALONE
from fptkit.engine.team.sharding import IdlePass, check_blocks_run, meeting_place, shard_frozen
from fptkit.errors import FreezingError, UsageError
from fptkit.freezing import FreezeProof, apply_policy
from fptkit.freezing.records import fptkit_freezing_policies
from fptkit.interfaces import Backbone, Classes, Task, Vectors
from fptkit.model import CrossModalModel, Head

CPU = torch.device("cpu")
SIZES = Gpt2Sizes(blocks=3, width=16, heads=2, positions=12)
POLICIES = {policy.name: policy for policy in fptkit_freezing_policies()}


@pytest.fixture(scope="module")
def alone_in_a_group() -> Iterator[None]:
    """A single process that takes itself for one of several."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Three(Task):
    input, output, max_tokens = Vectors(4), Classes(3), 6


def model_of(backbone: Backbone | None = None, policy: str = "fpt", *, norm: bool = False) -> CrossModalModel:
    """A tiny model with a policy applied, on request with a batch norm in its encoder."""
    torch.manual_seed(0)
    backbone = random_gpt2(SIZES, positions=6, seed=0, dropout=0.5) if backbone is None else backbone
    encoder: nn.Module = LinearEncoder(LinearOptions(), input=Vectors(4), width=backbone.width)
    if norm:
        encoder = nn.Sequential(encoder, Normed(backbone.width))
    model = CrossModalModel(encoder, backbone, Head(Classes(3), backbone.width, readout="last"))
    apply_policy(model, POLICIES[policy])
    return model


class Normed(nn.BatchNorm1d):
    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden.transpose(1, 2)).transpose(1, 2)


def batch_of(count: int) -> Batch:
    generator = torch.Generator().manual_seed(5)
    return Batch(torch.rand(count, 6, 4, generator=generator), torch.arange(count) % 3)


def shard(model: CrossModalModel) -> sharding.Sharded:
    return shard_frozen(model, "trial", meeting_place(CPU, ALONE), ALONE)


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_how_many_passes_the_busiest_process_makes(count: int, accumulate: int) -> None:
    for size in range(1, 12):
        shares = [part_of_process(batch_of(size), rank, count) for rank in range(count)]
        passes = [0 if share is None else len(micro_batches(share, accumulate)) for share in shares]
        assert most_micro_batches(size, count, accumulate) == max(passes), size


def test_the_blocks_matrices_are_sharded(alone_in_a_group: None) -> None:
    sharded = shard(model_of())
    assert list(sharded.blocks) == ["h.0", "h.1", "h.2"]
    assert sharded.held == sharded.whole == 3 * 12 * 16 * 16 * 4, "of one process all is its own"


@pytest.mark.parametrize("like", ["gpt2", "vit", "lstm", "bert", "t5_encoder", "longformer"])
def test_what_passes_forward_and_backward_is_the_same(alone_in_a_group: None, like: str) -> None:
    options = RandomOptions(like=like, blocks=2, width=32, heads=None if like == "lstm" else 2, dropout=0.5)
    whole, model = (model_of(build_random(options, positions=6, seed=0)) for _ in range(2))
    shard(model)
    for one in (whole, model):
        torch.manual_seed(3)  # dropout
        Three().loss(one(batch_of(4).inputs), batch_of(4)).backward()
    theirs = dict(model.named_parameters())
    for name, parameter in whole.named_parameters():
        other = theirs[name]
        in_block = whole.parameter_roles()[name].block is not None
        matrix = parameter.ndim == 2 and not parameter.requires_grad and in_block
        assert hasattr(other, "to_local") == matrix, "frozen matrices of blocks, and nothing else"
        if parameter.grad is None:
            assert other.grad is None
        else:
            torch.testing.assert_close(other.grad, parameter.grad, rtol=0, atol=1e-6)


def test_the_digest_is_that_of_whole_weights_and_sees_one_changed_number(alone_in_a_group: None) -> None:
    model = model_of()
    proof = FreezeProof(model)
    shard(model)
    assert FreezeProof(model).digest == proof.digest == FreezeProof(model_of()).digest
    proof.check_unchanged()
    with torch.no_grad():
        model.get_parameter("backbone.h.1.mlp.c_fc.weight").to_local()[3, 5] += 1e-6
    with pytest.raises(FreezingError, match="changed during training"):
        proof.check_unchanged()


def test_an_idle_pass_leaves_nothing_behind(alone_in_a_group: None) -> None:
    model = model_of(norm=True)
    shard(model)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if not hasattr(tensor, "to_local")}
    chance = torch.get_rng_state()
    ran: list[Any] = []
    model.backbone.h[0].register_full_backward_hook(lambda *_: ran.append(0))
    idle = IdlePass(model, Three(), batch_of(5))
    idle.forward()
    assert not ran
    idle.forward_and_backward()
    assert ran, "backward has to go through the blocks, where the others wait"
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.get_rng_state().equal(chance)
    after = model.state_dict()
    assert all(after[name].equal(tensor) for name, tensor in before.items())


class Beside(Backbone):
    """Uses the weights of its block, but never calls it."""

    def __init__(self, *, skip: bool = False) -> None:
        super().__init__()
        self.width, self.blocks, self.skip = 16, 1, skip
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(16, 16))])
        self.norm = nn.LayerNorm(16)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        linear: Any = self.layers[0][0]  # type: ignore[index]
        hidden: Tensor = tokens if self.skip else nn.functional.linear(tokens, linear.weight, linear.bias)
        normed: Tensor = self.norm(hidden)
        return normed[:, -1:]

    def parameter_roles(self) -> Any:
        from fptkit.interfaces import ParameterRole

        return {
            name: ParameterRole("norm") if name.startswith("norm") else ParameterRole("feed_forward", 0)
            for name, _ in self.named_parameters()
        }


@pytest.mark.parametrize("skip", [False, True])
def test_a_block_that_is_not_called_is_named(alone_in_a_group: None, skip: bool) -> None:
    model = model_of(Beside(skip=skip), "output_norm")
    sharded = shard(model)
    idle = IdlePass(model, Three(), batch_of(2))
    with pytest.raises(UsageError, match=r"'beside' does not run each block by calling its module \(layers\.0"):
        check_blocks_run(model, "beside", sharded, idle)
    plain = model_of()
    check_blocks_run(plain, "gpt2", shard(plain), IdlePass(plain, Three(), batch_of(2)))


def test_an_error_of_another_kind_stays_what_it_is(alone_in_a_group: None) -> None:
    model = model_of()
    sharded = shard(model)
    model.encoder = nn.Linear(5, 16)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        check_blocks_run(model, "gpt2", sharded, IdlePass(model, Three(), batch_of(2)))


def test_what_cannot_be_sharded_says_so(alone_in_a_group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="backbone 'trial' cannot be sharded: it has no blocks"):
        shard(model_of(NoBackbone(16, 6), "output_norm"))
    with pytest.raises(UsageError, match="backbone 'trial' cannot be sharded: its blocks are not modules"):
        shard(model_of(AttentionLayer(16, 6, heads=2)))
    with pytest.raises(UsageError, match="no block of this model has a frozen matrix"):
        shard(model_of(policy="full"))
    model = model_of()
    model.backbone.layerdrop = 0.1
    with pytest.raises(UsageError, match="leaves blocks out at random"):
        shard(model)
    monkeypatch.setattr(sharding, "can_shard", lambda: False)
    with pytest.raises(UsageError, match=r"needs torch 2\.9 or newer"):
        meeting_place(CPU, ALONE)
