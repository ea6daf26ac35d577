"""The role of every parameter of a model from transformers, derived from the classes of its modules.

Architectures name their parameters differently but have the same structure: a list of blocks, and in each block an
attention module, norms and linear maps. A parameter that fits none of these rules is an error; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from transformers.pytorch_utils import Conv1D

from fptkit.backbones.grid import GridBias
from fptkit.errors import FreezingError
from fptkit.interfaces import ParameterRole, Role

_FEED_FORWARD = re.compile(r"mlp|feed_?forward|ffn|expert|moe", re.IGNORECASE)
"""Class names of feed-forward modules that hold raw tensors, as mixtures of experts do."""

_MIXER = re.compile(r"ConvolutionModule")
"""Class names of modules that, like attention, combine tokens: the convolutions of a Conformer."""

_SCALE = re.compile(r"lambda_?\d|gamma_?\d?")
"""Names of the scales that some blocks apply to the output of attention and feed-forward."""

_LINEAR = (nn.Linear, Conv1D, nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class Owner:
    """A parameter and the modules that contain it.

    Args:
        name: name of the parameter.
        modules: from the outermost module inside the block (or model) to the one that owns the parameter.
        block: index of the block; None outside the blocks.
    """

    name: str
    modules: tuple[nn.Module, ...]
    block: int | None


def find_blocks(model: nn.Module) -> str:
    """Return the name of the list of blocks: the ``ModuleList`` with the most parameters, the outermost if equal.

    Raises:
        FreezingError: the model has no ``ModuleList``.
    """
    lists = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)
    }
    if not lists:
        raise FreezingError(
            f"{type(model).__name__} has no list of blocks, so its parameters' roles are unknown; use another model"
        )
    return max(lists, key=lambda name: sum(parameter.numel() for parameter in lists[name].parameters()))


def find_roles(model: nn.Module, blocks: str, position_tables: frozenset[str]) -> dict[str, ParameterRole]:
    """Return the role of every parameter.

    Args:
        model: model without word embedding and pooler.
        blocks: name of its list of blocks.
        position_tables: names of the embeddings outside the blocks that hold positions; others get the role
            ``embedding``.

    Raises:
        FreezingError: the role of some parameters is unknown; the message names them and the classes of their modules.
    """
    roles: dict[str, ParameterRole] = {}
    left_over: list[str] = []
    for owner in _owners(model, blocks):
        table = owner.name.rpartition(".")[0] in position_tables
        role = _role_in_block(owner) if owner.block is not None else _role_outside(owner.modules, table)
        if role is None:
            left_over.append(f"{owner.name} (in {type(owner.modules[-1]).__name__})")
        else:
            roles[owner.name] = ParameterRole(role, owner.block)
    if left_over:
        raise FreezingError(
            f"{type(model).__name__}: the role of {len(left_over)} parameters is unknown, since their modules are "
            f"not a norm, an embedding, attention or a linear map of a block: {', '.join(left_over)}. Use another model"
        )
    return roles


def _owners(model: nn.Module, blocks: str) -> Iterator[Owner]:
    """Every parameter with the modules that contain it, except those that contain the block."""
    for name, _ in model.named_parameters():
        parts = name.split(".")[:-1]
        path = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
        if name.startswith(f"{blocks}."):
            depth = blocks.count(".") + 1
            inside = [model.get_submodule(place) for place in path[depth + 1 :]]
            # The owner of the block's own tensors is the block.
            yield Owner(name, tuple(inside or [model.get_submodule(path[depth])]), int(parts[depth]))
        else:
            yield Owner(name, tuple(model.get_submodule(place) for place in path) or (model,), None)


def _role_in_block(owner: Owner) -> Role | None:
    modules = owner.modules
    if isinstance(modules[-1], GridBias):
        return "position"
    if _SCALE.fullmatch(owner.name.rpartition(".")[2]) and not is_norm(modules[-1]):
        return "other"  # it does not normalise
    if is_norm(modules[-1]):
        return "norm"
    if isinstance(modules[-1], nn.Embedding):
        return "position"  # an embedding in a block is of distances between tokens
    if any(_is_attention(module) or _MIXER.search(type(module).__name__) for module in modules):
        return "attention"  # including the output projection, which some models nest deeper
    if isinstance(modules[-1], _LINEAR) or any(_FEED_FORWARD.search(type(module).__name__) for module in modules):
        return "feed_forward"
    return None


def _role_outside(modules: tuple[nn.Module, ...], position_table: bool) -> Role | None:
    if is_norm(modules[-1]):
        return "norm"
    if isinstance(modules[-1], nn.Embedding):
        return "position" if position_table else "embedding"
    if any(_is_attention(module) for module in modules):
        return None  # attention outside the list of blocks: the wrong list was found
    if isinstance(modules[-1], GridBias):
        return "position"
    return "other" if any(isinstance(module, _LINEAR) for module in modules) else None  # torch wraps normed weights


def is_norm(module: nn.Module) -> bool:
    """True if a module is a norm; Llama and T5 have their own RMS norm classes."""
    kinds = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    return isinstance(module, kinds) or type(module).__name__.endswith("Norm")


def _is_attention(module: nn.Module) -> bool:
    return "attention" in type(module).__name__.lower()
