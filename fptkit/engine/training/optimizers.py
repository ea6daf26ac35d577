"""fptkit's own optimizers by name, and checks of any. Recipes that name none use `engine/optimizer.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from fptkit.engine.training.options import (
    AdafactorOptions,
    AdamOptions,
    AdamWOptions,
    MuonOptions,
    RmspropOptions,
    SgdOptions,
)
from fptkit.errors import PluginError, UsageError
from fptkit.freezing import TrainedGroup
from fptkit.interfaces import ParameterRole

Group = dict[str, Any]
"""Parameters with one learning rate, as torch takes them, and ``roles``: the role of each."""


def adamw(options: AdamWOptions, *, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """AdamW, fused."""
    return torch.optim.AdamW(
        groups,
        betas=options.betas,
        eps=options.epsilon,
        weight_decay=options.weight_decay,
        amsgrad=options.amsgrad,
        fused=True,
    )


def adam(options: AdamOptions, *, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """Adam, fused."""
    return torch.optim.Adam(
        groups,
        betas=options.betas,
        eps=options.epsilon,
        weight_decay=options.weight_decay,
        amsgrad=options.amsgrad,
        fused=True,
    )


def sgd(options: SgdOptions, *, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """Gradient descent with momentum."""
    return torch.optim.SGD(
        groups, momentum=options.momentum, nesterov=options.nesterov, weight_decay=options.weight_decay
    )


def rmsprop(options: RmspropOptions, *, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """RMSprop."""
    return torch.optim.RMSprop(
        groups,
        alpha=options.smoothing,
        eps=options.epsilon,
        momentum=options.momentum,
        centered=options.centered,
        weight_decay=options.weight_decay,
    )


def adafactor(options: AdafactorOptions, *, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """Adafactor."""
    return torch.optim.Adafactor(
        groups, beta2_decay=options.beta2_decay, d=options.clip, weight_decay=options.weight_decay
    )


def muon(options: MuonOptions, *, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """Muon for the matrices of some roles, AdamW for all other parameters.

    Raises:
        UsageError: this version of torch has no Muon, or no matrix of these roles trains.
    """
    if not hasattr(torch.optim, "Muon"):
        raise UsageError(f"optimizer muon: torch {torch.__version__} has no Muon; use torch 2.9 or later")
    matrices, others = _divided(groups, frozenset(options.roles))
    if not matrices:
        there = sorted({role for group in groups for role in group["roles"]})
        raise UsageError(
            f"optimizer muon: no matrix with a role of {', '.join(options.roles)} trains, only {', '.join(there)}; "
            "use another optimizer or freezing policy, or name other roles in optimizer.roles"
        )
    parts: list[torch.optim.Optimizer] = [
        torch.optim.Muon(
            matrices,
            momentum=options.momentum,
            nesterov=options.nesterov,
            ns_steps=options.rounds,
            adjust_lr_fn=options.adjust,
            weight_decay=options.weight_decay,
        )
    ]
    if others:
        decay = options.weight_decay
        parts.append(
            torch.optim.AdamW(others, betas=options.betas, eps=options.epsilon, weight_decay=decay, fused=True)
        )
    return Joint(parts)


def _divided(groups: Sequence[Group], roles: frozenset[str]) -> tuple[list[Group], list[Group]]:
    """The groups divided into those of matrices with one of the roles, and those of all other parameters."""
    divided: tuple[list[Group], list[Group]] = [], []
    for group in groups:
        pairs = list(zip(group["params"], group["roles"], strict=True))
        chosen = [parameter.ndim == 2 and role in roles for parameter, role in pairs]
        for groups_of_part, wanted in zip(divided, (True, False), strict=True):
            of_part = [pair for pair, matrix in zip(pairs, chosen, strict=True) if matrix is wanted]
            if of_part:
                parameters, own = map(list, zip(*of_part, strict=True))
                groups_of_part.append({"params": parameters, "lr": group["lr"], "roles": own})
    return divided


class Joint(torch.optim.Optimizer):
    """Several optimizers as one: their groups in a row, and one state, so that it is saved and restored like any.

    Args:
        parts: the optimizers; no two hold the same parameter.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        # The groups are not copied: a learning rate that is set here is that of the part.
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._parts = tuple(parts)
        for part in parts:
            part.state = self.state

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no closure is used
        """Let each part take a step."""
        for part in self._parts:
            part.step()


def groups_for_torch(
    groups: Sequence[TrainedGroup], learning_rate: float, roles: Mapping[str, ParameterRole]
) -> list[Group]:
    """The trained parameters as an optimizer's target gets them.

    Args:
        groups: the trained parameters, with their learning-rate multipliers.
        learning_rate: the recipe's.
        roles: the role of every parameter of the model, by name.
    """
    return [
        {
            "params": list(group.parameters.values()),
            "lr": learning_rate * group.learning_rate_multiplier,
            "roles": [roles[name].role for name in group.parameters],
        }
        for group in groups
    ]


def check_is_optimizer(built: object, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """What an optimizer's target returned, if it is an optimizer of exactly the trained parameters.

    Raises:
        PluginError: it is not, or one of its groups has no learning rate.
    """
    if not isinstance(built, torch.optim.Optimizer):
        raise PluginError(f"the optimizer's target returned {built!r:.80}, expected a torch.optim.Optimizer")
    wanted: dict[int, nn.Parameter] = {id(parameter): parameter for group in groups for parameter in group["params"]}
    held = [id(parameter) for group in built.param_groups for parameter in group["params"]]
    if sorted(held) != sorted(wanted):
        raise PluginError(
            f"{type(built).__name__} holds {len(held)} parameters, {len(set(held) & wanted.keys())} of the "
            f"{len(wanted)} that train; give it all parameters of the groups, each once"
        )
    if any(not isinstance(group.get("lr"), float) for group in built.param_groups):
        raise PluginError(
            f"{type(built).__name__}: 'lr' of a group is no floating-point number; keep that of the given groups, "
            "which the schedule changes"
        )
    return built
