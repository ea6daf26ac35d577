"""What other parts ask of a kind of answers: by which names it is accepted, and the mean of a loss over its answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from fptkit.interfaces.answer_kind import AnswerKind

Each: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""The loss of each answer. Shapes: (N, K) and (N,) -> (N,) for classes; for values all have the targets' shape."""


def answer_kinds(output: object) -> tuple[str, ...]:
    """The names by which records of losses, metrics and heads accept a kind of answers: those of its class and bases.

    Args:
        output: the kind of answers.
    """
    kinds = [kind.__name__ for kind in type(output).__mro__ if issubclass(kind, AnswerKind) and kind is not AnswerKind]
    return tuple(re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in kinds)


def mean_of(output: AnswerKind, each: Each, predictions: Tensor, targets: Tensor) -> Tensor:
    """The mean over examples of a loss, a scalar; every example counts the same, whatever its number of answers.

    Args:
        output: kind of the answers. One with a method ``mean_of(each, predictions, targets)`` decides itself.
        each: the loss of each answer. Padding and tokens without a label never reach it.
        predictions: of a batch.
        targets: of the same batch.
    """
    if (own := getattr(output, "mean_of", None)) is not None:
        found: Tensor = own(each, predictions, targets)
        return found
    if not output.each_token:
        return each(*output.for_metrics(predictions, targets)).mean()
    labelled = ~output.ignored(targets)
    losses = each(predictions[labelled], targets[labelled])
    whole = torch.zeros(targets.shape, dtype=losses.dtype, device=losses.device).masked_scatter(labelled, losses)
    return (whole.flatten(1).sum(1) / labelled.flatten(1).sum(1).clamp(min=1)).mean()
