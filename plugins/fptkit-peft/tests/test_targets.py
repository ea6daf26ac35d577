"""What cannot be adapted is refused with the reason, and what can is found whatever its class."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fptkit_peft.targets import linear_shape
from parts import POLICIES, adapted, adapters, model_of, small
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from fptkit import Backbone, FreezingPolicySpec, ParameterRole, keep_tokens
from fptkit.errors import FreezingError
from fptkit.freezing import apply_policy


class OneMap(Backbone):
    """One map of a given module between two norms.

    Args:
        module: D to D.
        by_hand: multiply by its weight without calling it.
    """

    def __init__(self, module: nn.Module, *, by_hand: bool = False) -> None:
        super().__init__()
        self.width, self.blocks, self.by_hand = 8, 1, by_hand
        self.norm = nn.LayerNorm(8)
        self.module = module

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        hidden = self.norm(tokens)
        mapped = functional.linear(hidden, self.module.weight) if self.by_hand else self.module(hidden)
        return keep_tokens(tokens + mapped, keep)

    def parameter_roles(self) -> dict[str, ParameterRole]:
        return {
            name: ParameterRole("norm" if name.startswith("norm") else "attention", 0)
            for name, _ in self.named_parameters()
        }


class Own(nn.Module):
    """A linear map of a custom class.

    Args:
        inputs_first: how its weight is stored.
        bias: whether it has one.
        then: what it does with the result.
    """

    def __init__(self, *, inputs_first: bool = True, bias: bool = True, then: Any = None, inputs: int = 8) -> None:
        super().__init__()
        self.inputs_first, self.then = inputs_first, then
        self.weight = nn.Parameter(torch.randn(*((inputs, 8) if inputs_first else (8, inputs))))
        self.bias = nn.Parameter(torch.randn(8)) if bias else None

    def forward(self, hidden: Tensor) -> Tensor:
        weight = self.weight.t() if self.inputs_first else self.weight
        mapped = functional.linear(hidden, weight, self.bias)
        return mapped if self.then is None else self.then(mapped)


@pytest.mark.parametrize("inputs", [8, 24])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("inputs_first", [True, False])
def test_a_linear_map_of_any_class_is_known_by_what_it_does(inputs_first: bool, bias: bool, inputs: int) -> None:
    assert linear_shape(Own(inputs_first=inputs_first, bias=bias, inputs=inputs)) == (inputs, 8)


@pytest.mark.parametrize(
    "module",
    [Own(then=torch.relu), Own(then=lambda hidden: 2 * hidden), Own(then=lambda hidden: (hidden,)), nn.Embedding(8, 8)],
)
def test_what_is_no_linear_map_is_not_taken_for_one(module: nn.Module) -> None:
    assert linear_shape(module) is None
    with pytest.raises(
        FreezingError, match=r"role 'attention': module.weight of shape \(8, 8\) is not the weight of a"
    ):
        apply_policy(model_of(OneMap(module)), POLICIES["lora"], options("lora", roles=["attention"]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("inputs_first", [True, False])
@pytest.mark.parametrize("policy", ["lora", "dora", "ia3"])
def test_a_map_of_another_class_is_adapted_around_the_same_tensors(policy: str, inputs_first: bool, bias: bool) -> None:
    own = Own(inputs_first=inputs_first, bias=bias)
    backbone = OneMap(own)
    tokens = torch.randn(2, 3, 8)
    expected = backbone(tokens)
    model = model_of(backbone)
    apply_policy(model, POLICIES[policy], options(policy, roles=["attention"]))
    torch.testing.assert_close(model.backbone(tokens), expected)
    assert any(parameter is own.weight for parameter in model.parameters())
    assert adapters(model)
    assert {role.role for role in model.parameter_roles().values()} == {
        "input",
        "output",
        "norm",
        "attention",
        "adapter",
    }


def options(policy: str, **given: Any) -> Any:
    return POLICIES[policy].options_model().model_validate(given)


def test_a_weight_used_behind_its_module_is_refused() -> None:
    """An adapter in the module would silently have no effect."""
    with pytest.raises(FreezingError, match=r"OneMap uses module.weight without calling its module"):
        apply_policy(
            model_of(OneMap(nn.Linear(8, 8), by_hand=True)), POLICIES["lora"], options("lora", roles=["attention"])
        )


@pytest.mark.parametrize("policy", ["lora", "dora", "ia3"])
def test_a_role_that_is_not_there(policy: str) -> None:
    with pytest.raises(FreezingError, match=r"no matrix of role 'feed_forward' to adapt .* Roles here: attention \(2"):
        apply_policy(model_of(OneMap(nn.Linear(8, 8))), POLICIES[policy])
    with pytest.raises(FreezingError, match=r"no matrix of role 'attention' to adapt .*recurrent \("):
        adapted("lstm", policy)


def test_a_role_without_matrices() -> None:
    class OnlyScale(OneMap):
        def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
            return keep_tokens(self.norm(tokens) * self.module.scale, keep)

    scale = nn.Module()
    scale.scale = nn.Parameter(torch.ones(8))
    with pytest.raises(FreezingError, match=r"no matrix of role 'attention' to adapt .* attention \(1 tensor\)"):
        apply_policy(model_of(OnlyScale(scale)), POLICIES["lora"], options("lora", roles=["attention"]))


def test_feed_forward_without_an_inner_width() -> None:
    class FeedForward(OneMap):
        def parameter_roles(self) -> dict[str, ParameterRole]:
            return {
                name: ParameterRole("feed_forward" if role.role == "attention" else "norm", 0)
                for name, role in super().parameter_roles().items()
            }

    with pytest.raises(FreezingError, match=r"no feed-forward matrix .* maps from another width to its own, 8"):
        apply_policy(model_of(FeedForward(nn.Linear(8, 8))), POLICIES["ia3"], options("ia3", roles=["feed_forward"]))


def test_no_norm() -> None:
    class Bare(OneMap):
        def __init__(self) -> None:
            super().__init__(nn.Linear(8, 8))
            self.norm = nn.Identity()  # type: ignore[assignment]

    with pytest.raises(FreezingError, match=r"no norm to adapt in this backbone\. Roles here: attention"):
        apply_policy(model_of(Bare()), POLICIES["ln_tuning"])


def test_a_norm_that_is_no_module_of_its_own() -> None:
    class Raw(OneMap):
        def __init__(self) -> None:
            super().__init__(nn.Linear(8, 8))
            self.norm_scale = nn.Parameter(torch.ones(8))

    with pytest.raises(FreezingError, match="norm_scale is in Raw, which has more than a norm"):
        apply_policy(model_of(Raw()), POLICIES["ln_tuning"])


@pytest.mark.parametrize("policy", POLICIES.values(), ids=str)
def test_adapters_are_not_put_into_adapters(policy: FreezingPolicySpec) -> None:
    model, _ = adapted("gpt2", "lora")
    with pytest.raises(FreezingError, match="the backbone already has adapters"):
        apply_policy(model, policy)
    with pytest.raises(FreezingError, match="the backbone already has adapters"):
        apply_policy(model_of(model.backbone.base), policy)


@pytest.mark.parametrize(
    ("policy", "given"),
    [
        ("lora", {"rank": 0}),
        ("lora", {"rank": -1}),
        ("lora", {"alpha": 0}),
        ("lora", {"alpha": float("inf")}),
        ("dora", {"adapter_dropout": 1.0}),
        ("lora", {"roles": []}),
        ("lora", {"roles": ["norm"]}),
        ("ia3", {"roles": ["attention", "attention"]}),
        ("ia3", {"rank": 4}),
        ("ln_tuning", {"roles": ["attention"]}),
    ],
)
def test_options_that_make_no_sense(policy: str, given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        options(policy, **given)


def test_the_search_leaves_the_backbone_as_it_was() -> None:
    backbone = small("bert").train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    model = model_of(backbone)
    apply_policy(model, POLICIES["ia3"])
    assert backbone.training
    assert all(value.grad is None for value in backbone.parameters())
    after = list(backbone.state_dict().values())
    assert all(any(torch.equal(value, other) for other in after) for value in before.values())
    assert not any(module._forward_hooks for name, module in backbone.named_modules() if name.endswith("base_layer"))
