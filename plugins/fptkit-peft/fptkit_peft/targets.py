"""Selection of the modules to adapt, by the roles of their parameters instead of by name.

A role does not define how a module computes, so modules are tested: a matrix of an unknown class is accepted if its
module multiplies by it. A matrix that the backbone uses without calling its module is refused, since an adapter there
would silently have no effect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from fptkit import Backbone, ParameterRole
from fptkit.errors import FreezingError

PROBE_TOKENS = 4


@dataclass(frozen=True)
class Target:
    """A module that gets an adapter.

    Args:
        module: the module before adaptation.
        inputs: input width.
        outputs: output width.
        role: role of its parameters.
        block: index of its block; None outside the blocks.
    """

    module: nn.Module
    inputs: int
    outputs: int
    role: str
    block: int | None


def find_matrices(backbone: Backbone, roles: Collection[str]) -> dict[str, Target]:
    """Find the linear maps with parameters of these roles, by module name.

    Maps that the backbone does not use are skipped, such as the maps of a Longformer's global attention.

    Args:
        backbone: the backbone; its gradients are removed, everything else stays unchanged.
        roles: roles, each of which must have linear maps.

    Raises:
        FreezingError: a role is missing or has no matrix; a matrix does not belong to a linear map, or is used without
            calling its module.
    """
    there = backbone.parameter_roles()
    found: dict[str, Target] = {}
    for name, role in there.items():
        if role.role not in roles or backbone.get_parameter(name).ndim < 2:
            continue
        module_name, _, label = name.rpartition(".")
        module = backbone.get_submodule(module_name)
        shape = linear_shape(module) if label == "weight" else None
        if shape is None:
            raise FreezingError(
                f"role '{role.role}': {name} of shape {tuple(backbone.get_parameter(name).shape)} is not the weight of "
                f"a linear map but a tensor of {type(module).__name__}, which cannot be adapted; remove the role from "
                "freezing.roles"
            )
        found[module_name] = Target(module, *shape, role.role, role.block)
    used = _used(backbone, found)
    for role_name in roles:
        if not any(found[name].role == role_name for name in used):
            raise FreezingError(f"no matrix of role '{role_name}' to adapt in this backbone. {_there(there)}")
    return {name: found[name] for name in used}


def find_norms(backbone: Backbone) -> dict[str, Target]:
    """Find the modules that consist of norm parameters only, by name.

    Raises:
        FreezingError: there is no norm, or a norm is not a separate module.
    """
    there = backbone.parameter_roles()
    found: dict[str, Target] = {}
    for name, role in there.items():
        if role.role != "norm":
            continue
        module_name = name.rpartition(".")[0]
        module = backbone.get_submodule(module_name)
        if (
            any(there[inner].role != "norm" for inner in there if inner.startswith(f"{module_name}."))
            or not module_name
        ):
            raise FreezingError(f"role 'norm': {name} is in {type(module).__name__}, which has more than a norm")
        found[module_name] = Target(module, backbone.width, backbone.width, "norm", role.block)
    if not found:
        raise FreezingError(f"no norm to adapt in this backbone. {_there(there)}")
    return found


def linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """Return input and output width of a linear map; None for any other module."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        inputs, outputs = module.weight.shape
        return inputs, outputs
    known = as_known_class(module)
    return None if known is None else linear_shape(known)


def as_known_class(module: nn.Module) -> nn.Linear | Conv1D | None:
    """Convert a linear map of a custom class to a class that peft knows, with the same tensors; None for other modules.

    The computation is identified on random inputs: ``x @ weight + bias`` or ``x @ weight.T + bias``.
    """
    own = dict(module.named_parameters())
    weight, bias = own.get("weight"), own.get("bias")
    if weight is None or weight.ndim != 2 or not own.keys() <= {"weight", "bias"} or any(module.children()):
        return None
    inputs_first, outputs_first = Conv1D(weight.shape[1], weight.shape[0]), nn.Linear(*weight.shape[::-1])
    for known, inputs in ((inputs_first, weight.shape[0]), (outputs_first, weight.shape[1])):
        known.weight = weight
        del known.bias
        if bias is not None:
            known.bias = bias
        elif isinstance(known, Conv1D):
            known.register_buffer("bias", weight.new_zeros(weight.shape[1]), persistent=False)  # Conv1D needs one
        else:
            known.register_parameter("bias", None)
        tokens = torch.randn(PROBE_TOKENS, inputs).to(weight)
        try:
            with torch.no_grad():
                given, expected = module(tokens), known(tokens)
        except (RuntimeError, TypeError, ValueError, IndexError):
            continue  # the module expects another input than (N, inputs)
        if isinstance(given, Tensor) and given.shape == expected.shape:
            error, size = (given - expected).abs().max(), expected.abs().max()
            if error <= 1e-3 * size:
                return known
    return None


def _used(backbone: Backbone, found: Mapping[str, Target]) -> list[str]:
    """Return the names of the modules that the backbone calls.

    Raises:
        FreezingError: a weight is used, but its module is not called.
    """
    called: set[str] = set()
    hooks = [
        target.module.register_forward_hook(lambda *_, name=name: called.add(name)) for name, target in found.items()
    ]
    was_training = backbone.training
    backbone.eval().requires_grad_(True)
    tokens = torch.randn(2, min(PROBE_TOKENS, backbone.max_positions or PROBE_TOKENS), backbone.width)
    try:
        with torch.enable_grad():
            backbone(tokens).float().square().sum().backward()
        passed_by = [
            name
            for name, target in found.items()
            if name not in called and target.module.get_parameter("weight").grad is not None
        ]
    finally:
        for hook in hooks:
            hook.remove()
        backbone.zero_grad(set_to_none=True)
        backbone.train(was_training)
    if passed_by:
        raise FreezingError(
            f"{type(backbone).__name__} uses {passed_by[0]}.weight without calling its module, so an adapter there "
            "would have no effect; use another backbone or freezing.roles"
        )
    return [name for name in found if name in called]


def _there(roles: Mapping[str, ParameterRole]) -> str:
    counts = sorted(Counter(role.role for role in roles.values()).items())
    return "Roles here: " + ", ".join(f"{role} ({count} tensor{'s' * (count > 1)})" for role, count in counts)
