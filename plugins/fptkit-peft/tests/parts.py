"""Small models with adapters, for the tests."""

from __future__ import annotations

from typing import Any

import fptkit_peft
import torch
from torch import nn

from fptkit import Backbone, BackboneSpec, Classes, FreezingPolicySpec
from fptkit.freezing import TrainedGroup, apply_policy
from fptkit.model import CrossModalModel, Head
from fptkit.registry import load_plugins

POLICIES = {spec.name: spec for spec in fptkit_peft.fptkit_freezing_policies()}
WIDTH, BLOCKS, TOKENS = 16, 3, 6


def small(like: str) -> Backbone:
    """Three blocks of width 16, in evaluation, with random norms and biases instead of ones and zeros."""
    spec = load_plugins(selection="").get(BackboneSpec, "random")
    options = spec.options_model().model_validate(
        {"like": like, "size": "nano", "blocks": BLOCKS, "width": WIDTH, "dropout": 0.0}
        | ({} if like == "lstm" else {"heads": 2})
    )
    backbone: Backbone = spec.resolve()(options, positions=TOKENS, seed=0, pinned=None)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return backbone.eval()


def model_of(backbone: Backbone) -> CrossModalModel:
    torch.manual_seed(5)
    return CrossModalModel(nn.Linear(4, backbone.width), backbone, Head(Classes(3), backbone.width, readout="last"))


def adapted(like: str, policy: str, seed: int = 0, **options: Any) -> tuple[CrossModalModel, list[TrainedGroup]]:
    """A small model with a policy applied."""
    model = model_of(small(like))
    spec: FreezingPolicySpec = POLICIES[policy]
    return model.eval(), apply_policy(model, spec, spec.options_model().model_validate(options), seed=seed)


def adapters(model: CrossModalModel) -> dict[str, nn.Parameter]:
    roles = model.parameter_roles()
    return {name: value for name, value in model.named_parameters() if roles[name].role == "adapter"}


def disturb(parameters: Any, seed: int = 2) -> None:
    """Move parameters away from their start, where an adapter does nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
