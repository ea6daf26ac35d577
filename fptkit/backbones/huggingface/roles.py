"""The role of every parameter of a model from transformers, derived from the classes of its modules.

Architectures name their parameters differently but have the same structure: a list of blocks, and in each block a
module that mixes tokens, norms and linear maps. What mixes tokens has the role ``attention``, also where it is a
state-space model, a linear recurrence or a convolution, with all its parameters: decays, time steps, gates, kernels.
Norms have the role ``norm`` wherever they are. Weights of residual connections have the role ``other``. A parameter
that fits none of these rules is an error; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn
from transformers.pytorch_utils import Conv1D

from fptkit.backbones.grid import GridBias
from fptkit.errors import FreezingError, UsageError, nearest
from fptkit.interfaces import ParameterRole, Role

_KINDS = re.compile(
    r"(?P<attention>attention|attn|mla|mamba|mixer|lstm|delta_?net|short_?conv|convolution|rg_?lru|recurrent|fourier)|"
    r"(?P<feed_forward>mlp|feed_?forward|ffn|expert|moe)|"
    r"(?P<other>residual|hyper_?(?:connection|head)|alt_?up)",
    re.IGNORECASE,
)
"""Parts of class names that say what a module is for. The last one counts: they begin with the name of the model, as
``xLSTMFeedForward`` and ``Qwen2MoeAttention`` do."""

_SCALE = re.compile(r"lambda_?\d|gamma_?\d?")
"""Names of the scales that some blocks apply to the output of attention and feed-forward."""

_ROLES_OF_KINDS: tuple[Role, ...] = ("attention", "feed_forward", "other")
"""The groups of `_KINDS`."""

_CONTAINER = re.compile(r"(En|De)coderLayer$")
"""Class names of blocks within blocks: ``Zamba2AttentionDecoderLayer`` has attention and feed-forward."""

_NORM = re.compile(r"Norm(Gated|1P)?$")
"""Class names of norms: Llama and T5 have their own, state-space models gated ones; Nemotron's adds 1 to its scale."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_LINEAR = (nn.Linear, Conv1D, *_CONVOLUTIONS)


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
    """Return the name of the list of blocks: the ``ModuleList`` with the most parameters, the outermost if equal, among
    those whose modules mix tokens, if there are any.

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
    mixing = [name for name, module in lists.items() if any(_kind(part) == "attention" for part in module.modules())]
    return max(mixing or lists, key=lambda name: sum(parameter.numel() for parameter in lists[name].parameters()))


@dataclass(frozen=True)
class RoleRules:
    """What the roles of a model's parameters follow from, beside the classes of its modules.

    Args:
        position_tables: names of the embeddings outside the blocks that hold positions; others get the role
            ``embedding``.
        known: roles of parameters of this type of model, by pattern of their names; the first that matches counts.
        given: the same from the recipe; these come first, and each pattern must match.
    """

    position_tables: frozenset[str] = frozenset()
    known: Mapping[str, Role] = field(default_factory=dict)
    given: Mapping[str, Role] = field(default_factory=dict)

    def named(self, name: str) -> Role | None:
        """The role of a parameter by its name; None if no pattern matches."""
        patterns = (*self.given.items(), *self.known.items())
        return next((role for pattern, role in patterns if fnmatchcase(name, pattern)), None)


def find_roles(model: nn.Module, blocks: Sequence[str], rules: RoleRules) -> dict[str, ParameterRole]:
    """Return the role of every parameter.

    Args:
        model: model without word embedding and pooler.
        blocks: name of its list of blocks; several, if the parts of a block are in lists of their own.
        rules: what the roles follow from beside the classes of modules.

    Raises:
        FreezingError: the role of some parameters is unknown; the message names them and the classes of their modules.
        UsageError: a pattern of the recipe matches no parameter.
    """
    roles: dict[str, ParameterRole] = {}
    left_over: list[str] = []
    for owner in _owners(model, blocks):
        table = owner.name.rpartition(".")[0] in rules.position_tables
        by_class = _role_in_block(owner) if owner.block is not None else _role_outside(owner.modules, table)
        role = rules.named(owner.name) or by_class
        if role is None:
            left_over.append(f"{owner.name} (in {type(owner.modules[-1]).__name__})")
        else:
            roles[owner.name] = ParameterRole(role, owner.block)
    _check_given(rules.given, [*roles, *(text.partition(" ")[0] for text in left_over)])
    if left_over:
        ending = left_over[0].partition(" ")[0].rpartition(".")[2]
        raise FreezingError(
            f"{type(model).__name__}: the role of {len(left_over)} parameters is unknown, since their modules are "
            f"not a norm, an embedding, attention or a linear map of a block: {', '.join(left_over)}. Set them by "
            f"patterns of these names, such as backbone.roles: {{'*.{ending}': attention}}, or use another model"
        )
    return roles


def _check_given(given: Mapping[str, Role], names: list[str]) -> None:
    """Check that each pattern of the recipe matches a parameter.

    Raises:
        UsageError: one does not; the message has names that are similar.
    """
    for pattern in given:
        if any(fnmatchcase(name, pattern) for name in names):
            continue
        plain = pattern.strip("*.")
        near = [name for name in names if plain and plain.lower() in name.lower()][:3]
        similar = nearest(pattern, names) or nearest(plain, {name.rpartition(".")[2] for name in names})
        raise UsageError(
            f"backbone.roles: no parameter has a name like '{pattern}'; the pattern must match the complete name, * "
            f"stands for any text. Names are {', '.join(near or ([similar] if similar else names[:3]))}"
        )


def _owners(model: nn.Module, blocks: Sequence[str]) -> Iterator[Owner]:
    """Every parameter with the modules that contain it, except those that contain the block."""
    for name, _ in model.named_parameters():
        parts = name.split(".")[:-1]
        path = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
        listed = next((place for place in blocks if name.startswith(f"{place}.")), None)
        if listed is not None:
            depth = listed.count(".") + 1
            # The owner of the block's own tensors is the block. What several lists hold are parts of blocks.
            start = depth if len(blocks) > 1 or len(path) == depth + 1 else depth + 1
            yield Owner(name, tuple(model.get_submodule(place) for place in path[start:]), int(parts[depth]))
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
    # From the outside in: attention may have experts of its own, and some models nest its output projection deeper.
    kind = next((kind for module in modules if (kind := _kind(module))), None)
    return kind or ("feed_forward" if isinstance(modules[-1], _LINEAR) else None)


def _role_outside(modules: tuple[nn.Module, ...], position_table: bool) -> Role | None:
    if is_norm(modules[-1]):
        return "norm"
    if isinstance(modules[-1], nn.Embedding):
        return "position" if position_table else "embedding"
    kinds = {_kind(module) for module in modules if not isinstance(module, _CONVOLUTIONS)}
    if "attention" in kinds:
        return None  # attention outside the list of blocks: the wrong list was found
    if isinstance(modules[-1], GridBias):
        return "position"
    linear = any(isinstance(module, _LINEAR) for module in modules)  # torch wraps normed weights
    return "other" if "other" in kinds or linear else None


def is_norm(module: nn.Module) -> bool:
    """True if a module is a norm, also one of a class of its model."""
    kinds = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    return isinstance(module, kinds) or bool(_NORM.search(type(module).__name__))


def _kind(module: nn.Module) -> Role | None:
    """What a module of a block is for, by the name of its class; None if the name does not say it."""
    if isinstance(module, _CONVOLUTIONS):
        return "attention" if any(size > 1 for size in module.kernel_size) else None  # it mixes neighbours
    name = type(module).__name__
    if is_norm(module) or _CONTAINER.search(name):
        return None
    found = list(_KINDS.finditer(name))
    if not found:
        return None
    return next(role for role in _ROLES_OF_KINDS if found[-1][role] is not None)
