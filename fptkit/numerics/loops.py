"""``loops.c`` as functions of Python.

The loops run in the OpenMP threads of torch: they are linked to no library of threads and find torch's already loaded.
A second OpenMP would bring threads of its own, and they and torch's, which wait for work by spinning, would take turns.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from fptkit.numerics import compiler


def _problem_of(library: ctypes.CDLL) -> str:
    expected, threads = torch.get_num_threads(), int(library.count_threads())
    return "" if threads == expected else f"runs in {threads} threads where torch has {expected}"


LOOPS = compiler.Source(
    Path(__file__).with_name("loops.c"),
    "C",
    options=(
        *("-std=c11", "-O3", "-ffp-contract=fast", "-fPIC", "-fopenmp"),
        # Sums may be taken in any order, so that they can be vector code; infinity and NaN stay what they are.
        *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
    ),
    libraries=("-lm",),  # without -fopenmp, so that no library of threads is asked for
    problem_of=_problem_of,
)


@lru_cache
def load() -> ctypes.CDLL:
    """The compiled loops.

    Raises:
        Unavailable: see `fptkit.numerics.compiler.load`.
    """
    return compiler.load(LOOPS)


def call(name: str, *arguments: Tensor | int | float) -> int:
    """Run a loop and give what it returns.

    Args:
        name: of the loop.
        arguments: as it is declared: contiguous tensors on the CPU, whole numbers, float32 numbers.

    Raises:
        Unavailable: it cannot be run here.
    """
    returned: int = getattr(load(), name)(*map(_as_c, arguments))
    return returned


def _as_c(argument: Tensor | int | float) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.c_float:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_float(argument)
