"""A layer of the layer-norm LSTM of the paper's code, which differs from that of Ba et al.

Forward, for time step t, with LN(x; a, b) = a (x - mean) / sqrt(variance + 1e-6) + b, where the variance is that of a
sample, divided by N - 1 for N numbers::

    p = LN(U x[t] + u; a2, b2) + LN(W h[t-1] + w; a1, b1)     h[0] and c[0] are drawn
    i, f, o = sigmoid(p[:3]), g = tanh(p[3])
    c[t] = LN(f c[t-1] + i g; a3, b3)                         the next step gets the normalised cell
    h[t] = dropout(o tanh(c[t]))                              so do the next step and the next layer with the dropout

All scales and shifts are drawn uniformly between -1/sqrt(N) and 1/sqrt(N), which leaves the gates almost closed to the
input. The time steps are a Python loop in torch operators with torch's own gradients: the compiled loop of
`fptkit.backbones.lstm.recurrence` computes the equations of Ba et al. only.

Difference: in evaluation the paper's code draws new initial states for every batch. Here one is drawn, from the seed of
the run, for every example: otherwise an answer would depend on chance and on the rest of the batch.

Source: kzl/universal-computation, ``universal_computation/models/lstm.py``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit.numerics.tracing import traced

EPSILON = 1e-6

State = tuple[Tensor, Tensor]
"""Hidden state h and cell c."""


class SampleNorm(nn.LayerNorm):
    """Layer norm with the variance of a sample, divided by N - 1.

    It is torch's with another scale and epsilon: the variance of a sample is N / (N - 1) times the other.

    Args:
        width: N.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPSILON)
        # A single number has no variance of a sample; normalised it is 0 whatever it is divided by.
        self.ratio = (width - 1) / width if width > 1 else 1.0

    def forward(self, values: Tensor) -> Tensor:
        """Normalise. Shapes: (..., N) -> (..., N)."""
        scale = self.weight * math.sqrt(self.ratio)
        return functional.layer_norm(values, self.normalized_shape, scale, self.bias, self.eps * self.ratio)


class OfficialLayer(nn.Module):
    """One layer, with the parameters of `fptkit.backbones.lstm.network.Layer`.

    Args:
        width: H, numbers per token and in the state.

    Attributes:
        start: (2, H), h and c before the first step in evaluation; not stored, since the seed decides it.
    """

    start: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_map = nn.Linear(width, 4 * width)
        self.hidden_map = nn.Linear(width, 4 * width)
        self.input_norm = SampleNorm(4 * width)
        self.hidden_norm = SampleNorm(4 * width)
        self.cell_norm = SampleNorm(width)
        self.register_buffer("start", torch.zeros(2, width), persistent=False)

    def drawn(self, count: int) -> State:
        """Draw the state before the first step from torch's generator: normal, standard deviation 1 / sqrt(H).

        Shapes: two of (B, H).

        Args:
            count: B.
        """
        like, width = self.cell_norm.weight, self.start.shape[1]
        hidden, cell = (
            torch.empty(count, width, dtype=like.dtype, device=like.device).normal_(0.0, width**-0.5) for _ in range(2)
        )
        return hidden, cell

    def fixed(self, count: int) -> State:
        """The state before the first step in evaluation. Arguments and shapes: see `drawn`."""
        hidden, cell = self.start.to(self.cell_norm.weight.dtype).unbind(0)
        return hidden.expand(count, -1), cell.expand(count, -1)

    def forward(self, tokens: Tensor, state: State, dropout: float) -> Tensor:
        """Run all time steps.

        Shapes: tokens (B, T, H), state two of (B, H) -> (B, T, H).

        Args:
            tokens: inputs of the layer.
            state: before the first step.
            dropout: dropout probability of the hidden state, in training.
        """
        # Norms and state stay float32, the dtype of the norms, even if autocast multiplies the maps in bfloat16.
        given = self.input_norm(self.input_map(tokens).to(state[0].dtype))
        if traced() and not self.training:
            return self._traced(given, state)
        made = []
        for inputs in given.unbind(1):
            state = self._step(inputs, state, dropout)
            made.append(state[0])
        return torch.stack(made, 1)

    def _step(self, inputs: Tensor, state: State, dropout: float) -> State:
        hidden, cell = state
        mixed = inputs + self.hidden_norm(self.hidden_map(hidden).to(inputs.dtype))
        into, forget, out, candidate = mixed.chunk(4, 1)
        cell = self.cell_norm(cell * forget.sigmoid() + into.sigmoid() * candidate.tanh())
        return functional.dropout(out.sigmoid() * cell.tanh(), dropout, self.training), cell

    def _traced(self, given: Tensor, state: State) -> Tensor:
        """The loop as one operation of an exported program; see `fptkit.backbones.lstm.recurrence.steps_traced`."""
        from torch._higher_order_ops.scan import scan

        def step(state: State, inputs: Tensor) -> tuple[State, Tensor]:
            hidden, cell = self._step(inputs, state, 0.0)
            return (hidden.contiguous(), cell.contiguous()), hidden.clone()

        _, made = scan(step, (state[0].clone(), state[1].clone()), given.transpose(0, 1), dim=0)
        found: Tensor = made.transpose(0, 1)
        return found
