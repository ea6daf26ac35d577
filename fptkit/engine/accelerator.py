"""Accelerate's object for a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(device: torch.device) -> Accelerator:
    """What a run's backward goes through. What the user's shell says to other programs does not change its arithmetic.

    Args:
        device: where the model is.
    """
    from accelerate import Accelerator
    from accelerate.utils import GradientAccumulationPlugin

    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
