"""Policies that change the backbone before their rows are applied: what they may rely on, and what they must do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.backbones.options import Gpt2Sizes
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.options import LinearOptions
from fptkit.engine.build import build
from fptkit.engine.checkpoint import restore_trained, trained_tensors
from fptkit.errors import FreezingError, PluginError, RecipeError
from fptkit.freezing import FreezeProof, apply_policy
from fptkit.freezing.options import FreezingOptions
from fptkit.interfaces import Backbone, Classes, ParameterRole, Vectors
from fptkit.model import CrossModalModel, Head
from fptkit.options import Options
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins
from fptkit.specs import FreezingPolicySpec, FreezingRule

TINY = Gpt2Sizes(blocks=2, width=8, heads=2, positions=6)
RULES = (FreezingRule(role="output"), FreezingRule(role="adapter"))


class ShiftOptions(FreezingOptions):
    """One further option."""

    size: float = Field(default=1.0, description="how far the drawn shift is from zero")


class Shifted(Backbone):
    """A backbone with a random vector added to its output."""

    def __init__(self, base: Backbone, size: float) -> None:
        super().__init__()
        self.width, self.blocks, self.max_positions, self.causal = base.width, base.blocks, base.max_positions, True
        self.base = base
        self.shift = nn.Parameter(size * torch.randn(base.width))

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        hidden: Tensor = self.base(tokens, lengths, keep)
        return hidden + self.shift

    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        roles = {f"base.{name}": role for name, role in self.base.parameter_roles().items()}
        return {**roles, "shift": ParameterRole("adapter")}


def shift(options: ShiftOptions, *, backbone: Backbone, seed: int) -> Backbone:
    return Shifted(backbone, options.size)


def policy(**fields: Any) -> FreezingPolicySpec:
    return FreezingPolicySpec(name="shifted", summary="x", **{"rules": RULES, "prepare": shift, **fields})


SHIFTED = policy(options=ShiftOptions)


def cross_modal() -> CrossModalModel:
    torch.manual_seed(0)
    encoder = LinearEncoder(LinearOptions(), input=Vectors(3), width=8)
    return CrossModalModel(encoder, random_gpt2(TINY, positions=6, seed=0), Head(Classes(2), 8, readout="last"))


def test_what_is_added_trains_by_its_role() -> None:
    model = cross_modal()
    groups = apply_policy(model, SHIFTED, ShiftOptions(learning_rate_multipliers={"adapter": 2.0}))
    trained = {name: group.learning_rate_multiplier for group in groups for name in group.parameters}
    assert trained.pop("backbone.shift") == 2.0
    assert trained == {name: 1.0 for name, _ in model.named_parameters() if name.startswith("head.")}
    assert "backbone.base.wpe.weight" in dict(model.named_parameters())


def test_options_of_its_own_reach_it() -> None:
    first, second = cross_modal(), cross_modal()
    apply_policy(first, SHIFTED)
    apply_policy(second, SHIFTED, ShiftOptions(size=3.0))
    torch.testing.assert_close(second.get_parameter("backbone.shift"), 3 * first.get_parameter("backbone.shift"))


def test_its_random_numbers_follow_the_seed_and_restore_the_generator() -> None:
    models = [cross_modal() for _ in range(3)]
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    for model, seed in zip(models, (1, 1, 2), strict=True):
        apply_policy(model, SHIFTED, seed=seed)
    assert torch.equal(torch.rand(3), expected)
    first, again, other = (model.get_parameter("backbone.shift") for model in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_original_backbone_is_proved_frozen_and_only_the_rest_is_saved() -> None:
    model = cross_modal()
    apply_policy(model, SHIFTED)
    proof = FreezeProof(model)
    with torch.no_grad():
        model.get_parameter("backbone.shift").add_(1)
    proof.check_unchanged()
    saved = {name: value.clone() for name, value in trained_tensors(model).items()}
    assert "backbone.shift" in saved
    assert not [name for name in saved if name.startswith("backbone.base.")]
    built_anew = cross_modal()
    apply_policy(built_anew, SHIFTED)
    restore_trained(built_anew, saved, origin=Path("run"))
    inputs = torch.randn(2, 5, 3)
    assert torch.equal(model.eval()(inputs), built_anew.eval()(inputs))
    with torch.no_grad():
        model.get_parameter("backbone.base.ln_f.weight").add_(1)
    with pytest.raises(FreezingError, match="a frozen parameter changed"):
        proof.check_unchanged()


def test_a_policy_without_it_changes_no_backbone() -> None:
    model = cross_modal()
    backbone = model.backbone
    apply_policy(model, policy(prepare=None, rules=(FreezingRule(role="output"),)))
    assert model.backbone is backbone
    with pytest.raises(FreezingError, match="the rule for role 'adapter' touches no parameter"):
        apply_policy(cross_modal(), policy(prepare=None))


def another_width(options: Any, *, backbone: Backbone, seed: int) -> Backbone:
    backbone.width = 9
    return backbone


def no_blocks(options: Any, *, backbone: Backbone, seed: int) -> Backbone:
    backbone.blocks = 0
    return backbone


def nothing(options: Any, *, backbone: Backbone, seed: int) -> None:
    """Forgets to return the backbone."""


class WithoutRole(Shifted):
    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        return {f"base.{name}": role for name, role in self.base.parameter_roles().items()}


def without_a_role(options: Any, *, backbone: Backbone, seed: int) -> Backbone:
    return WithoutRole(backbone, 1.0)


def wrong_inside(options: Any, *, backbone: Backbone, seed: int) -> Backbone:
    return len(3)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("prepare", "error", "message"),
    [
        (another_width, PluginError, "freezing policy 'shifted': prepare returned a backbone with width 9, expected 8"),
        (no_blocks, PluginError, "prepare returned a backbone with blocks 0, expected 2"),
        (nothing, PluginError, "prepare returned a NoneType, expected a fptkit.Backbone"),
        (lambda options: None, PluginError, r"prepare is called with \(options, \*, backbone, seed\)"),
        (without_a_role, FreezingError, "without a role: backbone.shift"),
        (wrong_inside, TypeError, r"has no len\(\)"),
        ("no_such_module:add", PluginError, "cannot import 'no_such_module:add'"),
        ("fptkit.freezing.policy:no_such_name", PluginError, "has no 'no_such_name'"),
    ],
)
def test_broken_contracts(prepare: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        apply_policy(cross_modal(), policy(prepare=prepare))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prepare": "no place"}, "prepare 'no place' is not of the form 'package.module:attribute'"),
        ({"prepare": 3}, "prepare 3 cannot be called"),
        ({"options": "no place"}, "options 'no place' is not of the form 'package.module:attribute'"),
    ],
)
def test_records_of_the_wrong_form(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        policy(**fields)


@pytest.mark.parametrize("options", [Options, 3, "fptkit.options:Options"])
def test_options_must_be_those_of_a_policy(options: Any) -> None:
    with pytest.raises(PluginError, match="is not a subclass of FreezingOptions"):
        policy(options=options).options_model()


PLUGIN = """
from fptkit import FreezingPolicySpec, FreezingRule, hookimpl

