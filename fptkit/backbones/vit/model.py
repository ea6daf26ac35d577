"""A vision transformer of timm, driven by token vectors instead of an image.

Patch embedding, class token, position table and head of the model are dropped. Its blocks and final norm are kept, with
timm's parameter names, and get a position table of the task's length. Blocks of timm's standard class are run by code
here over timm's modules: only the tokens that are read out need to pass the last block, and CPUs compute bfloat16
attention faster by explicit products. Other blocks are called unchanged; `fptkit.backbones.vit.kinds` says what they
get. Blocks are never skipped at random (``drop_path``). A test compares both with timm's own forward pass with the same
weights.

Source: Dosovitskiy et al. 2021; huggingface/pytorch-image-models, ``timm/models/vision_transformer.py``; what is left
out: kzl/universal-computation, ``fpt.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit.backbones.apart import run_apart
from fptkit.backbones.grid import GridBias, square_side
from fptkit.backbones.options import PositionOptions
from fptkit.backbones.vit.kinds import Kind, kind_of
from fptkit.backbones.vit.positions import DistanceMlp, grid_biases, rotary_angles, take_biases
from fptkit.errors import DataError, ShapeError
from fptkit.interfaces import Backbone, ParameterRole, Role, keep_tokens
from fptkit.numerics.attention import attend
from fptkit.numerics.eight_bit import linear_rows
from fptkit.numerics.tracing import may_read


@dataclass(frozen=True)
class VitArchitecture:
    """The architecture of a vision transformer.

    Args:
        name: a name that timm knows, or another; then ``arguments`` must have ``embed_dim``, ``depth`` and
            ``num_heads``.
        arguments: arguments of timm's ``VisionTransformer`` that differ from those of the named architecture.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


class PositionTable(nn.Module):
    """A position table with one trainable row per position.

    Args:
        rows: (N, D), initial values.
    """

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(rows)


