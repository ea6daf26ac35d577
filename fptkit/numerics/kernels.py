"""What stands between the matrix products of a training step on processors, each as one pass over memory.

torch takes GELU, dropout, layer norm and softmax in bfloat16 one operation at a time, each of which reads and writes
memory anew; in a step of GPT-2 base that took as long as the products themselves. Here each is one loop in C that the
system's compiler makes vector code of, in the user's cache from then on.

- ``loops.c``: the loops.
- ``compiler.py``: compiles and loads them.
- ``operators.py``: the same as operators of torch, ``torch.ops.fptkit``, which work on tensors without numbers as well.

Gradients are the business of who uses them: ``fptkit/numerics/ops.py`` and ``attention.py``. Where the loops
cannot be had torch's own operations do the same.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def run_on(tensor: Tensor) -> bool:
    """Whether the loops are to work on a tensor: it is on the processor, they can be had, and nobody compiles."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling() and why_not() is None


@lru_cache
def why_not() -> str | None:
    """Why the loops cannot be had here; None if they can, and then ``torch.ops.fptkit`` has them."""
    from fptkit.numerics import compiler

    try:
        compiler.load()
    except compiler.Unavailable as err:
        return str(err)
    from fptkit.numerics import operators  # noqa: F401  defines them

    return None


def missed() -> str | None:
    """Why the loops cannot be had, where this process wanted them; None if they can, or nothing asked for them."""
    return why_not() if why_not.cache_info().currsize else None
