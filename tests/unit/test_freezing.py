"""Policies train what their table says, the counts are the paper's, and the proof notices a change."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.backbones.options import SIZES, Gpt2Sizes
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.options import LinearOptions
from fptkit.errors import FreezingError, PluginError
from fptkit.freezing import FreezeProof, apply_policy, count_as_paper, count_parameters
from fptkit.freezing.proof import digest_tensors
from fptkit.freezing.records import fptkit_freezing_policies
from fptkit.interfaces import Batch, Classes, Task, Vectors
from fptkit.model import CrossModalModel, Head
from fptkit.specs import FreezingPolicySpec, FreezingRule

POLICIES = {policy.name: policy for policy in fptkit_freezing_policies()}
TINY = Gpt2Sizes(blocks=3, width=16, heads=2, positions=12)


def cross_modal(sizes: Gpt2Sizes = TINY, tokens: int = 6, features: int = 4, classes: int = 3) -> CrossModalModel:
    encoder = LinearEncoder(LinearOptions(), input=Vectors(features), width=sizes.width)
    head = Head(Classes(classes), sizes.width, readout="last")
    return CrossModalModel(encoder, random_gpt2(sizes, positions=tokens, seed=0), head)


def policy(*rules: FreezingRule) -> FreezingPolicySpec:
    return FreezingPolicySpec(name="trial", summary="for this test", rules=rules)


def trained(model: CrossModalModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.fixture(scope="module")
def base() -> CrossModalModel:
    """GPT-2 base on 64 tokens of 16 numbers with 10 classes, as in the paper's count."""
    model = cross_modal(SIZES["base"], tokens=64, features=16, classes=10)
    apply_policy(model, POLICIES["fpt"])
    return model


def test_counted_as_the_paper_counts(base: CrossModalModel) -> None:
    """Lu et al. 2021: 7,680 output + 13,056 input + 36,864 layer norm + 49,152 position."""
    assert count_as_paper(base) == 7_680 + 13_056 + 36_864 + 49_152 == 106_752


def test_counted_in_truth(base: CrossModalModel) -> None:
    """The paper leaves out 10 output biases and the final norm."""
    count = sum(parameter.numel() for parameter in base.parameters() if parameter.requires_grad)
    assert count == 106_752 + 10 + 2 * 768


@pytest.mark.slow
def test_every_trained_number_of_fpt_is_reached(base: CrossModalModel) -> None:
    class Ten(Task):
        input, output, max_tokens = Vectors(16), Classes(10), 64

    batch = Batch(torch.randn(4, 64, 16), torch.tensor([0, 1, 2, 3]))
    counts = count_parameters(base, Ten(), batch)
    assert counts.trained == counts.reached == 108_298
    assert counts.total == 85_056_000 + 64 * 768 + 13_056 + 7_690  # 12 blocks with final norm, positions, input, output
    assert all(parameter.grad is None for parameter in base.parameters())


def test_blocks_and_multipliers() -> None:
    model = cross_modal()
    groups = apply_policy(
        model,
        policy(
            FreezingRule(role="output"),
            FreezingRule(role="attention", blocks=(-1,), learning_rate_multiplier=0.1),
        ),
    )
    assert [group.learning_rate_multiplier for group in groups] == [0.1, 1.0]
    assert set(groups[0].parameters) == {name for name, _ in model.named_parameters() if "h.2.attn" in name}
    assert set(groups[1].parameters) == {"head.map.0.weight", "head.map.0.bias"}


def test_the_later_rule_counts() -> None:
    rules = (FreezingRule(role="all"), FreezingRule(role="norm", learning_rate_multiplier=2))
    groups = apply_policy(cross_modal(), policy(*rules))
    assert all(".ln_" in name for name in groups[1].parameters)
    assert not any(".ln_" in name for name in groups[0].parameters)


@pytest.mark.parametrize("rule", [FreezingRule(role="recurrent"), FreezingRule(role="attention", blocks="1:1")])
def test_a_rule_that_touches_nothing_is_an_error_with_the_roles_there_are(rule: FreezingRule) -> None:
    with pytest.raises(FreezingError) as caught:
        apply_policy(cross_modal(), policy(FreezingRule(role="output"), rule))
    for role in (rule.role, "attention (12 tensors)", "norm (14 tensors)", "position (1 tensor)"):
        assert role in str(caught.value)


def test_an_optional_rule_may_touch_nothing() -> None:
    apply_policy(cross_modal(), policy(FreezingRule(role="output"), FreezingRule(role="recurrent", required=False)))


