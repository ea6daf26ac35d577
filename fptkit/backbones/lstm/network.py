"""The layer-norm LSTM, driven by token vectors.

There are two variants. ``ba2016``, the default, is that of Ba et al., with a zero initial state and dropout between
layers, as in ``torch.nn.LSTM``. ``official`` is that of the paper's code; `fptkit.backbones.lstm.official` says how it
differs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit.backbones.lstm.official import OfficialLayer
from fptkit.backbones.lstm.options import LstmSizes, Variant
from fptkit.backbones.lstm.recurrence import Loop, Norms, recur, takes_compiled
from fptkit.errors import ShapeError
from fptkit.interfaces import Backbone, ParameterRole, keep_tokens

EPSILON = 1e-5


class Layer(nn.Module):
    """One layer: a map of the inputs, a map of the previous hidden state, a norm after each, and a norm of the cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_map = nn.Linear(width, 4 * width)
        self.hidden_map = nn.Linear(width, 4 * width)
        self.input_norm = nn.LayerNorm(4 * width, eps=EPSILON)
        self.hidden_norm = nn.LayerNorm(4 * width, eps=EPSILON)
        self.cell_norm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, hidden: Tensor, loop: Loop) -> Tensor:
        """Shapes: hidden (B, T, D) -> (B, T, D)."""
        # Norms and state stay float32, the dtype of the norms, even if autocast multiplies the maps in bfloat16.
        inputs = self.input_norm(self.input_map(hidden).to(self.input_norm.weight.dtype))
        norms = Norms(self.hidden_norm.weight, self.hidden_norm.bias, self.cell_norm.weight, self.cell_norm.bias)
        return recur(inputs, self.hidden_map.weight, self.hidden_map.bias, norms, epsilon=EPSILON, loop=loop)


class LstmBackbone(Backbone):
    """Stacked layers of a layer-norm LSTM. Initialised by torch's modules; see `draw_lstm`.

    Args:
        sizes: sizes of the model.
        dropout: dropout probability in training: between two layers, or of every hidden state in the variant
            ``official``.
        loop: how time steps are computed; see `fptkit.backbones.lstm.recurrence.recur`. Without effect in the variant
            ``official``.
        variant: ``ba2016`` or ``official``.
    """

    causal = True

    def __init__(
        self, sizes: LstmSizes, *, dropout: float = 0.1, loop: Loop = "auto", variant: Variant = "ba2016"
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.width = sizes.width
        self.blocks = sizes.layers
        self.dropout = dropout
        self.loop: Loop = loop
        self.variant: Variant = variant
        layer = OfficialLayer if variant == "official" else Layer
        with torch.random.fork_rng(devices=[]):  # torch's own initialisation must not use the caller's random numbers
            self.layers = nn.ModuleList(layer(sizes.width) for _ in range(sizes.layers))

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """See `Backbone.forward`. ``lengths`` has no effect: no token sees the padding to its right.

        Raises:
            ShapeError: the tokens have another width.
            NoKernel: ``loop`` is ``compiled`` and the compiled loop is unavailable or does not support these tensors.
        """
        if tokens.ndim != 3 or tokens.shape[2] != self.width:
            raise ShapeError(f"tokens have shape {tuple(tokens.shape)}, expected (B, T, {self.width})")
        hidden = self._official(tokens) if self.variant == "official" else self._ba2016(tokens)
        return keep_tokens(hidden, keep)

    def _ba2016(self, tokens: Tensor) -> Tensor:
        hidden = self.layers[0](tokens, self.loop)
        for layer in self.layers[1:]:
            hidden = layer(functional.dropout(hidden, self.dropout, self.training), self.loop)
        return hidden

    def _official(self, tokens: Tensor) -> Tensor:
        # All states are drawn before the first layer, as in the paper's code: the same seed then gives the same states.
        layers = [layer for layer in self.layers if isinstance(layer, OfficialLayer)]
        count = tokens.shape[0]  # not len(), which an exported program would take for a constant
        states = [layer.drawn(count) if self.training else layer.fixed(count) for layer in layers]
        for layer, state in zip(layers, states, strict=True):
            tokens = layer(tokens, state, self.dropout)
        return tokens

    @torch.no_grad()
    def draw_start(self, generator: torch.Generator) -> None:
        """Draw the initial state of evaluation, if the variant has one.

        Args:
            generator: on the CPU.
        """
        for layer in self.layers:
            if isinstance(layer, OfficialLayer):
                layer.start.copy_(torch.empty(layer.start.shape).normal_(0.0, self.width**-0.5, generator=generator))

    def uncounted_flops(self, tokens: Tensor) -> int:
        """See `Backbone.uncounted_flops`: the recurrent products of the compiled loop.

        They take 2 x D x 4D operations for each token and layer in the forward pass, and the same in the backward pass
        if a gradient reaches the layer. The gradient of W is computed, and so counted, by torch.
        """
        if self.variant == "official":
            return 0
        product = 8 * self.width**2 * tokens.shape[0] * tokens.shape[1]
        flops, reached = 0, tokens.requires_grad
        for layer in self.layers:
            assert isinstance(layer, Layer)
            reached = reached or any(parameter.requires_grad for parameter in layer.parameters())
            if takes_compiled(self.loop, layer.input_norm.weight, layer.hidden_map.weight):
                flops += product * (2 if reached else 1)
        return flops

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """See `Backbone.parameter_roles`: the maps and their biases have the role ``recurrent``."""
        roles = {}
        for name, _ in self.named_parameters():
            _, layer, module, _ = name.split(".")
            roles[name] = ParameterRole("norm" if module.endswith("norm") else "recurrent", int(layer))
        return roles
