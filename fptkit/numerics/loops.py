"""``loops.c`` and ``quantise.c`` as Python functions.

The loops run in torch's OpenMP threads: they are not linked to an OpenMP library and use the one torch has loaded. A
second OpenMP library would start its own threads, which would compete with torch's, since idle threads spin.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from fptkit.numerics import compiler


def _problem_of(library: ctypes.CDLL) -> str:
    expected, threads = torch.get_num_threads(), int(library.count_threads())
    return "" if threads == expected else f"runs in {threads} threads, but torch in {expected}"


def _source(name: str, problem_of: Callable[[ctypes.CDLL], str] = _problem_of) -> compiler.Source:
    return compiler.Source(
        Path(__file__).with_name(name),
        "C",
        options=(
            *("-std=c11", "-O3", "-ffp-contract=fast", "-fPIC", "-fopenmp"),
            # Sums may be computed in any order, so that they can be vectorised; infinity and NaN keep their meaning.
            *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
        ),
        libraries=("-lm",),  # without -fopenmp, so that no OpenMP library is linked
        problem_of=problem_of,
    )


LOOPS, QUANTISE = _source("loops.c"), _source("quantise.c", lambda library: "")


@lru_cache
def load(source: compiler.Source = LOOPS) -> ctypes.CDLL:
    """Load compiled loops.

    Args:
        source: `LOOPS` or `QUANTISE`.

    Raises:
        Unavailable: see `fptkit.numerics.compiler.load`.
    """
    return compiler.load(source)


def call(name: str, *arguments: Tensor | int | float | None, source: compiler.Source = LOOPS) -> int:
    """Run a loop and return its result.

    Args:
        name: name of the loop.
        arguments: its arguments in order: contiguous CPU tensors, None for NULL, integers, floats (passed as float32).
        source: the file that has it.

    Raises:
        Unavailable: see `fptkit.numerics.compiler.load`.
    """
    returned: int = getattr(load(source), name)(*map(_as_c, arguments))
    return returned


def _as_c(argument: Tensor | int | float | None) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.c_float:
    if argument is None:
        return ctypes.c_void_p()
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_float(argument)
