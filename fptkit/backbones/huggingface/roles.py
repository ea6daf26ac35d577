"""The role of every parameter of a model from transformers, from the kinds of its modules.

Architectures name their parameters each in its own way, but are built alike: a list of blocks; in each block an
attention module, norms, and linear maps. Where a parameter fits none of these rules there is an error, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from transformers.pytorch_utils import Conv1D

from fptkit.errors import FreezingError
from fptkit.interfaces import ParameterRole, Role

_FEED_FORWARD = re.compile(r"mlp|feed_?forward|ffn|expert|moe", re.IGNORECASE)
"""Class names of feed-forward parts that hold raw tensors, as mixtures of experts do."""

_LINEAR = (nn.Linear, Conv1D, nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class Owner:
    """A parameter and the modules it is in.

    Args:
        name: of the parameter.
        modules: from the outermost inside the block (or model) to the one that holds it.
        block: index of the block, None outside the blocks.
    """

    name: str
    modules: tuple[nn.Module, ...]
    block: int | None


def find_blocks(model: nn.Module) -> str:
    """Name of the list of blocks: the list of modules with the most parameters, the outermost of equals.

    Raises:
        FreezingError: there is no list of modules.
    """
    lists = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)
    }
    if not lists:
        raise FreezingError(f"{type(model).__name__} has no list of blocks; fptkit cannot tell its parameters' roles")
    return max(lists, key=lambda name: sum(parameter.numel() for parameter in lists[name].parameters()))


def find_roles(model: nn.Module, blocks: str, position_tables: frozenset[str]) -> dict[str, ParameterRole]:
    """The role of every parameter.

    Args:
        model: without word embedding and pooler.
        blocks: name of its list of blocks.
        position_tables: names of the embeddings outside the blocks that hold positions; others are embeddings.

    Raises:
        FreezingError: parameters are left over; they are named with the class of the module that holds them.
    """
    roles: dict[str, ParameterRole] = {}
    left_over: list[str] = []
    for owner in _owners(model, blocks):
        table = owner.name.rpartition(".")[0] in position_tables
        role = _role_in_block(owner.modules) if owner.block is not None else _role_outside(owner.modules, table)
        if role is None:
            left_over.append(f"{owner.name} (in {type(owner.modules[-1]).__name__})")
        else:
            roles[owner.name] = ParameterRole(role, owner.block)
    if left_over:
        raise FreezingError(
            f"{type(model).__name__}: the role of {len(left_over)} parameters cannot be told from their modules, which "
            f"are no norm, no embedding, no attention and no linear map of a block: {', '.join(left_over)}"
        )
    return roles


def _owners(model: nn.Module, blocks: str) -> Iterator[Owner]:
    """Every parameter with the modules it is in, those above the block left out."""
    for name, _ in model.named_parameters():
        parts = name.split(".")[:-1]
        path = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
        if name.startswith(f"{blocks}."):
            depth = blocks.count(".") + 1
            inside = [model.get_submodule(place) for place in path[depth + 1 :]]
            # A tensor of the block itself is held by the block.
            yield Owner(name, tuple(inside or [model.get_submodule(path[depth])]), int(parts[depth]))
        else:
            yield Owner(name, tuple(model.get_submodule(place) for place in path) or (model,), None)


def _role_in_block(modules: tuple[nn.Module, ...]) -> Role | None:
    if is_norm(modules[-1]):
        return "norm"
    if isinstance(modules[-1], nn.Embedding):
        return "position"  # what a block looks up are distances between tokens
    if any(_is_attention(module) for module in modules):
        return "attention"  # the output projection included, wherever it is within
    if isinstance(modules[-1], _LINEAR) or any(_FEED_FORWARD.search(type(module).__name__) for module in modules):
        return "feed_forward"
    return None


def _role_outside(modules: tuple[nn.Module, ...], position_table: bool) -> Role | None:
    if is_norm(modules[-1]):
        return "norm"
    if isinstance(modules[-1], nn.Embedding):
        return "position" if position_table else "embedding"
    if any(_is_attention(module) for module in modules):
        return None  # attention outside the list of blocks: the list found is not what it was taken for
    return "other" if isinstance(modules[-1], _LINEAR) else None


def is_norm(module: nn.Module) -> bool:
    """Whether it is a norm; Llama and T5 bring their own classes of RMS norm."""
    return isinstance(module, (nn.LayerNorm, nn.RMSNorm)) or type(module).__name__.endswith("Norm")


def _is_attention(module: nn.Module) -> bool:
    return "attention" in type(module).__name__.lower()