@hookimpl
def fptkit_freezing_policies():
    rules = (FreezingRule(role="output"), FreezingRule(role="adapter"))
    here = {module!r}
    return [FreezingPolicySpec(name="shifted", summary="x", rules=rules, prepare=here + ":shift",
                               options=here + ":ShiftOptions")]
"""


def test_a_recipe_takes_its_options_and_builds_it_the_same_way_twice(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN.format(module=__name__))
    text = (
        "task: {name: bit_xor, bits: 3}\nprecision: float32\n"
        "backbone: {name: random, size: nano, blocks: 2, width: 8, heads: 2}\nfreezing: {name: shifted, size: SIZE}\n"
    )
    (tmp_path / "x.yaml").write_text(text.replace("SIZE", "2.0"))

    def registry(_: object = ()) -> Any:
        return load_plugins([tmp_path / "plugin.py"], selection="")

    recipe = load_recipe(str(tmp_path / "x.yaml"), registry_loader=registry).recipe
    first, again = (build(recipe, registry(), torch.device("cpu")).model for _ in range(2))
    assert torch.equal(first.get_parameter("backbone.shift"), again.get_parameter("backbone.shift"))
    seeded = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": 1})})
    other = build(seeded, registry(), torch.device("cpu")).model
    assert not torch.equal(first.get_parameter("backbone.shift"), other.get_parameter("backbone.shift"))
    (tmp_path / "x.yaml").write_text(text.replace("SIZE", "far"))
    with pytest.raises(RecipeError, match=r"freezing\.size"):
        load_recipe(str(tmp_path / "x.yaml"), registry_loader=registry)