def test_wrong_rules_are_refused() -> None:
    with pytest.raises(PluginError, match="unknown role 'layer_norm'"):
        FreezingRule(role="layer_norm")
    with pytest.raises(PluginError, match="above 0"):
        FreezingRule(role="norm", learning_rate_multiplier=0)
    with pytest.raises(PluginError, match="nothing would train"):
        policy()
    for blocks in ((), "6", "1:2:0", "a:", ("0",), (True,)):
        with pytest.raises(PluginError, match="expected a tuple of integers, or a slice as text"):
            FreezingRule(role="norm", blocks=blocks)  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="is outside the blocks"):
        FreezingRule(role="input", blocks=(0,))


def test_a_free_form_has_no_rules() -> None:
    assert POLICIES["custom"].rules == ()
    with pytest.raises(PluginError, match="free_form is true, but it has rules"):
        FreezingPolicySpec(name="trial", summary="x", rules=(FreezingRule(role="norm"),), free_form=True)


def test_a_backbone_without_all_roles_is_named() -> None:
    model = cross_modal()
    roles = model.backbone.parameter_roles()
    model.backbone.parameter_roles = lambda: {name: role for name, role in roles.items() if name != "ln_f.bias"}
    with pytest.raises(FreezingError, match=r"without a role: backbone\.ln_f\.bias; not a parameter: none"):
        model.parameter_roles()


def test_the_proof_sees_one_changed_bit() -> None:
    model = cross_modal()
    apply_policy(model, POLICIES["fpt"])
    model.backbone.h[1].mlp.c_fc.weight.data = model.backbone.h[1].mlp.c_fc.weight.data.bfloat16()
    proof = FreezeProof(model)
    model.head.map[0].weight.data += 1  # trained: may change
    proof.check_unchanged()
    model.backbone.h[1].mlp.c_fc.weight.data.view(torch.int16)[3, 5] ^= 1
    with pytest.raises(FreezingError, match=r"^a frozen parameter changed during training; the results are not"):
        proof.check_unchanged()


def test_earlier_versions_stored_frozen_vectors_in_bfloat16_too() -> None:
    """Only those of blocks, and only in mixed precision: such a run goes on; any other difference is another model."""

    def proof_of(*, vectors: torch.dtype, norms: torch.dtype = torch.float32, mixed: bool = True) -> FreezeProof:
        model = cross_modal()
        apply_policy(model, POLICIES["frozen_norm"])
        model.mixed = mixed
        for name, parameter in model.named_parameters():
            if re.search(r"\.(attn|mlp)\.", name):
                parameter.data = parameter.data.to(torch.bfloat16 if parameter.ndim >= 2 else vectors)
            elif ".ln_" in name:
                parameter.data = parameter.data.to(norms)
        return FreezeProof(model)

    now, former = proof_of(vectors=torch.float32), proof_of(vectors=torch.bfloat16)
    assert now.digest != former.digest
    assert now.matches(now.digest)
    assert now.matches(former.digest)
    assert not proof_of(vectors=torch.float32, mixed=False).matches(former.digest)
    other = proof_of(vectors=torch.bfloat16, norms=torch.bfloat16)
    assert not now.matches(other.digest)
    assert not now.matches("0" * 64)


def test_a_sharded_tensor_is_digested_whole() -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    shard = SimpleNamespace(dtype=whole.dtype, shape=whole.shape, full_tensor=lambda: whole)
    assert digest_tensors([("a", shard)]) == digest_tensors([("a", whole)])  # type: ignore[list-item]
    assert digest_tensors([("a", whole)]) != digest_tensors([("b", whole)])
    assert digest_tensors([("a", whole)]) != digest_tensors([("a", whole.reshape(3, 2))])


def test_the_proof_checks_the_optimiser() -> None:
    model = cross_modal()
    apply_policy(model, POLICIES["fpt"])
    proof = FreezeProof(model)
    right = [parameter for parameter in model.parameters() if parameter.requires_grad]
    proof.check_optimizer(torch.optim.Adam(right))
    first = next(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    with pytest.raises(FreezingError, match=rf"holds 0 frozen parameters and lacks \['{re.escape(first)}'\]$"):
        proof.check_optimizer(torch.optim.Adam(right[1:]))
    with pytest.raises(FreezingError, match=r"holds 1 frozen parameters and lacks none$"):
        proof.check_optimizer(torch.optim.Adam([*right, model.backbone.h[0].attn.c_attn.weight]))
