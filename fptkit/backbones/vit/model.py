"""A vision transformer of timm, driven by token vectors instead of an image.

Patch embedding, class token, position table and head of the model are left out; its blocks and final norm stay, with
timm's parameter names, and a position table of the task's length is put before them. Blocks of the common kind are run
by code of our own over timm's modules, since only tokens that are read out need pass the last block, and processors
multiply attention in bfloat16 faster by explicit products; other kinds are called as they are. A test holds both
against timm's own forward with the same weights.

Source: Dosovitskiy et al. 2021; huggingface/pytorch-image-models, ``timm/models/vision_transformer.py``; what is left
out: kzl/universal-computation, ``fpt.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit.errors import DataError, ShapeError
from fptkit.interfaces import Backbone, ParameterRole, Role, keep_tokens
from fptkit.numerics.attention import attend
from fptkit.numerics.eight_bit import linear_rows

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer


@dataclass(frozen=True)
class VitArchitecture:
    """What a vision transformer is made of.

    Args:
        name: timm's name, or another; then ``arguments`` hold at least ``embed_dim``, ``depth`` and ``num_heads``.
        arguments: of timm's ``VisionTransformer``, where they differ from what the name means.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


class PositionTable(nn.Module):
    """One trainable row for every position.

    Args:
        rows: (N, D) what they start as.
    """

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(rows)


class VitAttention(nn.Module):
    """Self-attention in which every token sees all, over the maps and norms of timm's ``Attention``."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.dropout: float = attention.attn_drop.p
        self.qkv: nn.Linear = attention.qkv
        self.q_norm: nn.Module = attention.q_norm
        self.k_norm: nn.Module = attention.k_norm
        self.norm: nn.Module = attention.norm
        self.proj: nn.Module = attention.proj
        self.proj_drop: nn.Module = attention.proj_drop

    def forward(self, hidden: Tensor, mask: Tensor | None, keep: Tensor | None) -> Tensor:
        """Shapes: hidden (B, T, D), mask (B, 1, 1, T), keep (B, R) or None -> (B, T, D) or (B, R, D)."""
        if keep is None:
            query, key, value = self.qkv(hidden).chunk(3, dim=-1)
        else:
            query = self._part(keep_tokens(hidden, keep), 0, 1)
            key, value = self._part(hidden, 1, 3).chunk(2, dim=-1)
        value = self._split_heads(value)
        # A norm in float32 between maps in bfloat16 must not leave two number formats behind.
        query = self.q_norm(self._split_heads(query)).to(value.dtype)
        key = self.k_norm(self._split_heads(key)).to(value.dtype)
        mixed = attend(query, key, value, mask, dropout=self.dropout if self.training else 0.0, causal=False)
        projected: Tensor = self.proj_drop(self.proj(self.norm(mixed.transpose(1, 2).flatten(2))))
        return projected

    def _part(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        """Of queries, keys and values only those from ``start`` to ``stop``."""
        width = self.qkv.out_features // 3
        rows = slice(start * width, stop * width)
        return linear_rows(self.qkv, hidden, rows)

    def _split_heads(self, hidden: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)."""
        return hidden.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class VitBlock(nn.Module):
    """One block of the common kind: attention and feed-forward, each after a norm and added to the stream."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1: nn.Module = block.norm1
        self.attn = VitAttention(block.attn)
        self.ls1: nn.Module = block.ls1
        self.norm2: nn.Module = block.norm2
        self.mlp: nn.Module = block.mlp
        self.ls2: nn.Module = block.ls2

    def forward(self, hidden: Tensor, mask: Tensor | None, keep: Tensor | None = None) -> Tensor:
        """Shapes: hidden (B, T, D), mask (B, 1, 1, T), keep (B, R) or None -> (B, T, D) or (B, R, D)."""
        attended = self.ls1(self.attn(self.norm1(hidden), mask, keep))
        hidden = keep_tokens(hidden, keep) + attended
        fed: Tensor = self.ls2(self.mlp(self.norm2(hidden)))
        return hidden + fed


class OtherBlock(nn.Module):
    """A block of another kind, called as timm has it."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, hidden: Tensor, mask: Tensor | None, keep: Tensor | None = None) -> Tensor:
        """As `VitBlock`."""
        return keep_tokens(self.block(hidden, attn_mask=mask), keep)


