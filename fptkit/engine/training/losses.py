"""fptkit's own losses by name, and the loss that a recipe gives a task in place of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fptkit.engine.training.options import (
    CrossEntropyOptions,
    FocalOptions,
    HuberOptions,
    QuantileOptions,
    SmoothL1Options,
)
from fptkit.errors import PluginError
from fptkit.interfaces import Batch, Each, OutputKind, mean_of
from fptkit.options import Options
from fptkit.specs import LossSpec
from fptkit.specs.guard import during


def cross_entropy(options: CrossEntropyOptions, *, output: OutputKind) -> Each:
    """Cross-entropy."""

    def each(logits: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(logits, targets, reduction="none", label_smoothing=options.label_smoothing)

    return each


def focal(options: FocalOptions, *, output: OutputKind) -> Each:
    """The focal loss."""

    def each(logits: Tensor, targets: Tensor) -> Tensor:
        entropy = functional.cross_entropy(logits, targets, reduction="none")
        wrong = -torch.expm1(-entropy)  # 1 - the probability of the right class
        # At 0 the power has no finite gradient below an exponent of 1.
        return wrong.clamp(min=1e-12) ** options.gamma * entropy

    return each


def mse(options: Options, *, output: OutputKind) -> Each:
    """The squared error."""
    return lambda predictions, targets: (predictions - targets).square()


def mae(options: Options, *, output: OutputKind) -> Each:
    """The absolute error."""
    return lambda predictions, targets: (predictions - targets).abs()


def huber(options: HuberOptions, *, output: OutputKind) -> Each:
    """The Huber loss."""
    return lambda predictions, targets: functional.huber_loss(
        predictions, targets, reduction="none", delta=options.delta
    )


def smooth_l1(options: SmoothL1Options, *, output: OutputKind) -> Each:
    """The smooth L1 loss."""
    return lambda predictions, targets: functional.smooth_l1_loss(
        predictions, targets, reduction="none", beta=options.beta
    )


def quantile(options: QuantileOptions, *, output: OutputKind) -> Each:
    """The pinball loss."""

    def each(predictions: Tensor, targets: Tensor) -> Tensor:
        below = targets - predictions
        return torch.maximum(options.quantile * below, (options.quantile - 1) * below)

    return each


class ChosenLoss:
    """The mean over examples of a loss, in place of a task's method ``loss``.

    Args:
        spec: its record, which errors name.
        each: the loss of each answer.
        output: kind of the task's answers.

    Raises:
        PluginError: ``each`` is not a function.
    """

    def __init__(self, spec: LossSpec, each: object, output: OutputKind) -> None:
        if not callable(each):
            raise PluginError(f"{spec}: it returned {each!r:.80}, expected a function of predictions and targets")
        self._spec, self._each, self._output = spec, each, output

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """See `fptkit.Task.loss`.

        Raises:
            PluginError: the loss does not give one number for each answer.
        """
        return mean_of(self._output, self._checked, logits, batch.targets)

    def _checked(self, predictions: Tensor, targets: Tensor) -> Tensor:
        with during(of=self._spec):
            found = self._each(predictions, targets)
            if not isinstance(found, Tensor) or found.shape != targets.shape:
                shape = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"{found!r:.80}"
                raise PluginError(
                    f"{self._spec}: it gave {shape} for targets of shape {tuple(targets.shape)}; give the loss of each "
                    "answer, without taking the mean"
                )
        return found
