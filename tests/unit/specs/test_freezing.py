"""Rules by kind of parameter, by the last blocks and by options; policies that change roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import nn

from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.backbones.options import Gpt2Sizes
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.options import LinearOptions
from fptkit.errors import FreezingError, PluginError
from fptkit.freezing import FreezeProof, apply_policy
from fptkit.freezing.options import FreezingOptions, TopKOptions
from fptkit.freezing.policy import kind_of
from fptkit.freezing.records import fptkit_freezing_policies
from fptkit.interfaces import Backbone, Classes, ParameterRole, Vectors
from fptkit.model import CrossModalModel, Head
from fptkit.specs import FreezingPolicySpec, FreezingRule, FromOption

POLICIES = {policy.name: policy for policy in fptkit_freezing_policies()}


@pytest.fixture
def tiny() -> CrossModalModel:
    backbone = random_gpt2(Gpt2Sizes(blocks=3, width=8, heads=2, positions=6), positions=6, seed=0)
    encoder = LinearEncoder(LinearOptions(), input=Vectors(3), width=8)
    return CrossModalModel(encoder, backbone, Head(Classes(2), 8, readout="last"))


class SlowTop(FreezingOptions):
    """Options that rules refer to."""

    layers: int = Field(default=2, description="how many blocks train")
    factor: float = Field(default=0.1, description="factor on their learning rate")
    norms: bool = Field(default=False, description="whether norms train")
    which: str = Field(default="0:1", description="blocks whose norms train")


SLOW_TOP = FreezingPolicySpec(
    name="slow_top",
    summary="output, and the last blocks more slowly",
    rules=(
        FreezingRule(role="output"),
        FreezingRule(role="norm", blocks=FromOption("which"), when="norms"),
        FreezingRule(role="attention", last=FromOption("layers"), learning_rate_multiplier=FromOption("factor")),
    ),
    options=SlowTop,
)


def trained(model: CrossModalModel, policy: FreezingPolicySpec, options: FreezingOptions | None) -> dict[str, float]:
    """Names in the backbone with their multipliers, by the policy; requires_grad must say the same."""
    groups = apply_policy(model, policy, options)
    found = {name: group.learning_rate_multiplier for group in groups for name in group.parameters}
    assert found.keys() == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name.removeprefix("backbone."): rate for name, rate in found.items() if name.startswith("backbone.")}


def test_bitfit_trains_what_its_name_says(tiny: CrossModalModel) -> None:
    found = trained(tiny, POLICIES["bitfit"], None)
    wanted = {name for name, parameter in tiny.backbone.named_parameters() if name.endswith("bias")}
    assert found.keys() == wanted
    assert all(tiny.backbone.get_parameter(name).ndim == 1 for name in wanted)


@pytest.mark.parametrize("k", [1, 3])
def test_top_k_trains_the_last_blocks(k: int, tiny: CrossModalModel) -> None:
    found = trained(tiny, POLICIES["top_k"], TopKOptions(k=k))
    blocks = range(3 - k, 3)
    wanted = {name for name, _ in tiny.backbone.named_parameters() if name.startswith(tuple(f"h.{i}." for i in blocks))}
    assert found.keys() == wanted


def test_more_blocks_than_there_are(tiny: CrossModalModel) -> None:
    with pytest.raises(FreezingError, match="in blocks last 4: no block -4 in this model, which has 3"):
        apply_policy(tiny, POLICIES["top_k"], TopKOptions(k=4))


@pytest.mark.parametrize(
    ("kind", "wanted"), [("scale", {"h.0.ln_1.weight"}), ("bias", {"h.0.ln_1.bias"}), (None, {"weight", "bias"})]
)
def test_kinds_of_norms(kind: str | None, wanted: set[str], tiny: CrossModalModel) -> None:
    options = FreezingOptions.model_validate({"train": [{"role": "norm", "kind": kind, "blocks": [0]}]})
    found = trained(tiny, POLICIES["custom"], options)
    assert {name for name in found if "ln_1" in name} == (wanted if kind else {f"h.0.ln_1.{one}" for one in wanted})


def test_weights_are_matrices_and_tables(tiny: CrossModalModel) -> None:
    options = FreezingOptions.model_validate({"train": [{"role": "all", "kind": "weight"}]})
    found = trained(tiny, POLICIES["custom"], options)
    assert found.keys() == {name for name, one in tiny.backbone.named_parameters() if one.ndim > 1}


def test_the_kind_of_each_parameter() -> None:
    lstm = nn.LSTM(3, 4)
    attention = nn.MultiheadAttention(4, 2)
    names = {name: kind_of(name, one) for module in (lstm, attention) for name, one in module.named_parameters()}
    assert {name for name, kind in names.items() if kind == "bias"} == {
        "bias_ih_l0", "bias_hh_l0", "in_proj_bias", "out_proj.bias"
    }  # fmt: skip
    assert kind_of("norm.weight", nn.Parameter(torch.ones(4))) == "scale"
    assert kind_of("gain", nn.Parameter(torch.ones(()))) == "scale"
    assert kind_of("unbiased", nn.Parameter(torch.ones(4, 4))) == "weight"


def test_a_declared_kind_counts(tiny: CrossModalModel) -> None:
    roles = tiny.backbone.parameter_roles()
    declared = {name: replace(role, kind="weight" if "ln_1.bias" in name else None) for name, role in roles.items()}
    tiny.backbone.parameter_roles = lambda: declared  # type: ignore[method-assign]
    assert not any("ln_1" in name for name in trained(tiny, POLICIES["bitfit"], None))


def test_a_model_without_such_parameters(tiny: CrossModalModel) -> None:
    policy = FreezingPolicySpec(name="x", summary="x", rules=(FreezingRule(role="position", kind="bias"),))
    with pytest.raises(FreezingError, match="rule for role 'position', kind 'bias', touches no parameter"):
        apply_policy(tiny, policy)


def test_options_inside_rules(tiny: CrossModalModel) -> None:
    found = trained(tiny, SLOW_TOP, SlowTop(layers=1, factor=0.5))
    assert {name.split(".")[1] for name in found} == {"2"}
    assert set(found.values()) == {0.5}
    found = trained(tiny, SLOW_TOP, SlowTop(norms=True, which="1:"))
    assert {name.split(".")[1] for name in found if "ln_" in name} == {"1", "2"}
    assert {rate for name, rate in found.items() if "attn" in name} == {0.1}
    assert {rate for name, rate in found.items() if "ln_" in name} == {1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SlowTop(layers=0), "last is 0, expected a number of blocks, at least 1"),
        (SlowTop(factor=-1.0), "the learning-rate multiplier is -1.0, expected a finite number above 0"),
        (SlowTop(norms=True, which="first"), "blocks is 'first', expected a tuple of integers, or a slice"),
        (SlowTop(freeze=("norm",)), "policy 'slow_top' does not train 'norm' here"),
    ],
)
def test_values_that_do_not_fit(options: SlowTop, message: str, tiny: CrossModalModel) -> None:
    with pytest.raises(FreezingError, match=r"^freezing: ") as caught:
        apply_policy(tiny, SLOW_TOP, options)
    assert message in str(caught.value)


def test_nothing_applies(tiny: CrossModalModel) -> None:
    policy = replace(SLOW_TOP, rules=(FreezingRule(role="norm", when="norms"),))
    with pytest.raises(FreezingError, match="nothing would train: no rule of policy 'slow_top' applies"):
        apply_policy(tiny, policy, SlowTop())


@pytest.mark.parametrize("options", [None, SlowTop])
def test_an_option_that_does_not_exist(options: Any) -> None:
    policy = FreezingPolicySpec(
        name="x", summary="x", rules=(FreezingRule(role="norm", last=FromOption("depth")),), options=options
    )
    with pytest.raises(PluginError, match="freezing policy 'x': a rule refers to the option 'depth'; its options are"):
        policy.options_model()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"role": "norm", "kind": "gain"}, "unknown kind 'gain'; kinds are weight, bias, scale"),
        ({"role": "norm", "last": 0}, "last is 0, expected"),
        ({"role": "norm", "last": True}, "last is True, expected"),
        ({"role": "norm", "last": 1, "blocks": (0,)}, "both blocks and last"),
        ({"role": "output", "last": 1}, "outside the blocks"),
        ({"role": "norm", "when": True}, "when is True, expected the name of an option"),
    ],
)
def test_wrong_rules(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match="freezing rule for") as caught:
        FreezingRule(**fields)
    assert message in str(caught.value)


# Roles


def projections_apart(options: FreezingOptions, *, roles: Mapping[str, ParameterRole]) -> dict[str, ParameterRole]:
    return {
        name: replace(role, role="feed_forward") if ".attn.c_proj." in name else role for name, role in roles.items()
    }


def test_a_policy_changes_roles(tiny: CrossModalModel) -> None:
    policy = FreezingPolicySpec(
        name="apart", summary="x", rules=(FreezingRule(role="attention"),), roles=projections_apart
    )
    declared = tiny.parameter_roles()
    found = trained(tiny, policy, None)
    assert found.keys() == {f"h.{i}.attn.c_attn.{part}" for i in range(3) for part in ("weight", "bias")}
    assert tiny.parameter_roles()["backbone.h.0.attn.c_proj.weight"].role == "feed_forward"
    assert tiny.backbone.parameter_roles()["h.0.attn.c_proj.weight"].role == "attention"
    FreezeProof(tiny).check_unchanged()
    apply_policy(tiny, POLICIES["fpt"])
    assert tiny.parameter_roles() == declared, "another policy starts from what the backbone declares"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda options, *, roles: None, "policy 'x': roles returned None, expected a mapping from names to roles"),
        (lambda options, *, roles: dict(list(roles.items())[1:]), "roles returned none for wpe.weight; return all"),
        (lambda options, *, roles: dict.fromkeys(roles, "norm"), "has 'norm', expected a fptkit.ParameterRole"),
        (lambda options, *, roles: dict.fromkeys(roles, ParameterRole("nrm")), "unknown role 'nrm'. Did you mean"),
        (lambda options, *, roles: dict.fromkeys(roles, ParameterRole("norm", 9)), "has block 9, but there are 3"),
    ],
)
def test_roles_that_are_none(change: Any, message: str, tiny: CrossModalModel) -> None:
    policy = FreezingPolicySpec(name="x", summary="x", rules=(FreezingRule(role="output"),), roles=change)
    with pytest.raises(PluginError) as caught:
        apply_policy(tiny, policy)
    assert message in str(caught.value)


def test_what_a_policy_adds_gets_its_role_there(tiny: CrossModalModel) -> None:
    def add(options: FreezingOptions, *, backbone: Backbone, seed: int) -> Backbone:
        backbone.gain = nn.Parameter(torch.ones(backbone.width))
        return backbone

    def with_gain(options: FreezingOptions, *, roles: Mapping[str, ParameterRole]) -> dict[str, ParameterRole]:
        return {**roles, "gain": ParameterRole("adapter")}

    policy = FreezingPolicySpec(
        name="gain", summary="x", rules=(FreezingRule(role="adapter"),), prepare=add, roles=with_gain
    )
    assert trained(tiny, policy, None) == {"gain": 1.0}
    with pytest.raises(FreezingError, match="the rule for role 'adapter' touches no parameter"):
        apply_policy(tiny, replace(policy, roles=None))


def test_roles_of_the_wrong_form() -> None:
    with pytest.raises(PluginError, match="roles 3 cannot be called"):
        FreezingPolicySpec(name="x", summary="x", rules=(FreezingRule(role="output"),), roles=3)  # type: ignore[arg-type]
