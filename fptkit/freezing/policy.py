"""Applying a freezing policy: roles decide, names never do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import nn

from fptkit.errors import FreezingError
from fptkit.interfaces import ParameterRole
from fptkit.model import CrossModalModel
from fptkit.specs import FreezingPolicySpec, FreezingRule


@dataclass(frozen=True)
class TrainedGroup:
    """Trained parameters with one learning-rate multiplier.

    Args:
        learning_rate_multiplier: factor on the recipe's learning rate.
        parameters: the parameters by name.
    """

    learning_rate_multiplier: float
    parameters: dict[str, nn.Parameter]


def apply_policy(model: CrossModalModel, policy: FreezingPolicySpec) -> list[TrainedGroup]:
    """Mark the parameters the policy trains, freeze all others.

    Args:
        model: changed in place (``requires_grad``).
        policy: the table.

    Returns:
        The trained parameters, grouped by learning-rate multiplier.

    Raises:
        FreezingError: a required rule touches no parameter.
    """
    roles = model.parameter_roles()
    multipliers: dict[str, float] = {}
    for rule in policy.rules:
        touched = [name for name, role in roles.items() if _matches(rule, role, model.backbone.blocks)]
        if not touched and rule.required:
            there = Counter(role.role for role in roles.values())
            raise FreezingError(
                f"freezing policy '{policy.name}': its rule for role '{rule.role}'"
                + (f" in blocks {list(rule.blocks)}" if rule.blocks is not None else "")
                + " touches no parameter of this model. Roles here: "
                + ", ".join(f"{role} ({count} tensors)" for role, count in sorted(there.items()))
            )
        multipliers.update(dict.fromkeys(touched, rule.learning_rate_multiplier))
    groups: dict[float, dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in multipliers)
        if name in multipliers:
            groups.setdefault(multipliers[name], {})[name] = parameter
    return [TrainedGroup(multiplier, parameters) for multiplier, parameters in sorted(groups.items())]


def _matches(rule: FreezingRule, role: ParameterRole, blocks: int) -> bool:
    if rule.role not in ("all", role.role):
        return False
    if rule.blocks is None:
        return True
    return role.block is not None and role.block in {
        index % blocks for index in rule.blocks if -blocks <= index < blocks
    }
