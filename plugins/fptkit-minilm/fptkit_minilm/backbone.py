"""BERT's encoder at MiniLM's size, with token vectors instead of words as input.

Unlike ``transformers.BertModel``, it computes the last block only for the tokens that are read out. A test compares the
forward pass with ``BertModel`` with the same weights.

Source: Devlin et al. 2019, arXiv 1810.04805; huggingface/transformers, ``models/bert/modeling_bert.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit import Backbone, ParameterRole, keep_tokens
from fptkit.errors import ShapeError

WIDTH, HEADS, BLOCKS, POSITIONS, INNER = 384, 12, 6, 512, 1536
NORM_EPSILON = 1e-12
"""Sizes of sentence-transformers/all-MiniLM-L6-v2, config.json."""


class Block(nn.Module):
    """Attention and feed-forward layer, each with a residual connection followed by a layer norm (post-norm).

    Args:
        dropout: dropout probability of both layers' outputs, in 0 ... 1.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.attention_output = nn.Linear(WIDTH, WIDTH)
        self.attention_norm = nn.LayerNorm(WIDTH, eps=NORM_EPSILON)
        self.expand = nn.Linear(WIDTH, INNER)
        self.contract = nn.Linear(INNER, WIDTH)
        self.feed_forward_norm = nn.LayerNorm(WIDTH, eps=NORM_EPSILON)

    def forward(self, hidden: Tensor, mask: Tensor | None, keep: Tensor | None = None) -> Tensor:
        """Run the block. Shapes: hidden (B, T, D), mask (B, 1, 1, T), keep (B, R) or None -> (B, T, D) or (B, R, D)."""
        looking = keep_tokens(hidden, keep)
        mixed = functional.scaled_dot_product_attention(
            _split_heads(self.query(looking)),
            _split_heads(self.key(hidden)),
            _split_heads(self.value(hidden)),
            attn_mask=mask,
        )
        attended = self.attention_output(mixed.transpose(1, 2).flatten(2))
        hidden = self.attention_norm(looking + functional.dropout(attended, self.dropout, self.training))
        further = self.contract(functional.gelu(self.expand(hidden)))
        normed: Tensor = self.feed_forward_norm(hidden + functional.dropout(further, self.dropout, self.training))
        return normed


def _split_heads(hidden: Tensor) -> Tensor:
    """Split the width into heads. Shapes: (B, T, D) -> (B, heads, T, D / heads)."""
    return hidden.unflatten(-1, (HEADS, -1)).transpose(1, 2)


_ROLES: Mapping[str, ParameterRole] = {
    "position": ParameterRole("position"),
    "token_type": ParameterRole("embedding"),
    "embedding_norm_layer": ParameterRole("norm"),
}


class MiniLm(Backbone):
    """MiniLM's blocks, norms and position table, without word embeddings and pooler. Attention is bidirectional.

    Args:
        dropout: dropout probability of the embedding and of each block's two outputs, in 0 ... 1.
    """

    causal = False

    def __init__(self, *, dropout: float) -> None:
        super().__init__()
        self.width, self.blocks, self.max_positions = WIDTH, BLOCKS, POSITIONS
        self.dropout = dropout
        self.position = nn.Parameter(torch.empty(POSITIONS, WIDTH))
        # BERT adds an embedding of each token's segment; here there is a single segment.
        self.token_type = nn.Parameter(torch.empty(1, WIDTH))
        self.embedding_norm_layer = nn.LayerNorm(WIDTH, eps=NORM_EPSILON)
        self.block_list = nn.ModuleList(Block(dropout) for _ in range(BLOCKS))

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """See `fptkit.Backbone.forward`.

        Raises:
            ShapeError: there are more tokens than positions.
        """
        count = tokens.shape[1]
        if count > len(self.position):
            raise ShapeError(f"{count} tokens exceed the position table of {len(self.position)}")
        hidden = self.embedding_norm_layer(tokens + self.position[:count] + self.token_type)
        hidden = functional.dropout(hidden, self.dropout, self.training)
        mask = None
        if lengths is not None:
            mask = (torch.arange(count, device=tokens.device) < lengths[:, None])[:, None, None]
        for block in self.block_list[:-1]:
            hidden = block(hidden, mask)
        # If few tokens are read out, the last block computes only these; its keys and values still come from all.
        few = keep is not None and 2 * keep.shape[1] <= count
        hidden = self.block_list[-1](hidden, mask, keep if few else None)
        return hidden if few else keep_tokens(hidden, keep)

    def block_modules(self) -> Sequence[nn.Module]:
        """See `fptkit.Backbone.block_modules`."""
        return list(self.block_list)

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """See `fptkit.Backbone.parameter_roles`; the token type is an embedding, which the policy fpt freezes."""
        return {name: self._role(name) for name, _ in self.named_parameters()}

    def _role(self, name: str) -> ParameterRole:
        first, *rest = name.split(".")
        if first != "block_list":
            return _ROLES[first]
        block, part = int(rest[0]), rest[1]
        if part.endswith("norm"):
            return ParameterRole("norm", block)
        return ParameterRole("feed_forward" if part in ("expand", "contract") else "attention", block)
