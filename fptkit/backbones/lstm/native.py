"""The compiled recurrence: ``recurrence.cpp``, compiled on first use by `fptkit.numerics.compiler`."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from fptkit.errors import UsageError
from fptkit.numerics import compiler

PANEL = 32
"""Adjacent columns of weights in one panel; ``kPanel`` in the C++ source."""

RECURRENCE = compiler.Source(
    Path(__file__).with_name("recurrence.cpp"),
    "C++",
    options=(
        *("-O3", "-std=c++17", "-fPIC", "-pthread"),
        # Only the parts of -ffast-math that allow vectorised sums; NaN and infinity keep their meaning.
        *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"),
    ),
    libraries=("-pthread",),
)


class NoKernel(UsageError):
    """The compiled recurrence is unavailable here; the message says why."""


class Kernel:
    """The compiled recurrence of one layer, for float32 on the CPU.

    Args:
        library: the loaded ``recurrence.cpp``.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        sizes, buffer = [ctypes.c_int64] * 5, ctypes.c_void_p
        self._forward, self._backward = library.fptkit_lstm_forward, library.fptkit_lstm_backward
        self._forward.argtypes = [*sizes, ctypes.c_float, *[buffer] * 12]
        self._backward.argtypes = [*sizes, *[buffer] * 12]
        self._forward.restype = self._backward.restype = None

    def forward(
        self, inputs: Tensor, weight: Tensor, bias: Tensor, norms: Sequence[Tensor], epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Run all time steps.

        Shapes: inputs (B, T, 4H), weight (4H, H), bias (4H,) -> see `fptkit.backbones.lstm.recurrence.Trace`.

        Args:
            inputs: linear maps of the inputs after their norm, float32.
            weight: weight of the recurrent map, float32 or bfloat16.
            bias: bias of the recurrent map, float32.
            norms: recurrent scale and shift (4H,), cell scale and shift (H,), float32.
            epsilon: added to the variance in the norms.
        """
        batch, steps, width = len(inputs), inputs.shape[1], weight.shape[1]
        wide, narrow = (inputs.new_empty(batch, steps, count) for count in (4 * width, width))
        trace = (wide, inputs.new_empty(batch, steps, 4), torch.empty_like(wide), narrow, torch.empty_like(narrow))
        given = [tensor.contiguous() for tensor in (inputs, panels(weight.t()), bias, *norms)]
        self._forward(*self._sizes(inputs, weight), epsilon, *(tensor.data_ptr() for tensor in (*given, *trace)))
        return trace

    def backward(
        self, grad_output: Tensor, weight: Tensor, norms: Sequence[Tensor], trace: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Compute the gradients by backpropagation through all time steps.

        Shapes: grad_output (B, T, H) -> gradients of the inputs (B, T, 4H), of the recurrent map's output (B, T, 4H),
        of recurrent scale (4H,), of cell scale (H,) and of cell shift (H,).

        Args:
            grad_output: gradient of the hidden states, float32.
            weight: as in `forward`.
            norms: recurrent scale, cell scale, cell shift.
            trace: recurrent, moments, gates and cell, as returned by `forward`.
        """
        width = weight.shape[1]
        grad_inputs, grad_recurrent = torch.empty_like(trace[0]), torch.empty_like(trace[0])
        gathered = grad_output.new_zeros(torch.get_num_threads(), 6 * width)
        given = [tensor.contiguous() for tensor in (grad_output, panels(weight), *norms, *trace)]
        filled = (grad_inputs, grad_recurrent, gathered)
        sizes = self._sizes(grad_output, weight)
        self._backward(*sizes, *(tensor.data_ptr() for tensor in (*given, *filled)))
        scale_recurrent, scale_cell, shift_cell = gathered.sum(0).split((4 * width, width, width))
        return grad_inputs, grad_recurrent, (scale_recurrent, scale_cell, shift_cell)

    @staticmethod
    def _sizes(rows: Tensor, weight: Tensor) -> tuple[int, int, int, int, int]:
        halves = int(weight.dtype == torch.bfloat16)
        return len(rows), rows.shape[1], weight.shape[1], torch.get_num_threads(), halves


def panels(weight: Tensor) -> Tensor:
    """Reorder weights into the order in which the kernel reads them.

    Shapes: weight (inner, columns) -> (columns / 32, inner, 32), in bfloat16 (columns / 32, inner / 2, 32, 2). Both
    divisions are rounded up, padded with zeros.
    """
    halves = weight.dtype == torch.bfloat16
    inner, columns = weight.shape
    padded = functional.pad(weight, (0, -columns % PANEL, 0, inner % 2 if halves else 0))
    ordered = padded.unflatten(1, (-1, PANEL)).transpose(0, 1)
    if halves:
        ordered = ordered.unflatten(1, (-1, 2)).transpose(-1, -2)
    return ordered.contiguous()


def load_kernel() -> Kernel:
    """Load the compiled recurrence; the first call on a machine compiles it, which takes seconds.

    Raises:
        NoKernel: it is unavailable. Each process tries only once.
    """
    try:
        return _kernel(compiler.load(RECURRENCE))
    except compiler.Unavailable as err:
        raise NoKernel(str(err)) from err


@functools.cache
def _kernel(library: ctypes.CDLL) -> Kernel:
    return Kernel(library)
