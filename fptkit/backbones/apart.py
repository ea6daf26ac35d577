"""Running the examples of each length separately, for models whose blocks accept no mask."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def run_apart(run: Callable[[Tensor], Tensor], tokens: Tensor, lengths: Tensor) -> Tensor:
    """Run the examples of each length without padding.

    Shapes: tokens (B, T, D), lengths (B,) -> (B, T, D), zeros at padded places.

    Args:
        run: maps tokens without padding to token vectors.
        tokens: encoded tokens, padded on the right.
        lengths: number of real tokens of each example.
    """
    hidden = torch.zeros_like(tokens)
    for length in lengths.unique().tolist():
        rows = (lengths == length).nonzero().flatten()
        found = functional.pad(run(tokens[rows, :length]), (0, 0, 0, tokens.shape[1] - length))
        hidden = hidden.index_copy(0, rows, found.to(hidden.dtype))
    return hidden
