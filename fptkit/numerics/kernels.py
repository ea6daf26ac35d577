"""CPU kernels for the operations between the matrix products of a training step, each one pass over memory.

torch runs GELU, dropout, layer norm and softmax in bfloat16 as several operations, each of which reads and writes
memory; in a step of GPT-2 base this took as long as the matrix products. Here each is one loop in C, compiled on first
use by the system's compiler and cached.

- ``loops.c``: the loops; ``loops.py``: the loops as Python functions.
- ``compiler.py``, ``library_cache.py``: compile them and cache the result.
- ``operators.py``: the loops as torch operators, ``torch.ops.fptkit``, which also support tensors without values.

Callers define the gradients: ``ops.py`` and ``attention.py``. If the kernels are unavailable, or turned off by
``FPTKIT_KERNELS=off``, they use torch's own operations.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def run_on(tensor: Tensor) -> bool:
    """True if the C kernels apply: CPU tensor, kernels available, not inside torch.compile."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling() and why_not() is None


@lru_cache
def why_not() -> str | None:
    """Reason the kernels are unavailable; None if they are available as ``torch.ops.fptkit``.

    Raises:
        UsageError: ``FPTKIT_KERNELS`` has an unknown value.
    """
    from fptkit.numerics import compiler, loops

    try:
        loops.load()
    except compiler.Unavailable as err:
        return str(err)
    from fptkit.numerics import attention_parts, operators  # noqa: F401  define them

    return None


def missed() -> str | None:
    """Reason the kernels are unavailable if this process tried to use them, else None."""
    return why_not() if why_not.cache_info().currsize else None
