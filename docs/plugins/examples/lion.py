"""Lion: an optimizer that keeps one number for each parameter, and takes a step of the same size for all.

Source: Chen et al. 2023, arXiv:2302.06675. Try learning rates a third to a tenth of those for Adam.
"""

from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field

from fptkit import OptimizerSpec, Options, hookimpl


class LionOptions(Options):
    beta1: float = Field(default=0.9, ge=0, lt=1, description="share of the momentum in the direction of a step")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="share of the momentum that is kept after a step")
    weight_decay: float = Field(default=0.0, ge=0, description="decay of matrices, times the learning rate")


class Lion(torch.optim.Optimizer):
    def __init__(self, options: LionOptions, *, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {"weight_decay": options.weight_decay})
        self.beta1, self.beta2 = options.beta1, options.beta2

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]  # checkpoints hold what is in here
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                if parameter.ndim > 1:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                direction = state["momentum"].lerp(parameter.grad, 1 - self.beta1).sign()
                parameter.add_(direction, alpha=-group["lr"])
                state["momentum"].lerp_(parameter.grad, 1 - self.beta2)


@hookimpl
def fptkit_optimizers() -> list[OptimizerSpec]:
    return [OptimizerSpec(name="lion", summary="the sign of the momentum", target=Lion, options=LionOptions)]
