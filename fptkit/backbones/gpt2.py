"""GPT-2, driven by token vectors instead of word ids.

Why not ``transformers.GPT2Model``: here frozen weights are bfloat16 and layer norms float32, only the tokens that are
read out pass the last block, and a causal model needs no mask for right padding. Parameters have the names and layouts
of the published checkpoints; a test compares this forward pass with ``GPT2Model`` with the same weights.

Source: Radford et al. 2019; huggingface/transformers, ``models/gpt2/modeling_gpt2.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit.backbones.options import Gpt2Sizes
from fptkit.errors import ShapeError
from fptkit.interfaces import Backbone, ParameterRole, Role, keep_tokens
from fptkit.numerics.attention import attend, attend_packed
from fptkit.numerics.ops import add_dropped, dropout, gelu, norm_branch


class Projection(nn.Module):
    """A linear map with its weight stored as (in, out), as in GPT-2 checkpoints."""

    weight_is_transposed = True
    """Read by `fptkit.numerics.eight_bit`."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_in, width_out))
        self.bias = nn.Parameter(torch.empty(width_out))

    def forward(self, hidden: Tensor) -> Tensor:
        """Shapes: hidden (..., in) -> (..., out)."""
        return functional.linear(hidden, self.weight.t(), self.bias)

    def part(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        """Compute only the outputs from ``start`` up to ``stop``.

        Shapes: hidden (..., in) -> (..., stop - start).
        """
        return functional.linear(hidden, self.weight[:, start:stop].t(), self.bias[start:stop])


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, sizes: Gpt2Sizes, dropout: float) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.dropout = dropout
        self.c_attn = Projection(sizes.width, 3 * sizes.width)
        self.c_proj = Projection(sizes.width, sizes.width)

    def forward(self, hidden: Tensor, keep: Tensor | None) -> Tensor:
        """Shapes: hidden (B, T, D), keep (B, R) or None -> (B, T, D) or (B, R, D)."""
        width = hidden.shape[-1]
        dropout = self.dropout if self.training else 0.0
        if keep is None:
            return self.c_proj(attend_packed(self.c_attn(hidden), self.heads, dropout=dropout))
        query = self.c_attn.part(keep_tokens(hidden, keep), 0, width)
        key, value = self.c_attn.part(hidden, width, 3 * width).split(width, dim=-1)
        # A token that is read out sees itself and earlier tokens: (B, 1, R, T).
        mask = (torch.arange(hidden.shape[1], device=hidden.device) <= keep[:, :, None])[:, None]
        mixed = attend(
            self._split_heads(query), self._split_heads(key), self._split_heads(value), mask, dropout=dropout
        )
        return self.c_proj(mixed.transpose(1, 2).flatten(2))

    def _split_heads(self, hidden: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)."""
        return hidden.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear maps with the tanh approximation of GELU between them."""

    def __init__(self, sizes: Gpt2Sizes) -> None:
        super().__init__()
        self.c_fc = Projection(sizes.width, 4 * sizes.width)
        self.c_proj = Projection(4 * sizes.width, sizes.width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Shapes: hidden (..., D) -> (..., D)."""
        return self.c_proj(gelu(self.c_fc(hidden)))


class Block(nn.Module):
    """One block: attention and feed-forward, each after a layer norm and added to the residual stream."""

    def __init__(self, sizes: Gpt2Sizes, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.ln_1 = nn.LayerNorm(sizes.width, eps=1e-5)
        self.attn = Attention(sizes, attention_dropout)
        self.ln_2 = nn.LayerNorm(sizes.width, eps=1e-5)
        self.mlp = FeedForward(sizes)

    def forward(self, hidden: Tensor, keep: Tensor | None = None) -> Tensor:
        """Shapes: hidden (B, T, D), keep (B, R) or None -> (B, T, D) or (B, R, D)."""
        normed, hidden = norm_branch(self.ln_1, hidden)
        hidden = add_dropped(keep_tokens(hidden, keep), self.attn(normed, keep), self.dropout, self.training)
        normed, hidden = norm_branch(self.ln_2, hidden)
        return add_dropped(hidden, self.mlp(normed), self.dropout, self.training)


class Gpt2Backbone(Backbone):
    """The blocks, norms and position table of GPT-2, without its word embedding.

    Args:
        sizes: sizes of the model.
        dropout: dropout probability of the embedding and of each block's two outputs, in training.
        attention_dropout: dropout probability of attention weights; above 0, most devices cannot use fused attention.
    """

    causal = True

    def __init__(self, sizes: Gpt2Sizes, *, dropout: float = 0.1, attention_dropout: float = 0.0) -> None:
        super().__init__()
        self.sizes = sizes
        self.width = sizes.width
        self.max_positions = sizes.positions
        self.blocks = sizes.blocks
        self.dropout = dropout
        self.wpe = nn.Embedding(sizes.positions, sizes.width)
        self.h = nn.ModuleList(Block(sizes, dropout, attention_dropout) for _ in range(sizes.blocks))
        self.ln_f = nn.LayerNorm(sizes.width, eps=1e-5)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """See `Backbone.forward`. ``lengths`` has no effect: no token sees the padding to its right.

        Raises:
            ShapeError: more tokens than positions.
        """
        count = tokens.shape[1]
        if count > self.wpe.num_embeddings:
            raise ShapeError(f"{count} tokens do not fit a position table of {self.wpe.num_embeddings}")
        hidden = dropout(tokens + self.wpe.weight[:count], self.dropout, self.training)
        for block in self.h[:-1]:
            hidden = block(hidden)
        # If few tokens are read out, only they pass the last block; its keys and values still come from all tokens.
        few = keep is not None and 2 * keep.shape[1] <= count
        hidden = self.h[-1](hidden, keep if few else None)
        return self.ln_f(hidden if few else keep_tokens(hidden, keep))

    def block_modules(self) -> Sequence[nn.Module]:
        """See `Backbone.block_modules`."""
        return list(self.h)

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """See `Backbone.parameter_roles`; the role follows from the class of the owning module."""
        return dict(self._roles(self, "", "other", None))

    def _roles(
        self, module: nn.Module, prefix: str, role: Role, block: int | None
    ) -> Iterator[tuple[str, ParameterRole]]:
        for kind, its_role in _ROLE_OF_MODULE:
            if isinstance(module, kind):
                role = its_role
        for name, _ in module.named_parameters(recurse=False):
            yield prefix + name, ParameterRole(role, block)
        for name, child in module.named_children():
            inside = int(name) if isinstance(module, nn.ModuleList) else block
            yield from self._roles(child, f"{prefix}{name}.", role, inside)


_ROLE_OF_MODULE: tuple[tuple[type[nn.Module], Role], ...] = (
    (nn.Embedding, "position"),
    (Attention, "attention"),
    (FeedForward, "feed_forward"),
    (nn.LayerNorm, "norm"),
)