class VitAttention(nn.Module):
    """Self-attention between all tokens, with the maps and norms of timm's ``Attention``."""

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
        # A float32 norm between bfloat16 maps must not lead to mixed dtypes.
        query = self.q_norm(self._split_heads(query)).to(value.dtype)
        key = self.k_norm(self._split_heads(key)).to(value.dtype)
        mixed = attend(query, key, value, mask, dropout=self.dropout if self.training else 0.0, causal=False)
        projected: Tensor = self.proj_drop(self.proj(self.norm(mixed.transpose(1, 2).flatten(2))))
        return projected

    def _part(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        """Compute only parts ``start`` to ``stop`` of queries (0), keys (1) and values (2)."""
        width = self.qkv.out_features // 3
        rows = slice(start * width, stop * width)
        return linear_rows(self.qkv, hidden, rows)

    def _split_heads(self, hidden: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)."""
        return hidden.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class VitBlock(nn.Module):
    """A block of timm's standard class: attention and feed-forward, each with a norm and a residual connection."""

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
    """A block of another class, called unchanged.

    Args:
        block: block of timm.
        kind: what it gets besides tokens.
    """

    def __init__(self, block: nn.Module, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.bias = take_biases(block, kind.own) if kind.own else None
        self.block = block
        modules: list[Any] = list(block.modules())
        for module in modules:
            if hasattr(module, "num_prefix_tokens"):
                module.num_prefix_tokens = 0  # tokens before the patches, which rotary positions would leave out
            if "DropPath" in type(module).__name__:
                module.drop_prob = 0.0

    def forward(
        self, hidden: Tensor, mask: Tensor | None, keep: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Run the block.

        Shapes: as for `VitBlock`.

        Args:
            hidden: token vectors.
            mask: true for real tokens.
            keep: tokens to return.
            positions: rotary angles, or the biases that all blocks share.
        """
        given: dict[str, Any] = {} if self.kind.apart else {"attn_mask": mask}
        if self.kind.given == "rope" and positions is not None:
            given["rope"] = positions
        if self.kind.given == "bias":
            own = positions if self.bias is None else self.bias(hidden.shape[1])
            given = {self.kind.argument: _with_mask(own, mask, hidden)}
        return keep_tokens(self.block(hidden, **given), keep)


def _with_mask(biases: Tensor | None, mask: Tensor | None, hidden: Tensor) -> Tensor | None:
    """Biases (1, H, T, T) with the mask (B, 1, 1, T) added to them."""
    if mask is None:
        return biases
    added = torch.zeros(mask.shape, dtype=hidden.dtype, device=hidden.device)
    added = added.masked_fill(~mask, torch.finfo(hidden.dtype).min)
    return added.expand(-1, 1, hidden.shape[1], -1) if biases is None else biases + added


class VitBackbone(Backbone):
    """The blocks and norms of a vision transformer, with its own position table and without class token.

    Args:
        model: timm's model, of one of the `KINDS`; its blocks and norms are used, the rest is dropped. If it pools
            before the final norm, that norm is applied to each token.
        architecture: the architecture of ``model``.
        rows: (N, D), initial values of the position table.
        dropout: dropout probability of the embedding, in training; the blocks have their own.

    Attributes:
        drawn_with: seed of its random initialisation; None for loaded weights.
        side: side of the square grid that tokens are put into, if the model's positions are rows and columns.
        kept: indices of its blocks in timm's model.

    Raises:
        DataError: the role of a parameter of the blocks is unknown.
    """

    causal = False
    drawn_with: int | None = None

    def __init__(self, model: Any, architecture: VitArchitecture, rows: Tensor, *, dropout: float) -> None:
        super().__init__()
        self.architecture = architecture
        self.kind = kind_of(architecture.name)
        self.width: int = model.embed_dim
        self.dropout = dropout
        self.positions = PositionTable(rows)
        self.norm_pre: nn.Module = getattr(model, "norm_pre", nn.Identity())
        self.rope: nn.Module | None = getattr(model, "rope", None)
        shared = getattr(model, self.kind.shared, None) if self.kind.shared else None
        self.shared_bias = None if shared is None else grid_biases(shared)
        self.side: int | None = None
        self.layers = nn.ModuleList(_our_block(block, self.kind) for block in model.blocks)
        self.between, self.norm, self.final_norm = _final_norms(model)
        self.blocks = len(self.layers)
        self.kept: Sequence[int] = range(self.blocks)
        self.max_positions = len(rows)
        for module in self.modules():
            if isinstance(module, _timm_kinds("RmsNorm", "SimpleNorm")):
                module.register_forward_pre_hook(_in_format_of_weight)
        self.parameter_roles()

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """See `Backbone.forward`. No token sees the padding after ``lengths``.

        Raises:
            ShapeError: more tokens than positions.
        """
        count = tokens.shape[1]
        if count > len(self.positions.weight):
            raise ShapeError(f"{count} tokens do not fit a position table of {len(self.positions.weight)}")
        # Without padding no mask is needed; `Batch.to` looks for it before a batch is copied to an accelerator.
        if lengths is not None and may_read(lengths) and not bool((lengths < count).any()):
            lengths = None
        if self.kind.apart and lengths is not None:
            return keep_tokens(run_apart(self._run, tokens, lengths), keep)
        mask = None
        if lengths is not None:
            mask = (torch.arange(count, device=tokens.device) < lengths[:, None])[:, None, None]  # (B, 1, 1, T)
        return self._run(tokens, mask, keep)

    def _run(self, tokens: Tensor, mask: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        count = tokens.shape[1]
        hidden = functional.dropout(tokens + self.positions.weight[:count], self.dropout, self.training)
        hidden = self.norm_pre(hidden)
        given = self._given(count)
        for block, further in zip(self.layers[:-1], given, strict=False):
            hidden = block(hidden, mask, **further)
        # If few tokens are read out, only they pass the last block; its keys and values still come from all tokens.
        few = keep is not None and 2 * keep.shape[1] <= count
        hidden = self.layers[-1](hidden, mask, keep if few else None, **given[-1])
        normed: Tensor = self.norm(self.between(hidden if few else keep_tokens(hidden, keep)))
        return normed

    def _given(self, tokens: int) -> list[dict[str, Tensor]]:
        """For each block what all blocks share: rotary angles or biases."""
        if self.rope is not None:
            angles = rotary_angles(self.rope, tokens, self.side or square_side(tokens))
            return [{"positions": angles[index] if angles.ndim == 4 else angles} for index in self.kept]
        if self.shared_bias is not None:
            return [{"positions": self.shared_bias(tokens)}] * self.blocks
        return [{}] * self.blocks

    @property
    def has_grid(self) -> bool:
        """True if the model's positions are rows and columns."""
        return self.rope is not None or any(isinstance(module, GridBias | DistanceMlp) for module in self.modules())

    def fit_grid(self, tokens: int, options: PositionOptions) -> str:
        """Put tokens into the grid of the task's longest example; return a note that says so.

        Args:
            tokens: T, tokens of the task's longest example.
            options: the recipe's options; see `GridBias.fit`.

        Raises:
            ShapeError: see `GridBias.fit`.
        """
        self.side = square_side(tokens)
        for module in self.modules():
            if isinstance(module, GridBias):
                module.fit(tokens, options)
            if isinstance(module, DistanceMlp):
                module.side = self.side
        return f"the model's positions are rows and columns: tokens fill a grid of {self.side} x {self.side}"

    def block_modules(self) -> Sequence[nn.Module]:
        """See `Backbone.block_modules`."""
        return list(self.layers)

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """See `Backbone.parameter_roles`; the role follows from the class of the owning module.

        The scales that some models have after attention and feed-forward (``LayerScale``, ``gamma``) get the role
        ``other``: they
        do not normalise, and neither the paper nor its code trains them.

        Raises:
            DataError: the role of a parameter of the blocks is unknown.
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
                f"architecture {self.architecture.name}: {len(without)} parameters of its blocks are not attention, "
                f"feed-forward or norm, such as {without[0]}; a block that mixes them in one matrix cannot be frozen "
                "in parts. Use another architecture"
            )
        return roles

    def timm_name(self, name: str) -> str | None:
        """Return timm's name of a parameter; None for the position table, which is not part of timm's model."""
        first, _, rest = name.partition(".")
        if first == "layers":
            index, _, inner = rest.partition(".")
            if inner.startswith("bias."):
                owner = self.kind.own.removesuffix(f".{BIAS_TABLE}")
                return f"blocks.{index}.{owner}.{inner.removeprefix('bias.').replace('table', BIAS_TABLE)}"
            return f"blocks.{index}.{inner.removeprefix('block.')}"
        if first == "shared_bias":
            return f"{self.kind.shared}.{rest.replace('table', BIAS_TABLE)}"
        known = {"norm": f"{self.final_norm}.{rest}", "between": f"norm.{rest}", "norm_pre": name, "rope": name}
        return known.get(first)


BIAS_TABLE = "relative_position_bias_table"


def _final_norms(model: Any) -> tuple[nn.Module, nn.Module, str]:
    """The norms after the blocks, and timm's name of the last; ``fc_norm`` follows the pooling of timm's models."""
    after = getattr(model, "fc_norm", nn.Identity())
    norm: nn.Module = getattr(model, "norm", nn.Identity())
    if isinstance(after, nn.Identity):
        return nn.Identity(), norm, "norm"
    return norm, after, "fc_norm"


def _our_block(block: nn.Module, kind: Kind) -> nn.Module:
    from timm.layers.attention import Attention
    from timm.models.vision_transformer import Block

    # VitAttention has no gate on the attention's output, so blocks with a gate are run by timm.
    common = type(block) is Block and type(block.attn) is Attention and getattr(block.attn, "gate", None) is None
    return VitBlock(block) if common else OtherBlock(block, kind)


def _in_format_of_weight(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Cast inputs to the dtype of the weight: torch's RMS norm is slow, and warns, if they differ (layer norm is not).

    They differ if the norm is float32 and the maps around it bfloat16.
    """
    weight = getattr(module, "weight", None)
    return inputs if weight is None else (inputs[0].to(weight.dtype), *inputs[1:])


def _further_attention() -> tuple[type[nn.Module], ...]:
    """Attention that timm defines beside its models."""
    from timm.models import beit, cait, eva, vision_transformer_relpos

    return beit.Attention, cait.TalkingHeadAttn, eva.EvaAttention, vision_transformer_relpos.RelPosAttention


RoleKinds = list[tuple[tuple[type[nn.Module], ...], Role]]


def _timm_kinds(*names: str) -> tuple[type[nn.Module], ...]:
    """Module classes of timm, by name, since not every version has all of them."""
    import timm.layers

    found = (getattr(timm.layers, name, None) for name in names)
    return tuple(kind for kind in found if isinstance(kind, type))


def _role_kinds() -> RoleKinds:
    """Module classes and the role of their parameters."""
    return [
        ((PositionTable, GridBias, DistanceMlp), "position"),
        ((VitAttention, *_timm_kinds("Attention", "DiffAttention", "AttentionRope")), "attention"),
        (_further_attention(), "attention"),
        (_timm_kinds("Mlp", "GluMlp", "SwiGLU"), "feed_forward"),
        ((nn.LayerNorm, *_timm_kinds("RmsNorm", "RmsNormFp32", "SimpleNorm", "SimpleNormFp32")), "norm"),
        (_timm_kinds("LayerScale"), "other"),
    ]


def _roles(
    module: nn.Module, kinds: RoleKinds, prefix: str = "", role: Role | None = None, block: int | None = None
) -> Iterator[tuple[str, Role | None, int | None]]:
    for kind, its_role in kinds:
        if isinstance(module, kind) and role != "position":  # positions may be computed by a feed-forward
            role = its_role
    for name, _ in module.named_parameters(recurse=False):
        scale = role is None and name.startswith("gamma")
        yield prefix + name, "other" if scale else role, block
    for name, child in module.named_children():
        inside = int(name) if prefix == "layers." else block
        yield from _roles(child, kinds, f"{prefix}{name}.", "position" if name == "rope" else role, inside)
