"""Activation checkpointing: blocks that are run once more in the backward pass, so that little is kept until then.

Of each block only what goes in is kept. Its forward is repeated with the same draws of dropout just before its gradient
is taken, so that gradients are the same bit for bit, for about a third more time.

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
    """Have the blocks of a backbone run once more in every backward pass of training.

    In evaluation mode, and where neither a block nor what it is given needs a gradient, nothing is run twice.

    Args:
        backbone: changed in place; names and parameters stay as they are.
        name: of the backbone, for the error.

    Raises:
        UsageError: it names no blocks that can be run again.
    """
    blocks = backbone.block_modules()
    if not blocks:
        raise UsageError(
            f"train.activation_checkpointing: the backbone {name} has no blocks that can be run once more in the "
            "backward pass; leave it out, and take train.accumulate to save memory"
        )
    for block in blocks:
        # The module itself stays, and so do the names of its parameters, hooks and whoever holds it.
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
