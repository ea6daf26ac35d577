"""The model's forward in training, compiled where the recipe asks for it and torch can do it.

Batches of one shape get code of their own; where shapes differ, torch makes code for any of them when it meets the
second one. Evaluation is never compiled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fptkit.interfaces import Inputs
from fptkit.model import CrossModalModel


class TrainingForward:
    """Calls the model.

    Args:
        model: the model; its parameters are shared.
        compiled: whether to compile it. That happens at the first call, and at the first backward.

    Attributes:
        compiled: whether it is.
    """

    def __init__(self, model: CrossModalModel, *, compiled: bool) -> None:
        self._model = model
        self.compiled = compiled
        self._forward: Any = torch.compile(model, dynamic=None) if compiled else model

    def __call__(self, inputs: Inputs, lengths: Tensor | None) -> Tensor:
        """See `CrossModalModel.forward`."""
        logits: Tensor = self._forward(inputs, lengths)
        return logits

    def give_up(self) -> None:
        """Call the model as it is from here on."""
        self._forward, self.compiled = self._model, False
