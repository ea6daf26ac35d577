"""The optimizer of a run: torch's fused AdamW, without importing torch's compiler.

torch marks methods of its optimizers as not to be compiled. On their first call the marks import the compiler, which
takes a second and 160 MiB of memory in every run, whether it compiles or not. Optimizer steps are never compiled here,
so the marks are removed; what remains is torch's own code, with the same results and state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from fptkit.freezing import TrainedGroup
from fptkit.recipe.models import TrainOptions

_MARKED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods that torch marks as not to be compiled."""

_MARKS = {
    ("torch._compile", "inner"),  # not to be compiled
    ("torch.optim.optimizer", "_use_grad"),  # no gradients inside, and a mark for the compiler on either side
    ("torch.optim.optimizer", "wrapper"),  # calls hooks; torch puts it around every `step`, ours included
}
"""Module and name of the wrappers that may be removed."""


def make_optimizer(groups: Sequence[TrainedGroup], options: TrainOptions) -> torch.optim.AdamW:
    """AdamW over the trained parameters.

    Args:
        groups: the trained parameters, with their learning-rate multipliers.
        options: the recipe's ``train`` section.

    Returns:
        An optimizer with the same results, bit for bit, and the same state as ``torch.optim.AdamW(fused=True)``.
    """
    kind = light_adamw() or torch.optim.AdamW
    return kind(
        [
            {"params": list(group.parameters.values()), "lr": options.learning_rate * group.learning_rate_multiplier}
            for group in groups
        ],
        betas=options.adam_betas,
        eps=options.adam_epsilon,
        weight_decay=options.weight_decay,  # at the default of 0 this is the paper's Adam
        fused=True,
    )


def light_adamw() -> type[torch.optim.AdamW] | None:
    """AdamW without marks for the compiler; None if this version of torch wraps its methods in another way."""
    plain = {name: _unmarked(getattr(torch.optim.AdamW, name)) for name in (*_MARKED, "step")}
    if None in plain.values():
        return None
    step = plain.pop("step")

    def step_without_gradients(self: torch.optim.AdamW, closure: Callable[[], float] | None = None) -> Any:
        with torch.no_grad():
            return step(self, closure)  # type: ignore[misc]

    return type("LightAdamW", (torch.optim.AdamW,), {**plain, "step": step_without_gradients})


def make_recordable(optimizer: torch.optim.Optimizer, device: torch.device) -> str:
    """Let an optimizer's steps be recorded as CUDA graphs; why that is not possible, else an empty text.

    Its learning rates become tensors, which a recorded step reads anew each time.

    Args:
        optimizer: changed only if it is possible.
        device: of its parameters.
    """
    if any("capturable" not in group for group in optimizer.param_groups):
        return f"the optimizer {type(optimizer).__name__} has no setting for it (capturable)"
    for group in optimizer.param_groups:
        group["capturable"] = True
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)
    return ""


def _unmarked(method: Any) -> Callable[..., Any] | None:
    """The function inside known wrappers; None if there is another wrapper."""
    while inner := getattr(method, "__wrapped__", None):
        if (method.__globals__["__name__"], method.__code__.co_name) not in _MARKS:
            return None
        method = inner
    found: Callable[..., Any] = method
    return found
