"""GPT-2's forward pass on the weights of a ``GPT2LMHeadModel``, optimised for training on CPUs.

It computes the same as transformers' module (a test compares the logits). Measured on one core of an AMD EPYC (Zen 4),
forward and backward, sequences of 256: transformers with autocast 3,550 tokens/s, this 4,100, this compiled 4,700. The
differences: attention is computed for blocks of queries with plain matrix products, which are faster than PyTorch's CPU
flash attention up to about 512 tokens, and matrix products are in bfloat16 while the residual stream stays in float32.

Why not the forward pass of `fptkit.backbones.gpt2`: it is made for frozen matrices. Compiled, on one core, forward and
backward, its speed is 1.05 times that of this one on sequences of 256 and of 512 tokens, but 0.8 times on 1,024, where
it uses torch's fused attention, and 0.92 times with the mix of lengths in the recipes. Not compiled, with dropout on
attention weights, it is 0.90, 0.69 and 0.49 times as fast, since it then uses fused attention for every length.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPT2LMHeadModel

# Queries per block. Blocks avoid computing the masked half of the scores of long sequences.
_QUERY_ROWS = 256
_MASKED = -1e4


def _attend(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """Causal attention, one block of queries after the other. Shapes: (B, heads, T, d) each -> (B, heads, T, d)."""
    length = q.shape[2]
    q = q * q.shape[3] ** -0.5
    outputs = []
    for start in range(0, length, _QUERY_ROWS):
        stop = min(start + _QUERY_ROWS, length)
        ahead = torch.full((stop - start, stop), _MASKED, dtype=q.dtype).triu(start + 1)
        scores = q[:, :, start:stop] @ k[:, :, :stop].mT + ahead
        weights = scores.float().softmax(-1).to(q.dtype)
        if dropout:
            weights = functional.dropout(weights, dropout)
        outputs.append(weights @ v[:, :, :stop])
    return torch.cat(outputs, 2)


def _block(h: Tensor, w: list[Tensor], heads: int, dtype: torch.dtype, dropout: float, epsilon: float) -> Tensor:
    """One pre-norm block. Shapes: h (B, T, D) float32 -> the same. ``w`` in the order of `_BLOCK_NAMES`."""
    rows, length, width = h.shape
    x = functional.layer_norm(h, (width,), w[0], w[1], epsilon).to(dtype).view(-1, width)
    qkv = torch.addmm(w[3].to(dtype), x, w[2].to(dtype))
    q, k, v = qkv.view(rows, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    x = _attend(q, k, v, dropout).transpose(1, 2).reshape(-1, width)
    x = torch.addmm(w[5].to(dtype), x, w[4].to(dtype)).view(rows, length, width)
    h = h + (functional.dropout(x, dropout) if dropout else x)
    x = functional.layer_norm(h, (width,), w[6], w[7], epsilon).to(dtype).view(-1, width)
    x = functional.gelu(torch.addmm(w[9].to(dtype), x, w[8].to(dtype)), approximate="tanh")
    x = torch.addmm(w[11].to(dtype), x, w[10].to(dtype)).view(rows, length, width)
    return h + (functional.dropout(x, dropout) if dropout else x)


_BLOCK_NAMES = tuple(
    f"{layer}.{kind}"
    for layer in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    for kind in ("weight", "bias")
)


def _logits(h: Tensor, norm: Tensor, bias: Tensor, table: Tensor, dtype: torch.dtype, epsilon: float) -> Tensor:
    x = functional.layer_norm(h, (h.shape[-1],), norm, bias, epsilon).to(dtype)
    return x @ table.to(dtype).T


def _nats(
    h: Tensor, norm: Tensor, bias: Tensor, table: Tensor, targets: Tensor, dtype: torch.dtype, epsilon: float
) -> Tensor:
    logits = _logits(h, norm, bias, table, dtype, epsilon)
    return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none").view(
        targets.shape
    )


class Gpt2Forward:
    """Forward pass with the weights of ``model``, without calling its modules.

    Args:
        model: the model; its parameters are used in place and receive the gradients.
        dtype: of the matrix products.
        dropout: dropout probability in training, 0 <= dropout < 1.
        compiled: compile the blocks and the loss for training, once for each sequence length.
    """

    def __init__(
        self, model: GPT2LMHeadModel, dtype: torch.dtype, *, dropout: float = 0.0, compiled: bool = False
    ) -> None:
        body = model.transformer
        self._table, self._positions = body.wte.weight, body.wpe.weight
        self._blocks = [[block.get_parameter(name) for name in _BLOCK_NAMES] for block in body.h]
        self._norm = (body.ln_f.weight, body.ln_f.bias)
        self._heads, self._epsilon = model.config.n_head, model.config.layer_norm_epsilon
        self._dtype, self._dropout = dtype, dropout
        self._train_block: Callable[..., Tensor] = torch.compile(_block, dynamic=False) if compiled else _block
        self._train_nats: Callable[..., Tensor] = torch.compile(_nats, dynamic=False) if compiled else _nats

    def _body(self, inputs: Tensor, block: Callable[..., Tensor], dropout: float) -> Tensor:
        h = functional.embedding(inputs, self._table) + self._positions[: inputs.shape[1]]
        if dropout:
            h = functional.dropout(h, dropout)
        for weights in self._blocks:
            h = block(h, weights, self._heads, self._dtype, dropout, self._epsilon)
        return h

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Training loss, mean nats per token. Shapes: inputs, targets (B, T) integers -> ()."""
        h = self._body(inputs, self._train_block, self._dropout)
        return self._train_nats(h, *self._norm, self._table, targets, self._dtype, self._epsilon).mean()

    @torch.no_grad()
    def nats(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each token in nats, without dropout or gradient. Shapes: inputs, targets (B, T) -> (B, T)."""
        h = self._body(inputs, _block, 0.0)
        return _nats(h, *self._norm, self._table, targets, self._dtype, self._epsilon)

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """Logits, without dropout or gradient. Shapes: inputs (B, T) integers -> (B, T, vocabulary)."""
        h = self._body(inputs, _block, 0.0)
        return _logits(h, *self._norm, self._table, self._dtype, self._epsilon)
