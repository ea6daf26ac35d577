"""The optimiser of a run is torch's fused AdamW bit for bit, and loads no compiler."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from fptkit.engine import optimizer as module
from fptkit.engine.optimizer import light_adamw, make_optimizer
from fptkit.freezing import TrainedGroup
from fptkit.recipe.models import TrainOptions

SETTINGS = {"learning_rate": 0.01, "adam_betas": (0.8, 0.95), "adam_epsilon": 1e-6, "weight_decay": 0.1}


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def groups_of(net: nn.Module) -> list[TrainedGroup]:
    named = dict(net.named_parameters())
    return [
        TrainedGroup(1.0, {name: named[name] for name in ("0.weight", "0.bias")}),
        TrainedGroup(0.5, {name: named[name] for name in ("2.weight", "2.bias")}),
    ]


def ours(net: nn.Module, **settings: Any) -> torch.optim.Optimizer:
    return make_optimizer(groups_of(net), TrainOptions(max_steps=1, **{**SETTINGS, **settings}))


def theirs(net: nn.Module, **settings: Any) -> torch.optim.Optimizer:
    told = {**SETTINGS, **settings}
    groups = [{"params": list(net[0].parameters()), "lr": 0.01}, {"params": list(net[2].parameters()), "lr": 0.005}]
    return torch.optim.AdamW(
        groups,
        betas=told["adam_betas"],
        eps=told["adam_epsilon"],
        weight_decay=told["weight_decay"],
        fused=True,
    )


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        torch.manual_seed(step)
        net(torch.randn(4, 5)).square().mean().backward()
        if step % 3 == 2:
            net[0].bias.grad = None  # a parameter that no gradient reached
        for group in optimizer.param_groups:
            group["lr"] *= 0.9
        optimizer.step()
        optimizer.zero_grad(set_to_none=step % 2 == 0)


def assert_same_state(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left["param_groups"] == right["param_groups"]
    assert left["state"].keys() == right["state"].keys()
    for number, state in left["state"].items():
        assert list(state) == ["step", "exp_avg", "exp_avg_sq"] == list(right["state"][number])
        assert all(torch.equal(state[key], right["state"][number][key]) for key in state)


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.0}])
def test_it_is_adamw_bit_for_bit(settings: dict[str, Any]) -> None:
    mine, others = model(), model()
    my_optimizer, other = ours(mine, **settings), theirs(others, **settings)
    train(mine, my_optimizer, 7)
    train(others, other, 7)
    assert all(map(torch.equal, mine.parameters(), others.parameters()))
    assert_same_state(my_optimizer.state_dict(), other.state_dict())
    assert isinstance(my_optimizer, torch.optim.AdamW)


def test_a_state_goes_from_one_to_the_other_and_back() -> None:
    mine, others = model(), model()
    my_optimizer, other = ours(mine), theirs(others)
    train(mine, my_optimizer, 3)
    others.load_state_dict(mine.state_dict())
    other.load_state_dict(deepcopy(my_optimizer.state_dict()))
    train(mine, my_optimizer, 2, first=3)
    train(others, other, 2, first=3)
    again = model()
    back = ours(again)
    again.load_state_dict(others.state_dict())
    back.load_state_dict(deepcopy(other.state_dict()))
    train(mine, my_optimizer, 2, first=5)
    train(again, back, 2, first=5)
    assert all(map(torch.equal, mine.parameters(), again.parameters()))
    assert_same_state(my_optimizer.state_dict(), back.state_dict())


def test_a_step_leaves_gradients_on_and_records_none() -> None:
    net = model()
    optimizer = ours(net)
    train(net, optimizer, 1)
    assert torch.is_grad_enabled()
    assert all(parameter.grad_fn is None and parameter.requires_grad for parameter in net.parameters())


def test_hooks_of_torch_are_called() -> None:
    net, called = model(), []
    optimizer = ours(net)
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    train(net, optimizer, 1)
    assert called == ["before", "after"]


def test_a_wrapper_that_is_not_known_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrapper(self: torch.optim.AdamW, group: dict[str, Any]) -> None:
        added.append(group)
        original(self, group)

    original, added = torch.optim.AdamW.add_param_group, []
    wrapper.__wrapped__ = original  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.optim.AdamW, "add_param_group", wrapper)
    assert light_adamw() is None
    optimizer = ours(model())
    assert type(optimizer) is torch.optim.AdamW
    assert len(added) == 2


def test_this_torch_is_known() -> None:
    assert light_adamw() is not None, f"torch {torch.__version__} wraps its optimisers otherwise; see {module.__name__}"


@pytest.mark.slow
def test_it_loads_no_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from fptkit.engine.optimizer import light_adamw\n"
        "parameter = torch.nn.Parameter(torch.ones(3))\n"
        "optimizer = light_adamw()([parameter], fused=True)\n"
        "parameter.sum().backward(); optimizer.step(); optimizer.zero_grad()\n"
        "optimizer.load_state_dict(optimizer.state_dict())\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
