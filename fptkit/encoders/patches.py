"""Encoders that combine neighbouring raw tokens, or cells of a grid, into one token."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from fptkit.encoders.options import Patches1dOptions, Patches2dOptions
from fptkit.encoders.padding import zero_padding
from fptkit.errors import ShapeError
from fptkit.interfaces import Encoder, Grid, Vectors
from fptkit.layers import linear_stack


class Patches1d(Encoder):
    """A linear map of each patch of raw tokens; patches may overlap.

    An example of L raw tokens has the fewest patches that cover it, ceil(max(L - patch, 0) / stride) + 1; the last
    patch is padded with zeros.

    Args:
        options: recipe options.
        input: the task's input kind; gives F.
        width: D.

    Source: Nie et al. 2023 (PatchTST), section 3.1. Difference: they pad the end with copies of the last value and add
    a patch of these, which would add no information here.
    """

    def __init__(self, options: Patches1dOptions, *, input: Vectors, width: int) -> None:
        super().__init__()
        self.patch, self.stride = options.patch, options.step
        widths = (options.patch * input.width, *options.hidden, width)
        self.map = linear_stack(
            widths, dropout=options.dropout, drops_output=True, orthogonal_gain=options.orthogonal_gain
        )

    @classmethod
    def token_count(cls, options: Patches1dOptions, input: Vectors, max_tokens: int) -> int:
        """See `Encoder.token_count`."""
        return -(-max(max_tokens - options.patch, 0) // options.step) + 1

    def encoded_lengths(self, lengths: Tensor) -> Tensor:
        """Return how many patches have at least one real token. Shapes: lengths (B,) -> (B,)."""
        return ((lengths - self.patch).clamp(min=0) + self.stride - 1) // self.stride + 1

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode. Shapes: inputs (B, T, F) float, lengths (B,) -> (B, T', D), with T' patches."""
        tokens = inputs.shape[1]
        count = (max(tokens - self.patch, 0) + self.stride - 1) // self.stride + 1
        filled = (count - 1) * self.stride + self.patch
        inputs = nn.functional.pad(zero_padding(inputs, lengths), (0, 0, 0, filled - tokens))
        cut = rearrange(inputs.unfold(1, self.patch, self.stride), "b t f p -> b t (p f)")
        encoded: Tensor = self.map(cut)
        return encoded


class Patches2d(Encoder):
    """A linear map of each patch of a grid; patches are ordered row by row.

    Args:
        options: recipe options.
        input: the task's input kind; gives H, W and C.
        width: D.

    Raises:
        ShapeError: a patch does not divide the grid.

    Source: Lu et al. 2021, section 3.1; order of the numbers in a patch as in kzl/universal-computation.
    """

    def __init__(self, options: Patches2dOptions, *, input: Grid, width: int) -> None:
        super().__init__()
        _divide(options, input)
        self.rows, self.columns = options.sides
        widths = (self.rows * self.columns * input.channels, *options.hidden, width)
        self.map = linear_stack(
            widths, dropout=options.dropout, drops_output=True, orthogonal_gain=options.orthogonal_gain
        )

    @classmethod
    def token_count(cls, options: Patches2dOptions, input: Grid, max_tokens: int) -> int:
        """See `Encoder.token_count`."""
        rows, columns = _divide(options, input)
        return rows * columns

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode. Shapes: inputs (B, H, W, C) float -> (B, H * W / (rows * columns), D)."""
        cut = rearrange(inputs, "b (h p1) (w p2) c -> b (h w) (p1 p2 c)", p1=self.rows, p2=self.columns)
        encoded: Tensor = self.map(cut)
        return encoded


def _divide(options: Patches2dOptions, input: Grid) -> tuple[int, int]:
    """Return the number of patches along each axis."""
    (height, width), (rows, columns) = input.size, options.sides
    if height % rows or width % columns:
        raise ShapeError(
            f"encoder patches2d: patches of {rows} x {columns} do not divide the grid of {height} x {width}; "
            f"set encoder.patch to [rows, columns], divisors of {height} and {width}"
        )
    return height // rows, width // columns
