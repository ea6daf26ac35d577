"""A loss or gradient that is not finite: which tensor was the first, and what can help.

Data that are not finite never get here: every batch is checked. Nothing is watched in a normal step. After the fact,
the steps since the last checkpoint are taken again, with the same numbers, and an observer at every module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from fptkit.model import CrossModalModel
from fptkit.recipe.models import TrainOptions

Kind = Literal["parameter", "forward", "loss", "gradient"]

LARGE = 1e4
"""Inputs and predictions of more than this size may be the cause. Standardised data stay below 100."""


@dataclass(frozen=True)
class Fault:
    """The first tensor of a step that is not finite.

    Args:
        kind: what it is.
        place: its name, for messages.
        updates: optimizer steps taken before.
        zero_tokens: tokens of zeros reached the backbone, without positions.
        largest_input: largest number among the raw tokens.
        largest_prediction: largest number among the predictions; 0 if there are none.
    """

    kind: Kind
    place: str
    updates: int
    zero_tokens: bool = False
    largest_input: float = 0.0
    largest_prediction: float = 0.0


OF_PREDICTIONS = "the gradient of the predictions"


class Observer:
    """Looks at the input, output and gradient of every module of a model while it is entered.

    Args:
        model: the model, uncompiled.

    Attributes:
        found: kind and place of the first tensor that is not finite; None: there was none.
    """

    def __init__(self, model: CrossModalModel) -> None:
        self._model = model
        self._handles: list[RemovableHandle] = []
        self._labels: Any = WeakIdKeyDictionary()  # the innermost module that got a tensor
        self._steepest = (0.0, "")
        self._zero_tokens = False
        self._largest_input = self._largest_prediction = 0.0
        self.found: tuple[Kind, str] | None = None

    def __enter__(self) -> Observer:
        model = self._model
        self._add(model.register_forward_pre_hook(self._see_inputs, with_kwargs=True))
        self._add(model.backbone.register_forward_pre_hook(self._see_tokens))
        for name, module in model.named_modules():
            self._add(module.register_forward_pre_hook(self._before(name), with_kwargs=True))
            self._add(module.register_forward_hook(self._after(name), with_kwargs=True))
        for name, parameter in model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                self._note("parameter", f"the parameter {name}, before the step")
            if parameter.requires_grad:
                self._add(parameter.register_hook(self._of_parameter(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def fault(self, updates: int, loss: float, norm: float) -> Fault | None:
        """The fault of the step that was observed; None if there was none.

        Args:
            updates: optimizer steps taken before it.
            loss: its loss.
            norm: norm of its gradient.
        """
        if not math.isfinite(loss):
            self._note("loss", "the loss itself, of finite predictions")
        elif not math.isfinite(norm):
            size, name = self._steepest
            self._note("gradient", f"the norm of all gradients; the largest has the norm {size:.1e}: {name}")
        if self.found is None:
            return None
        return Fault(*self.found, updates, self._zero_tokens, self._largest_input, self._largest_prediction)

    def _add(self, handle: RemovableHandle) -> None:
        self._handles.append(handle)

    def _note(self, kind: Kind, place: str) -> None:
        self.found = self.found or (kind, place)

    def _see_inputs(self, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        for tensor in _tensors((given, named)):
            self._largest_input = max(self._largest_input, _largest(tensor))

    def _see_tokens(self, _: nn.Module, given: tuple[Any, ...]) -> None:
        tokens, lengths = given[0].detach(), given[1] if len(given) > 1 else None
        empty = tokens.abs().amax(-1) == 0
        if lengths is not None:
            empty = empty & (torch.arange(empty.shape[1], device=empty.device) < lengths[:, None])
        self._zero_tokens = self._zero_tokens or bool(empty.any())

    def _before(self, name: str) -> Callable[..., None]:
        def see(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            for tensor in _tensors((given, named)):
                if not bool(torch.isfinite(tensor).all()):
                    self._note("forward", f"the input of {name or 'the model'}, in the forward pass")
                self._follow(tensor, f"the gradient of the input of {name or 'the model'}")

        return see

    def _after(self, name: str) -> Callable[..., None]:
        def see(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any], result: Any) -> None:
            for tensor in _tensors(result):
                if not bool(torch.isfinite(tensor).all()):
                    what = f"the output of {name}" if name else "the predictions"
                    self._note("forward", f"{what}, in the forward pass")
                if not name:
                    self._largest_prediction = max(self._largest_prediction, _largest(tensor))
                    self._follow(tensor, OF_PREDICTIONS)

        return see

    def _follow(self, tensor: Tensor, label: str) -> None:
        """Look at the gradient of a tensor in the backward pass."""
        if not tensor.requires_grad or tensor.is_leaf:
            return
        if tensor not in self._labels:
            holder = self._labels[tensor] = [label]

            def see(gradient: Tensor) -> None:
                self._see_gradient(gradient, holder[0])

            self._add(tensor.register_hook(see))
        self._labels[tensor][0] = label

    def _of_parameter(self, name: str) -> Callable[[Tensor], None]:
        def see(gradient: Tensor) -> None:
            label = f"the gradient of the parameter {name}"
            size = self._see_gradient(gradient, label)
            if size > self._steepest[0]:
                self._steepest = (size, label)

        return see

    def _see_gradient(self, gradient: Tensor, label: str) -> float:
        """Note a gradient that is not finite, or so large that its norm is not; return the norm."""
        size = float(torch.linalg.vector_norm(gradient.detach().float()))
        if not math.isfinite(size):
            large = bool(torch.isfinite(gradient).all())
            kind: Kind = "loss" if label == OF_PREDICTIONS else "gradient"
            self._note(kind, label + (" (its norm is too large for float32)" if large else ""))
        return size


def advice(fault: Fault | None, *, options: TrainOptions, model: CrossModalModel) -> str:
    """What can help: only remedies that fit the fault.

    Args:
        fault: the fault; None if it was not found again.
        options: the recipe's ``train`` section.
        model: the model.
    """
    slower = f"lower train.learning_rate (now {options.learning_rate:g})"
    remedies = list(_remedies(fault, options, model, slower)) if fault else [slower, "set precision: float32"]
    text = ", or ".join(remedies or [_AT_THE_START])
    return text[0].upper() + text[1:]


_AT_THE_START = (
    "no optimizer step was taken before, so no learning rate helps: use other weights or another backbone.init, or "
    "fewer blocks (backbone.blocks)"
)
_ZERO_TOKENS = (
    "tokens of zeros reach the backbone and stay zero in its norms, whose gradient is then huge: set "
    "backbone.positions.kind: learned (backbone random: position_kind: learned), which moves them away from zero"
)


def _remedies(fault: Fault, options: TrainOptions, model: CrossModalModel, slower: str) -> Iterator[str]:
    if fault.kind == "gradient" and fault.zero_tokens and _stay_zero(model):
        yield _ZERO_TOKENS
    if fault.kind == "loss":
        yield "check the task's loss, and the size of its targets"
    # Moderate predictions with a loss that is not finite are not the work of a learning rate.
    if fault.updates and not (fault.kind == "loss" and fault.largest_prediction < LARGE):
        yield slower
        if options.clip_norm is None:
            yield "set train.clip_norm: 1.0"
    if fault.largest_input > LARGE:
        yield f"standardise the data: their largest number is {fault.largest_input:.2g}"
    elif model.mixed and fault.updates and "backbone" in fault.place:
        yield "try precision: float32"


def _stay_zero(model: CrossModalModel) -> bool:
    """Whether nothing is added to a token of zeros before the first norm."""
    if model.front is not None and model.front.positions is not None:
        return False
    own = dict(model.backbone.named_parameters())
    tables = model.backbone.position_tables()
    if tables:
        return not any(bool(own[name].any()) for name in tables)
    return not model.backbone.adds_positions()


def _largest(tensor: Tensor) -> float:
    return float(tensor.detach().abs().max())


def _tensors(value: Any) -> Iterator[Tensor]:
    """The floating-point tensors in what a module takes or returns."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.numel():
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)


def first_not_finite(taken: Sequence[tuple[torch.Tensor, torch.Tensor | float]]) -> int:
    """Index of the first step whose loss or norm is not finite; that of the last one if only their sum is not."""
    return next((index for index, pair in enumerate(taken) if not all(map(math.isfinite, pair))), len(taken) - 1)
