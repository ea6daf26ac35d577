"""Optimizers by name are torch's, and Muon's parts are those of torch, by the roles of the parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fptkit.engine.training import optimizers, options
from fptkit.engine.training.optimizers import Group, check_is_optimizer, groups_for_torch
from fptkit.errors import PluginError, UsageError
from fptkit.freezing import TrainedGroup
from fptkit.interfaces import ParameterRole

SHAPES = {"matrix": (4, 3), "norm": (3,), "output": (2, 3)}
ROLES = {"matrix": "attention", "norm": "norm", "output": "output"}


def parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in SHAPES.items()}


def groups(own: dict[str, nn.Parameter]) -> list[Group]:
    trained = [
        TrainedGroup(0.5, {"matrix": own["matrix"]}),
        TrainedGroup(1.0, {name: own[name] for name in ("norm", "output")}),
    ]
    roles: Any = {name: ParameterRole(role) for name, role in ROLES.items()}  # type: ignore[arg-type]
    return groups_for_torch(trained, 0.1, roles)


def after_steps(own: dict[str, nn.Parameter], *made: torch.optim.Optimizer) -> list[torch.Tensor]:
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        for parameter in own.values():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimizer in made:
            optimizer.step()
    return [parameter.detach() for parameter in own.values()]


def test_groups_have_rates_and_roles() -> None:
    found = groups(parameters())
    assert [(group["lr"], group["roles"]) for group in found] == [(0.05, ["attention"]), (0.1, ["norm", "output"])]


@pytest.mark.parametrize(
    ("name", "given", "theirs"),
    [
        ("adamw", options.AdamWOptions(betas=(0.8, 0.9), weight_decay=0.1),
         lambda g: torch.optim.AdamW(g, betas=(0.8, 0.9), weight_decay=0.1, fused=True)),
        ("adam", options.AdamOptions(epsilon=1e-3, amsgrad=True),
         lambda g: torch.optim.Adam(g, eps=1e-3, amsgrad=True, fused=True)),
        ("sgd", options.SgdOptions(momentum=0.5, nesterov=True),
         lambda g: torch.optim.SGD(g, momentum=0.5, nesterov=True)),
        ("rmsprop", options.RmspropOptions(smoothing=0.9, momentum=0.1, centered=True),
         lambda g: torch.optim.RMSprop(g, alpha=0.9, momentum=0.1, centered=True)),
        ("adafactor", options.AdafactorOptions(beta2_decay=-0.5), lambda g: torch.optim.Adafactor(g, beta2_decay=-0.5)),
    ],
)  # fmt: skip
def test_it_is_torchs(name: str, given: Any, theirs: Any) -> None:
    ours, own = parameters(), parameters()
    found = after_steps(ours, getattr(optimizers, name)(given, groups=groups(ours)))
    expected = after_steps(own, theirs(groups(own)))
    assert all(map(torch.equal, found, expected))


def test_muon_updates_the_matrices_of_its_roles() -> None:
    ours, own = parameters(), parameters()
    joint = optimizers.muon(options.MuonOptions(weight_decay=0.1), groups=groups(ours))
    check_is_optimizer(joint, groups(ours))
    muon = torch.optim.Muon([own["matrix"]], lr=0.05, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([own["norm"], own["output"]], lr=0.1, weight_decay=0.1, fused=True)
    assert all(map(torch.equal, after_steps(ours, joint), after_steps(own, muon, adamw)))
    assert set(joint.state) == set(ours.values())
    all_roles = optimizers.muon(options.MuonOptions(roles=("attention", "output")), groups=groups(ours))
    assert [len(group["params"]) for group in all_roles.param_groups] == [1, 1, 1]
    with pytest.raises(UsageError, match="no matrix with a role of recurrent trains, only attention, norm, output"):
        optimizers.muon(options.MuonOptions(roles=("recurrent",)), groups=groups(ours))


def test_a_rate_that_is_set_is_that_of_the_part() -> None:
    own = parameters()
    joint = optimizers.muon(options.MuonOptions(), groups=groups(own))
    before = [parameter.detach().clone() for parameter in own.values()]
    for group in joint.param_groups:
        group["lr"] = 0.0
    assert all(map(torch.equal, before, after_steps(own, joint)))


@pytest.mark.parametrize("change", ["missing", "foreign", "rate"])
def test_what_does_not_hold_the_trained_parameters_is_refused(change: str) -> None:
    given = groups(parameters())
    made = torch.optim.SGD([{**group, "params": list(group["params"])} for group in given])
    if change == "missing":
        made.param_groups[1]["params"].pop()
    elif change == "foreign":
        made.param_groups[1]["params"].append(nn.Parameter(torch.zeros(2)))
    else:
        made.param_groups[1]["lr"] = None
    with pytest.raises(PluginError, match="'lr' of a group" if change == "rate" else "give it all parameters"):
        check_is_optimizer(made, given)
