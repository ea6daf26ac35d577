"""Shuffled tokens, with a fixed random order per example: the control for "the order of the tokens matters".

The order is a function of the example alone, so nothing needs to be stored: it is the same in every batch, with any
padding, in every process and after a resume. All arithmetic uses integers modulo 2**64, which are exact on all devices
and in any order of summation.

Source: the mixing function is that of SplitMix64 (Steele, Lea and Flood 2014), with the constants of its public-domain
code.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fptkit.interfaces import Inputs

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
_LARGEST = 2**63 - 1


def shuffle_tokens(
    tokens: Tensor, encoded_lengths: Tensor | None, inputs: Inputs, lengths: Tensor | None, *, salt: int | Tensor
) -> Tensor:
    """Shuffle the real tokens of each example in an order that depends on its content; padding stays in place.

    Shapes: tokens (B, T', D), encoded_lengths (B,) or None, inputs as in `fptkit.Batch`, lengths (B,) or None ->
    (B, T', D).

    Args:
        tokens: encoded tokens.
        encoded_lengths: number of real encoded tokens of each example; None if all are real.
        inputs: the raw tokens.
        lengths: number of real raw tokens of each example, for a mixed input those of the last part; None if all are.
        salt: seed of the orders, in 0 ... 2**63 - 1; a tensor () of int64 is not read on the host.
    """
    examples = example_numbers(inputs, lengths) ^ _mix(torch.as_tensor(salt))
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    keys = _shifted(_mix(examples[:, None] + (positions + 1) * _GOLDEN), 2)
    if encoded_lengths is not None:
        keys = keys.masked_fill(positions >= encoded_lengths[:, None], _LARGEST)
    order = keys.argsort(dim=1, stable=True)
    return tokens.gather(1, order[:, :, None].expand(-1, -1, tokens.shape[2]))


def example_numbers(inputs: Inputs, lengths: Tensor | None) -> Tensor:
    """Hash the real raw tokens of each example.

    Shapes: inputs as in `fptkit.Batch`, lengths (B,) or None -> (B,) int64.

    Args:
        inputs: the raw tokens.
        lengths: number of real raw tokens of each example, for a mixed input those of the last part; None if all are.
    """
    if not isinstance(inputs, Mapping):
        return _number(inputs, lengths)
    numbers, last = torch.zeros((), dtype=torch.int64), len(inputs) - 1
    for place, part in enumerate(inputs.values()):
        own = lengths if place == last else None
        if lengths is not None and lengths.ndim > 1:
            own = lengths[:, place]
        numbers = numbers + _mix(_number(part, own) + torch.tensor(place) * _GOLDEN)  # wraps around
    return numbers


def _number(inputs: Tensor, lengths: Tensor | None) -> Tensor:
    """Hash one part, (B, T, ...) -> (B,): the sum of all bit patterns, each mixed with its position."""
    bits = inputs.float().view(torch.int32) if inputs.is_floating_point() else inputs
    bits = bits.long().flatten(2) if bits.ndim > 2 else bits.long()[:, :, None]  # (B, T, F)
    places = torch.arange(bits.shape[1] * bits.shape[2], device=bits.device).view(bits.shape[1:])
    mixed = _mix(bits ^ _mix(places * _GOLDEN))
    if lengths is not None:
        real = torch.arange(bits.shape[1], device=bits.device) < lengths[:, None]
        mixed = mixed * real[:, :, None]
    return mixed.sum(dim=(1, 2))


def _mix(numbers: Tensor) -> Tensor:
    """Mix the bits of each number as in unsigned 64-bit arithmetic; torch only has signed numbers here."""
    numbers = (numbers ^ _shifted(numbers, 30)) * _FIRST
    numbers = (numbers ^ _shifted(numbers, 27)) * _SECOND
    return numbers ^ _shifted(numbers, 31)


def _shifted(numbers: Tensor, by: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift copies the sign bit."""
    return numbers >> by & (1 << 64 - by) - 1
