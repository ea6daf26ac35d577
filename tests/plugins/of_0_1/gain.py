import torch
from pydantic import Field

from fptkit import FreezingOptions, FreezingPolicySpec, FreezingRule, ParameterRole, hookimpl


class GainOptions(FreezingOptions):
    start: float = Field(default=1.0, gt=0, description="the gain before training")


def add_gain(options, *, backbone, seed):
    roles = backbone.parameter_roles
    backbone.gain = torch.nn.Parameter(torch.full((backbone.width,), options.start))
    backbone.register_forward_hook(lambda module, given, hidden: hidden * module.gain)
    backbone.parameter_roles = lambda: {**roles(), "gain": ParameterRole("adapter")}
    return backbone


@hookimpl
def fptkit_freezing_policies():
    rules = tuple(FreezingRule(role=role) for role in ("input", "output", "adapter"))
    return [
        FreezingPolicySpec(
            name="gain", summary="input, output and a gain", rules=rules, prepare=add_gain, options=GainOptions
        )
    ]
