"""Encoder with a few strided convolutions, over tokens or over a grid."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from fptkit.encoders.options import ConvStemOptions
from fptkit.encoders.padding import zero_padding
from fptkit.errors import ShapeError
from fptkit.interfaces import Encoder, Grid, Vectors
from fptkit.layers import linear_stack


class ConvStem(Encoder):
    """Convolutions with GELU, then a linear map to the backbone's width.

    Each convolution turns N tokens, rows or columns into ceil(N / stride). Output j represents inputs j * stride to
    (j + 1) * stride - 1, all of which its kernel covers. Before each convolution padding is set to zero, so it acts
    like the zeros beyond the ends of an example.

    Args:
        options: recipe options.
        input: the task's input kind; gives F, or H, W and C.
        width: D.

    Raises:
        ShapeError: ``causal`` over a grid.

    Source: Xiao et al. 2021; for tokens the stem of Radford et al. 2022 (Whisper), but with all convolutions strided.
    """

    def __init__(self, options: ConvStemOptions, *, input: Vectors | Grid, width: int) -> None:
        super().__init__()
        _check_causal(options, input)
        self.kernel, self.stride = options.kernel, options.stride
        # The kernel overlaps earlier inputs only, or both sides equally with an odd one before.
        overlap = options.kernel - options.stride
        self.before = overlap if options.causal else (overlap + 1) // 2
        first = input.channels if isinstance(input, Grid) else input.width
        kind = nn.Conv2d if isinstance(input, Grid) else nn.Conv1d
        self.convolutions = nn.ModuleList(
            kind(channels_in, channels_out, options.kernel, options.stride)
            for channels_in, channels_out in pairwise((first, *options.channels))
        )
        self.map = linear_stack(
            (options.channels[-1], width),
            dropout=options.dropout,
            drops_output=True,
            orthogonal_gain=options.orthogonal_gain,
        )

    @classmethod
    def token_count(cls, options: ConvStemOptions, input: Vectors | Grid, max_tokens: int) -> int:
        """See `Encoder.token_count`."""
        _check_causal(options, input)
        # ceil(ceil(N / s) / s) = ceil(N / s**2)
        shrunk = options.stride ** len(options.channels)
        if isinstance(input, Grid):
            return -(-input.size[0] // shrunk) * -(-input.size[1] // shrunk)
        return -(-max_tokens // shrunk)

    def encoded_lengths(self, lengths: Tensor) -> Tensor:
        """Return how many encoded tokens represent at least one real token. Shapes: lengths (B,) -> (B,)."""
        for _ in self.convolutions:
            lengths = self._shortened(lengths)
        return lengths

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode. Shapes: inputs (B, T, F), lengths (B,) -> (B, T', D); or inputs (B, H, W, C) -> (B, H' * W', D)."""
        hidden = inputs
        for convolution in self.convolutions:
            hidden = self._padded(zero_padding(hidden, lengths).movedim(-1, 1))  # (B, C, T) or (B, C, H, W)
            hidden = nn.functional.gelu(convolution(hidden)).movedim(1, -1)
            lengths = None if lengths is None else self._shortened(lengths)
        encoded: Tensor = self.map(hidden.flatten(1, -2))
        return encoded

    def _padded(self, hidden: Tensor) -> Tensor:
        """Pad every axis after the channels with the zeros that its ceil(N / stride) outputs read."""
        sides: list[int] = []
        for count in reversed(hidden.shape[2:]):  # torch names the last axis first
            read = ((count + self.stride - 1) // self.stride - 1) * self.stride + self.kernel
            sides += [self.before, read - self.before - count]
        return nn.functional.pad(hidden, sides)

    def _shortened(self, lengths: Tensor) -> Tensor:
        # Not -(-lengths // stride): programs in ONNX round the quotient of a negative number towards zero.
        return (lengths + self.stride - 1) // self.stride


def _check_causal(options: ConvStemOptions, input: Vectors | Grid) -> None:
    if options.causal and isinstance(input, Grid):
        raise ShapeError("encoder conv_stem: causal is for vectors; the cells of a grid have no order in time")
