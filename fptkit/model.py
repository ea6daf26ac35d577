"""The cross-modal model: encoder, backbone, head, and the role of each of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from fptkit.encoders.shuffle import shuffle_tokens
from fptkit.errors import FreezingError, ShapeError
from fptkit.interfaces import Backbone, Classes, Inputs, ParameterRole, Values, encode
from fptkit.layers import linear_stack

Readout = Literal["last", "last_k", "mean"]


def default_readout(output: Classes | Values, *, causal: bool) -> Readout:
    """The last tokens where the task asks for several, else the last one of a causal backbone, the mean of another."""
    if output.tokens > 1:
        return "last_k"
    return "last" if causal else "mean"


class Head(nn.Module):
    """Read-out at real tokens and a linear output layer, optionally with hidden layers.

    Args:
        output: kind of the task's answer.
        width: D.
        readout: ``last`` reads the last real token, ``last_k`` the last R real ones, ``mean`` averages all real ones.
        hidden: widths of layers before the output layer.
        dropout: probability of dropping a hidden number.

    Raises:
        ShapeError: the read-out gives another number of tokens than the task asks for.
    """

    def __init__(
        self,
        output: Classes | Values,
        width: int,
        *,
        readout: Readout,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if output.tokens > 1 and readout != "last_k":
            raise ShapeError(
                f"head.readout '{readout}' gives one token, but the task reads {output.tokens}; use last_k or auto"
            )
        self.output = output
        self.readout = readout
        self.map = linear_stack((width, *hidden, output.width), dropout=dropout)

    def positions(self, inputs: Tensor, lengths: Tensor | None) -> Tensor | None:
        """Which tokens are read.

        Shapes: inputs (B, T, ...), lengths (B,) or None -> (B, R) positions, or None where all are needed.
        """
        if self.readout == "mean":
            return None
        if lengths is None:
            lengths = torch.full((len(inputs),), inputs.shape[1], device=inputs.device)
        offsets = torch.arange(-self.output.tokens, 0, device=inputs.device)
        return (lengths[:, None] + offsets).clamp(min=0)

    def forward(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        """Shapes: hidden (B, R, D), or (B, T, D) for ``mean`` -> logits as the output's ``arrange`` says."""
        return self.answer(self.read(hidden, lengths))

    def read(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        """What the layers get. Nothing in here trains.

        Shapes: hidden as in `forward` -> (B, R, D)."""
        return _mean_of_real(hidden, lengths) if self.readout == "mean" else hidden

    def answer(self, read: Tensor) -> Tensor:
        """Shapes: read (B, R, D) -> logits as the output's ``arrange`` says."""
        return self.output.arrange(self.map(read))


def _mean_of_real(hidden: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T, D) -> (B, 1, D)."""
    if lengths is None:
        return hidden.mean(1, keepdim=True)
    real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
    return (hidden * real[:, :, None]).sum(1, keepdim=True) / lengths[:, None, None]


class CrossModalModel(nn.Module):
    """Raw tokens of any modality -> encoder -> backbone -> head -> logits.

    Args:
        encoder: raw tokens to (B, T', D), see `fptkit.Encoder`; T' encoded tokens, often as many as raw ones.
        backbone: (B, T', D) to (B, T', D).
        head: (B, R, D) to logits.
        mixed: run the backbone's matrix products in bfloat16; encoder, norms' parameters and head stay float32.
        shuffle_seed: give the backbone each example's tokens in an order of their own; None: in their own order.
    """

    def __init__(
        self,
        encoder: nn.Module,
        backbone: Backbone,
        head: Head,
        *,
        mixed: bool = False,
        shuffle_seed: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.backbone = backbone
        self.head = head
        self.mixed = mixed
        self.shuffle_seed = shuffle_seed

    def forward(self, inputs: Inputs, lengths: Tensor | None = None) -> Tensor:
        """Predict.

        Shapes: inputs as in `fptkit.Batch`, lengths (B,) or None -> logits, the targets' shape plus (K,) for classes.

        Raises:
            ShapeError: an example has fewer encoded tokens than are read out.
        """
        hidden, encoded_lengths = self.hidden(inputs, lengths)
        logits: Tensor = self.head(hidden, encoded_lengths)
        return logits

    def hidden(self, inputs: Inputs, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """What the head gets: float32 token vectors, and how many of each example are real, or None.

        Shapes: as in `forward` -> (B, R, D), or (B, T', D) where the head averages over all; (B,) or None.

        Raises:
            ShapeError: an example has fewer encoded tokens than are read out.
        """
        tokens, encoded_lengths = encode(self.encoder, inputs, lengths)
        self._check_enough(tokens, lengths, encoded_lengths)
        if self.shuffle_seed is not None:
            tokens = shuffle_tokens(tokens, encoded_lengths, inputs, lengths, salt=self._salt(self.shuffle_seed))
        keep = self.head.positions(tokens, encoded_lengths)
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.mixed):
            hidden: Tensor = self.backbone(tokens, encoded_lengths, keep)
        return hidden.float(), encoded_lengths

    def _salt(self, seed: int) -> int:
        """What orders are drawn with: always the same in evaluation, another at every training step.

        An order that an example kept through training could be learnt by heart, and with it the answer. The training
        loop seeds torch's generator by the step, so that an interrupted run draws the same orders.
        """
        return int(torch.randint(2**62, ())) if self.training else seed

    def _check_enough(self, tokens: Tensor, lengths: Tensor | None, encoded_lengths: Tensor | None) -> None:
        """Raise where an answer would have no token of its own."""
        shortest, wanted = tokens.shape[1], self.head.output.tokens
        # Reading lengths waits for the accelerator, and where the encoder keeps them the batch was checked before.
        if wanted > 1 and encoded_lengths is not None and encoded_lengths is not lengths:
            shortest = int(encoded_lengths.min())
        if shortest < wanted:
            raise ShapeError(
                f"the encoder makes {shortest} tokens of an example, but the task reads {wanted} out; "
                "choose shorter patches or smaller strides"
            )

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """The role of every parameter, by its name in ``named_parameters()``.

        Raises:
            FreezingError: the backbone leaves parameters without a role, or names ones it does not have.
        """
        own = {f"backbone.{name}": role for name, role in self.backbone.parameter_roles().items()}
        roles = dict(own)
        for name, _ in self.named_parameters():
            if name.startswith("encoder."):
                roles[name] = ParameterRole("input")
            elif name.startswith("head."):
                roles[name] = ParameterRole("output")
        names = {name for name, _ in self.named_parameters()}
        if names != roles.keys():
            without, unknown = sorted(names - roles.keys()), sorted(roles.keys() - names)
            raise FreezingError(
                f"{type(self.backbone).__name__}.parameter_roles() does not match its parameters: "
                f"without a role: {', '.join(without) or 'none'}; not a parameter: {', '.join(unknown) or 'none'}"
            )
        return roles
