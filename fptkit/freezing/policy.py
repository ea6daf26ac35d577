"""Applying a freezing policy: parameters are selected by role, never by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import nn

from fptkit.errors import FreezingError, PluginError
from fptkit.freezing.options import FreezingOptions
from fptkit.interfaces import Backbone, ParameterRole
from fptkit.model import CrossModalModel
from fptkit.seeds import seeded
from fptkit.specs import FreezingPolicySpec, FreezingRule, resolve_target
from fptkit.specs.guard import during


@dataclass(frozen=True)
class TrainedGroup:
    """Trained parameters with the same learning rate multiplier.

    Args:
        learning_rate_multiplier: factor on the recipe's learning rate.
        parameters: the parameters, by name.
    """

    learning_rate_multiplier: float
    parameters: dict[str, nn.Parameter]


def apply_policy(
    model: CrossModalModel, policy: FreezingPolicySpec, options: FreezingOptions | None = None, *, seed: int = 0
) -> list[TrainedGroup]:
    """Prepare the backbone if the policy does so, mark the parameters that train, and freeze all others.

    Args:
        model: changed in place: ``requires_grad``, and the backbone if the policy prepares it.
        policy: the policy.
        options: the recipe's changes to it, an instance of the policy's options model; None: no changes.
        seed: seed of the parameters that the policy adds to the backbone.

    Returns:
        The trained parameters, grouped by learning rate multiplier.

    Raises:
        FreezingError: a row, or a role in the options, matches no parameter of this model and the policy does not allow
            that; a row names a block that the model does not have; or the options do not fit the policy.
        PluginError: the policy's ``prepare`` does not accept its arguments, or returns something unsuitable.
    """
    options = options or cast("FreezingOptions", policy.options_model()())
    for _, message in options.misfits(policy):
        raise FreezingError(f"freezing: {message}")
    if policy.prepare is not None:
        with during(of=policy):
            model.backbone = _prepared(policy, options, model.backbone, seed)
    roles = model.parameter_roles()
    multipliers = _multipliers(policy, options, roles, model.backbone.blocks)
    if not multipliers:
        raise FreezingError(f"freezing policy '{policy.name}': nothing of this model would train. {_there(roles)}")
    groups: dict[float, dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in multipliers)
        if name in multipliers:
            groups.setdefault(multipliers[name], {})[name] = parameter
    return [TrainedGroup(multiplier, parameters) for multiplier, parameters in sorted(groups.items())]


def _prepared(policy: FreezingPolicySpec, options: FreezingOptions, backbone: Backbone, seed: int) -> Backbone:
    """The backbone that the policy's ``prepare`` returns.

    Raises:
        PluginError: it does not accept its arguments, or does not return a backbone with the same width and blocks.
    """
    assert policy.prepare is not None
    prepare = resolve_target(policy.prepare, wanted_by=policy)
    width, blocks = backbone.width, backbone.blocks
    with seeded(seed):
        try:
            prepared = prepare(options, backbone=backbone, seed=seed)
        except TypeError as err:
            # A TypeError raised by the call itself means a wrong signature; one raised inside prepare is not caught.
            if err.__traceback__ is not None and err.__traceback__.tb_next is None:
                raise PluginError(f"{policy}: {err}; prepare is called with (options, *, backbone, seed)") from err
            raise
    if not isinstance(prepared, Backbone):
        raise PluginError(f"{policy}: prepare returned a {type(prepared).__name__}, expected a fptkit.Backbone")
    for what, before in (("width", width), ("blocks", blocks)):
        if getattr(prepared, what, None) != before:
            raise PluginError(
                f"{policy}: prepare returned a backbone with {what} {getattr(prepared, what, None)!r}, "
                f"expected {before}"
            )
    return prepared


def _multipliers(
    policy: FreezingPolicySpec, options: FreezingOptions, roles: Mapping[str, ParameterRole], blocks: int
) -> dict[str, float]:
    """The learning rate multiplier of every trained parameter, by name.

    Raises:
        FreezingError: see `apply_policy`.
    """

    def touched_by(rule: FreezingRule) -> dict[str, float]:
        try:
            chosen = None if rule.blocks is None else _chosen(rule.blocks, blocks)
        except IndexError as err:
            raise FreezingError(f"freezing policy '{policy.name}': {_row(rule)}: {err}. {_there(roles)}") from None
        touched = [
            name
            for name, role in roles.items()
            if rule.role in ("all", role.role) and not role.fixed and (chosen is None or role.block in chosen)
        ]
        if not touched and rule.required:
            raise FreezingError(
                f"freezing policy '{policy.name}': {_row(rule)} touches no parameter of this model. {_there(roles)}"
            )
        return dict.fromkeys(touched, rule.learning_rate_multiplier)

    def of_role(role: str, option: str) -> list[str]:
        names = [name for name in multipliers if roles[name].role == role]
        if not names and role not in may_be_missing:
            raise FreezingError(
                f"freezing policy '{policy.name}': {option} '{role}' touches no trained parameter of this model. "
                + _there(roles)
            )
        return names

    may_be_missing = {rule.role for rule in policy.rules if not rule.required}
    multipliers: dict[str, float] = {}
    for rule in policy.rules:
        multipliers.update(touched_by(rule))
    for role in options.freeze:
        for name in of_role(role, "freeze"):
            del multipliers[name]
    for row in options.train:
        multipliers.update(touched_by(row.rule))
    for role, factor in options.learning_rate_multipliers.items():
        for name in of_role(role, "learning_rate_multipliers"):
            multipliers[name] *= factor
    return multipliers


def _chosen(blocks: Sequence[int] | str, count: int) -> Sequence[int]:
    """The indices of a row's blocks, in a model of ``count`` blocks.

    A slice bound outside the model is an error, like an index; Python would silently cut the slice, and the policy
    would not be the one written.

    Raises:
        IndexError: a block does not exist.
    """
    if isinstance(blocks, str):
        bounds = [int(part) if part else None for part in blocks.split(":")]
        outside = [bound for bound in bounds[:2] if bound is not None and not -count <= bound <= count]
        chosen: Sequence[int] = range(count)[slice(*bounds)]
    else:
        outside = [index for index in blocks if not -count <= index < count]
        chosen = [index % count for index in blocks if index not in outside]
    if outside:
        there = f"has {count}, 0 to {count - 1}" if count else "has none"
        raise IndexError(f"no block {', '.join(map(str, outside))} in this model, which {there}")
    return chosen


def _row(rule: FreezingRule) -> str:
    return f"the rule for role '{rule.role}'" + (f" in blocks {rule.described_blocks}" if rule.blocks else "")


def _there(roles: Mapping[str, ParameterRole]) -> str:
    """The roles of a model's parameters, for errors."""
    counts = sorted(Counter(role.role for role in roles.values()).items())
    return "Roles here: " + ", ".join(f"{role} ({n} tensor{'s' if n > 1 else ''})" for role, n in counts)
