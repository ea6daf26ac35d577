"""Whether a model is being traced for export; then its operations must not depend on the values of tensors."""

from __future__ import annotations

import torch


def traced() -> bool:
    """True inside ``torch.export``. In torch 2.6, which cannot distinguish the two, also inside ``torch.compile``."""
    exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return bool(exporting())
