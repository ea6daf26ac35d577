"""Activation checkpointing: blocks run again in the backward pass, so that fewer activations are stored.

Only the input of each block is stored. Its forward pass is repeated with the same dropout just before its gradient is
computed, so that gradients are identical bit for bit, for about a third more time.

Source: Chen et al. 2016, arXiv 1604.06174; torch.utils.checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fptkit.errors import UsageError
from fptkit.interfaces import Backbone


def recompute_blocks(backbone: Backbone, name: str) -> None:
    """Make the blocks of a backbone run again in every backward pass of training.

    Nothing runs twice in evaluation mode, or if neither a block nor its inputs need a gradient.

    Args:
        backbone: changed in place; names and parameters do not change.
        name: name of the backbone, for the error.

    Raises:
        UsageError: the backbone has no blocks that can be run again.
    """
    blocks = backbone.block_modules()
    if not blocks:
        raise UsageError(
            f"train.activation_checkpointing: the backbone {name} has no blocks that can be recomputed in the "
            "backward pass; leave it out, and use train.accumulate to save memory"
        )
    for block in blocks:
        # The module is not replaced: parameter names, hooks and references to it stay valid.
        block.forward = partial(_run, block, block.forward)


def _run(block: nn.Module, forward: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    if not (block.training and torch.is_grad_enabled() and _needs_gradient(block, arguments, named)):
        return forward(*arguments, **named)
    return checkpoint(forward, *arguments, use_reentrant=False, preserve_rng_state=True, **named)


def _needs_gradient(block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    given = (*arguments, *named.values())
    return any(isinstance(one, Tensor) and one.requires_grad for one in given) or any(
        parameter.requires_grad for parameter in block.parameters()
    )
