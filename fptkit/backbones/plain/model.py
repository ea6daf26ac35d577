"""The two controls without a pretrained model: no blocks at all, and one attention layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit.errors import ShapeError
from fptkit.interfaces import Backbone, ParameterRole, keep_tokens
from fptkit.numerics.attention import attend


class NoBackbone(Backbone):
    """No sequence model: each token goes to the head separately, after its position is added and a layer norm applied.

    It is declared as not causal, so that the default read-out is the mean of all tokens: the last token has seen no
    other.

    Args:
        width: D.
        rows: N, rows of the position table; 0: no positions.
        norm: end with a layer norm.
        dropout: dropout probability of the tokens, in training.
    """

    causal = False

    def __init__(self, width: int, rows: int, *, norm: bool = True, dropout: float = 0.1) -> None:
        super().__init__()
        self.width = width
        self.blocks = 0
        self.max_positions = rows or None
        self.dropout = dropout
        self.positions = nn.Embedding(rows, width) if rows else None
        self.norm = nn.LayerNorm(width) if norm else None

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """See `Backbone.forward`. ``lengths`` has no effect: no token sees another.

        Raises:
            ShapeError: more tokens than positions.
        """
        hidden = keep_tokens(_placed(tokens, self.positions), keep)
        hidden = functional.dropout(hidden, self.dropout, self.training)
        return hidden if self.norm is None else self.norm(hidden)

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """See `Backbone.parameter_roles`."""
        return {name: ParameterRole("norm" if "norm" in name else "position") for name, _ in self.named_parameters()}


class AttentionLayer(Backbone):
    """One multi-head self-attention layer, added to its input, then a layer norm.

    Args:
        width: D.
        rows: N, rows of the position table.
        heads: attention heads; divides ``width``.
        causal: a token sees itself and earlier tokens; false: it sees all real tokens.
        dropout: dropout probability of the tokens and of the attention's output, in training.
        attention_dropout: dropout probability of attention weights, in training.

    Source: Tan et al. 2024, section 3 (LLM2Attn).
    """

    blocks = 1

    def __init__(
        self,
        width: int,
        rows: int,
        *,
        heads: int,
        causal: bool = True,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.max_positions = rows
        self.heads = heads
        self.causal = causal
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.positions = nn.Embedding(rows, width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """See `Backbone.forward`. Only the tokens that are read out attend to others.

        Raises:
            ShapeError: more tokens than positions.
        """
        hidden = functional.dropout(_placed(tokens, self.positions), self.dropout, self.training)
        read = keep_tokens(hidden, keep)
        key, value = self.key_value(hidden).chunk(2, dim=-1)
        mixed = attend(
            self._split_heads(self.query(read)),
            self._split_heads(key),
            self._split_heads(value),
            self._mask(hidden, lengths, keep),
            dropout=self.attention_dropout if self.training else 0.0,
            causal=self.causal,
        )
        attended = self.output(mixed.transpose(1, 2).flatten(2))
        normed: Tensor = self.norm(read + functional.dropout(attended, self.dropout, self.training))
        return normed

    def _mask(self, hidden: Tensor, lengths: Tensor | None, keep: Tensor | None) -> Tensor | None:
        """True where a token may attend: (B, 1, R or 1, T); None if ``causal`` is enough."""
        positions = torch.arange(hidden.shape[1], device=hidden.device)
        if self.causal:  # padding is to the right of all real tokens
            return None if keep is None else (positions <= keep[:, :, None])[:, None]
        return None if lengths is None else (positions < lengths[:, None])[:, None, None]

    def _split_heads(self, hidden: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)."""
        return hidden.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """See `Backbone.parameter_roles`; attention and norm belong to block 0."""
        roles = {"positions": ParameterRole("position"), "norm": ParameterRole("norm", 0)}
        attention = ParameterRole("attention", 0)
        return {name: roles.get(name.partition(".")[0], attention) for name, _ in self.named_parameters()}


def _placed(tokens: Tensor, table: nn.Embedding | None) -> Tensor:
    """Tokens with the vectors of their positions added.

    Raises:
        ShapeError: more tokens than positions.
    """
    if table is None:
        return tokens
    if tokens.shape[1] > table.num_embeddings:
        raise ShapeError(f"{tokens.shape[1]} tokens do not fit a position table of {table.num_embeddings}")
    return tokens + table.weight[: tokens.shape[1]]
