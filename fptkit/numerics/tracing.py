"""Whether operations of a model may depend on the values of tensors: not while it is traced, nor on accelerators."""

from __future__ import annotations

import torch
from torch import Tensor


def traced() -> bool:
    """True inside ``torch.export``. In torch 2.6, which cannot distinguish the two, also inside ``torch.compile``."""
    exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return bool(exporting())


def may_read(tensor: Tensor) -> bool:
    """True if code may look at a tensor's numbers: they are on the CPU, and no model is traced for export."""
    return tensor.device.type == "cpu" and not traced()