class VitBackbone(Backbone):
    """The blocks and norms of a vision transformer, with a position table of its own and without a class token.

    Args:
        model: timm's model; its blocks and norms are taken over, the rest is dropped. Where it pools before the final
            norm, that norm is applied to each token.
        architecture: what ``model`` was made from.
        rows: (N, D) start of the position table.
        dropout: probability of dropping a number of the embedding, in training; the blocks bring their own.

    Raises:
        DataError: a parameter of the blocks has no role that freezing policies know.
    """

    causal = False

    def __init__(
        self, model: VisionTransformer, architecture: VitArchitecture, rows: Tensor, *, dropout: float
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.width = model.embed_dim
        self.dropout = dropout
        self.positions = PositionTable(rows)
        self.norm_pre: nn.Module = model.norm_pre
        self.layers = nn.ModuleList(_our_block(block) for block in model.blocks)
        pools_first = not isinstance(model.fc_norm, nn.Identity)
        self.norm: nn.Module = model.fc_norm if pools_first else model.norm
        self.final_norm = "fc_norm" if pools_first else "norm"
        self.blocks = len(self.layers)
        self.max_positions = len(rows)
        for module in self.modules():
            if isinstance(module, _timm_kinds("RmsNorm", "SimpleNorm")):
                module.register_forward_pre_hook(_in_format_of_weight)
        self.parameter_roles()

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """See `Backbone.forward`. Tokens behind ``lengths`` are seen by none.

        Raises:
            ShapeError: more tokens than positions.
        """
        count = tokens.shape[1]
        if count > len(self.positions.weight):
            raise ShapeError(f"{count} tokens do not fit a position table of {len(self.positions.weight)}")
        mask = None
        if lengths is not None and bool((lengths < count).any()):
            mask = (torch.arange(count, device=tokens.device) < lengths[:, None])[:, None, None]  # (B, 1, 1, T)
        hidden = functional.dropout(tokens + self.positions.weight[:count], self.dropout, self.training)
        hidden = self.norm_pre(hidden)
        for block in self.layers[:-1]:
            hidden = block(hidden, mask)
        # Reading few tokens, only they pass the last block; its keys and values still come from all.
        few = keep is not None and 2 * keep.shape[1] <= count
        hidden = self.layers[-1](hidden, mask, keep if few else None)
        normed: Tensor = self.norm(hidden if few else keep_tokens(hidden, keep))
        return normed

    def block_modules(self) -> Sequence[nn.Module]:
        """See `Backbone.block_modules`."""
        return list(self.layers)

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """See `Backbone.parameter_roles`; the role follows from the kind of the owning module.

        The scales that some models put behind attention and feed-forward (``LayerScale``) are ``other``: they normalise
        nothing, and neither the paper nor its code trains them.
        """
        roles: dict[str, ParameterRole] = {}
        without: list[str] = []
        for name, role, block in _roles(self, _role_kinds()):
            if role is None:
                without.append(name)
            else:
                roles[name] = ParameterRole(role, block)
        if without:
            raise DataError(
                f"architecture {self.architecture.name}: {len(without)} parameters of its blocks are neither attention "
                f"nor feed-forward nor norm, such as {without[0]}; a block that mixes them in one matrix cannot be "
                "frozen in parts"
            )
        return roles

    def timm_name(self, name: str) -> str | None:
        """timm's name of one of the parameters; None for the position table, which is not the model's."""
        first, _, rest = name.partition(".")
        if first == "layers":
            index, _, inner = rest.partition(".")
            return f"blocks.{index}.{inner.removeprefix('block.')}"
        return {"norm": f"{self.final_norm}.{rest}", "norm_pre": name}.get(first)


def _our_block(block: nn.Module) -> nn.Module:
    from timm.layers.attention import Attention
    from timm.models.vision_transformer import Block

    # A gate on the attention's output would be lost: left to timm.
    common = type(block) is Block and type(block.attn) is Attention and getattr(block.attn, "gate", None) is None
    return VitBlock(block) if common else OtherBlock(block)


def _in_format_of_weight(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """torch's root-mean-square norm is slow, and warns, where numbers and weight differ in format (layer norm is not).

    So it is between maps in bfloat16.
    """
    weight = getattr(module, "weight", None)
    return inputs if weight is None else (inputs[0].to(weight.dtype), *inputs[1:])


RoleKinds = list[tuple[tuple[type[nn.Module], ...], Role]]


def _timm_kinds(*names: str) -> tuple[type[nn.Module], ...]:
    """Kinds of modules of timm, by name, since not every version has each of them."""
    import timm.layers

    found = (getattr(timm.layers, name, None) for name in names)
    return tuple(kind for kind in found if isinstance(kind, type))


def _role_kinds() -> RoleKinds:
    """Kinds of modules and the role of their parameters."""
    return [
        ((PositionTable,), "position"),
        ((VitAttention, *_timm_kinds("Attention", "DiffAttention")), "attention"),
        (_timm_kinds("Mlp", "GluMlp", "SwiGLU"), "feed_forward"),
        ((nn.LayerNorm, *_timm_kinds("RmsNorm", "SimpleNorm")), "norm"),
        (_timm_kinds("LayerScale"), "other"),
    ]


def _roles(
    module: nn.Module, kinds: RoleKinds, prefix: str = "", role: Role | None = None, block: int | None = None
) -> Iterator[tuple[str, Role | None, int | None]]:
    for kind, its_role in kinds:
        if isinstance(module, kind):
            role = its_role
    for name, _ in module.named_parameters(recurse=False):
        yield prefix + name, role, block
    for name, child in module.named_children():
        inside = int(name) if prefix == "layers." else block
        yield from _roles(child, kinds, f"{prefix}{name}.", role, inside)
