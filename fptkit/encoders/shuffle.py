"""The tokens of an example in an order of their own: the control for "the order of the tokens matters".

The order follows from the example alone, so it needs no memory: it is the same in every batch, beside any padding, in
every process and after every interruption. All arithmetic is of whole numbers modulo 2**64, which is exact in any
order of summation and on any device.

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
    tokens: Tensor, encoded_lengths: Tensor | None, inputs: Inputs, lengths: Tensor | None, *, salt: int
) -> Tensor:
    """Put the real tokens of each example into an order drawn by what the example holds; padding stays where it is.

    Shapes: tokens (B, T', D), encoded_lengths (B,) or None, inputs as in `fptkit.Batch`, lengths (B,) or None ->
    (B, T', D).

    Args:
        tokens: encoded tokens.
        encoded_lengths: real ones of each example.
        inputs: what they were made from.
        lengths: real raw tokens of each example, of a mixed input those of the last part.
        salt: another one gives other orders, in 0 ... 2**63 - 1.
    """
    examples = example_numbers(inputs, lengths) ^ _mix(torch.tensor(salt))
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    keys = _shifted(_mix(examples[:, None] + (positions + 1) * _GOLDEN), 2)
    if encoded_lengths is not None:
        keys = keys.masked_fill(positions >= encoded_lengths[:, None], _LARGEST)
    order = keys.argsort(dim=1, stable=True)
    return tokens.gather(1, order[:, :, None].expand(-1, -1, tokens.shape[2]))


def example_numbers(inputs: Inputs, lengths: Tensor | None) -> Tensor:
    """A number of each example that follows from its real raw tokens, all of their bits, and nothing else.

    Shapes: inputs as in `fptkit.Batch`, lengths (B,) or None -> (B,) int64.
    """
    if not isinstance(inputs, Mapping):
        return _number(inputs, lengths)
    numbers, last = torch.zeros((), dtype=torch.int64), list(inputs)[-1]
    for place, (name, part) in enumerate(inputs.items()):
        numbers = numbers + _mix(_number(part, lengths if name == last else None) + place * _GOLDEN)
    return numbers


def _number(inputs: Tensor, lengths: Tensor | None) -> Tensor:
    """One part: (B, T, ...) -> (B,). Each bit pattern is mixed with its place, then they are summed."""
    bits = inputs.float().view(torch.int32) if inputs.is_floating_point() else inputs
    bits = bits.long().flatten(2) if bits.ndim > 2 else bits.long()[:, :, None]  # (B, T, F)
    places = torch.arange(bits.shape[1] * bits.shape[2], device=bits.device).view(bits.shape[1:])
    mixed = _mix(bits ^ _mix(places * _GOLDEN))
    if lengths is not None:
        real = torch.arange(bits.shape[1], device=bits.device) < lengths[:, None]
        mixed = mixed * real[:, :, None]
    return mixed.sum(dim=(1, 2))


def _mix(numbers: Tensor) -> Tensor:
    """Each number becomes one that looks random; as unsigned ones of 64 bits, which torch has as signed only."""
    numbers = (numbers ^ _shifted(numbers, 30)) * _FIRST
    numbers = (numbers ^ _shifted(numbers, 27)) * _SECOND
    return numbers ^ _shifted(numbers, 31)


def _shifted(numbers: Tensor, by: int) -> Tensor:
    """To the right, with zeros coming in, where torch's own shift repeats the sign."""
    return numbers >> by & (1 << 64 - by) - 1
