"""Padding set to zero, so that it cannot affect real tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def zero_padding(tokens: Tensor, lengths: Tensor | None) -> Tensor:
    """Set padding to zero.

    Shapes: tokens (B, T, F), lengths (B,) or None -> (B, T, F).
    """
    if lengths is None:
        return tokens
    real = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    # Not a product: padding may have values that are not finite.
    return tokens.masked_fill(~real[:, :, None], 0)
