"""The layer-norm LSTM, driven by token vectors.

Differences from the paper's code (kzl/universal-computation, ``universal_computation/models/lstm.py``), all on purpose:

- The state starts at zero. There it is drawn anew at every forward, in evaluation as well.
- Norms are those of Ba et al.: variance over N, epsilon 1e-5, scale 1 and shift 0 at the start. There the variance is
  over N - 1, epsilon is 1e-6, and scale and shift are drawn from -1/sqrt(N) to 1/sqrt(N), which leaves the gates almost
  shut to the input.
- The norm of the cell is on its way to the output only, as in Ba et al.; there the next step gets the normalised cell.
- Dropout is between layers, as in ``torch.nn.LSTM``; there it is on every hidden state, which the next step gets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit.backbones.lstm.options import LstmSizes
from fptkit.backbones.lstm.recurrence import Loop, Norms, recur, takes_compiled
from fptkit.errors import ShapeError
from fptkit.interfaces import Backbone, ParameterRole, keep_tokens

EPSILON = 1e-5


class Layer(nn.Module):
    """One layer: a map of the inputs, a map of the state before, and a norm after each and on the cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_map = nn.Linear(width, 4 * width)
        self.hidden_map = nn.Linear(width, 4 * width)
        self.input_norm = nn.LayerNorm(4 * width, eps=EPSILON)
        self.hidden_norm = nn.LayerNorm(4 * width, eps=EPSILON)
        self.cell_norm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, hidden: Tensor, loop: Loop) -> Tensor:
        """Shapes: hidden (B, T, D) -> (B, T, D)."""
        # Norms and state are of the norms' format, float32, also where autocast has the maps multiplied in bfloat16.
        inputs = self.input_norm(self.input_map(hidden).to(self.input_norm.weight.dtype))
        norms = Norms(self.hidden_norm.weight, self.hidden_norm.bias, self.cell_norm.weight, self.cell_norm.bias)
        return recur(inputs, self.hidden_map.weight, self.hidden_map.bias, norms, epsilon=EPSILON, loop=loop)


class LstmBackbone(Backbone):
    """Layers of a layer-norm LSTM, one on the other, from a zero state. Parameters keep torch's draw; see `draw_lstm`.

    Args:
        sizes: its sizes.
        dropout: probability of dropping a number between two layers, in training.
        loop: how the recurrence walks through time; see `fptkit.backbones.lstm.recurrence.recur`.
    """

    causal = True

    def __init__(self, sizes: LstmSizes, *, dropout: float = 0.1, loop: Loop = "auto") -> None:
        super().__init__()
        self.sizes = sizes
        self.width = sizes.width
        self.blocks = sizes.layers
        self.dropout = dropout
        self.loop: Loop = loop
        with torch.random.fork_rng(devices=[]):  # torch's own initialisation must not use up the caller's chance
            self.layers = nn.ModuleList(Layer(sizes.width) for _ in range(sizes.layers))

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """See `Backbone.forward`. ``lengths`` changes nothing: no token sees the padding to its right.

        Raises:
            ShapeError: tokens are of another width.
            NoKernel: the compiled loop is asked for and there is none for these tensors.
        """
        if tokens.ndim != 3 or tokens.shape[2] != self.width:
            raise ShapeError(f"tokens have shape {tuple(tokens.shape)}, expected (B, T, {self.width})")
        hidden = self.layers[0](tokens, self.loop)
        for layer in self.layers[1:]:
            hidden = layer(functional.dropout(hidden, self.dropout, self.training), self.loop)
        return keep_tokens(hidden, keep)

    def uncounted_flops(self, tokens: Tensor) -> int:
        """See `Backbone.uncounted_flops`: the recurrent products of the compiled loop, 2 x D x 4D for each token and
        layer forward, and as many backward where a gradient reaches the layer. That of W torch computes and counts."""
        product = 8 * self.width**2 * tokens.shape[0] * tokens.shape[1]
        flops, reached = 0, tokens.requires_grad
        for layer in self.layers:
            assert isinstance(layer, Layer)
            reached = reached or any(parameter.requires_grad for parameter in layer.parameters())
            if takes_compiled(self.loop, layer.input_norm.weight, layer.hidden_map.weight):
                flops += product * (2 if reached else 1)
        return flops

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """See `Backbone.parameter_roles`: the maps are recurrent, their biases too."""
        roles = {}
        for name, _ in self.named_parameters():
            _, layer, module, _ = name.split(".")
            roles[name] = ParameterRole("norm" if module.endswith("norm") else "recurrent", int(layer))
        return roles
