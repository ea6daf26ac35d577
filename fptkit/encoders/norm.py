"""Norm matching: scales encoded tokens to the norm of the backbone's word embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fptkit.encoders.mixed import MixedEncoder
from fptkit.errors import ShapeError
from fptkit.interfaces import Batch, Encoder, Inputs, ParameterRole, encode, roles_inside

SAMPLE = 64
"""Number of training examples on which the norm is measured."""


class ScaledEncoder(Encoder):
    """An encoder whose output is multiplied by a constant.

    Args:
        encoder: the encoder.
        factor: the constant; stored in a buffer, so that it is in checkpoints but does not train.
    """

    factor: Tensor

    def __init__(self, encoder: nn.Module, factor: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("factor", torch.tensor(factor))

    def encoded_lengths(self, lengths: Tensor) -> Tensor:
        """See `Encoder.encoded_lengths`."""
        return self.encoder.encoded_lengths(lengths) if isinstance(self.encoder, Encoder) else lengths

    def forward(self, inputs: Inputs, lengths: Tensor | None = None) -> Tensor:
        """See `Encoder.forward`."""
        tokens, _ = encode(self.encoder, inputs, lengths)
        return tokens * self.factor

    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        """See `Encoder.parameter_roles`."""
        return roles_inside(self.encoder, "encoder")


def match_norm(encoder: nn.Module, batch: Batch, norm: float) -> nn.Module:
    """Scale an encoder's output by a constant so that the real tokens of a batch have a given mean norm.

    Args:
        encoder: freshly initialised encoder; each part of a `MixedEncoder` gets its own constant.
        batch: a sample of the training data.
        norm: mean Euclidean norm that the encoded tokens of the sample should have.

    Returns:
        The scaled encoder.

    Raises:
        ShapeError: the mean norm of the encoder's output is zero or not finite.
    """
    if not isinstance(encoder, MixedEncoder):
        return ScaledEncoder(encoder, norm / _mean_norm(encoder, batch.inputs, batch.lengths))
    for index, name in enumerate(encoder.input.parts):
        lengths = encoder.input.length_of(name, batch.lengths)
        part = encoder.parts[index]
        encoder.parts[index] = ScaledEncoder(part, norm / _mean_norm(part, batch.inputs[name], lengths))
    return encoder


def scaled_later(encoder: nn.Module) -> nn.Module:
    """The module that `match_norm` makes, with constants of 1: those of a checkpoint replace them."""
    if not isinstance(encoder, MixedEncoder):
        return ScaledEncoder(encoder, 1.0)
    for index, part in enumerate(encoder.parts):
        encoder.parts[index] = ScaledEncoder(part, 1.0)
    return encoder


@torch.no_grad()
def _mean_norm(encoder: nn.Module, inputs: Inputs, lengths: Tensor | None) -> float:
    """Return the mean norm of the real encoded tokens, without dropout."""
    was_training = encoder.training
    encoder.eval()
    tokens, lengths = encode(encoder, inputs, lengths)
    encoder.train(was_training)
    norms = tokens.double().norm(dim=-1)
    if lengths is not None:
        norms = norms[torch.arange(norms.shape[1]) < lengths[:, None]]
    mean = float(norms.mean())
    if not (math.isfinite(mean) and mean > 0):
        raise ShapeError(
            f"encoder.match_norm: the encoder's tokens have mean norm {mean:g}, which cannot be scaled; set it to false"
        )
    return mean
