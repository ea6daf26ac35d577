"""How runs share a GPU: each may use a fraction of its memory. Read without loading torch.

Whether a run fits, and in how many micro-batches, must not depend on its neighbours.
"""

from __future__ import annotations

GPU_FRACTION = "FPTKIT_GPU_FRACTION"
"""Environment variable: the fraction of a GPU's memory that a process may use. The launcher of a study sets it."""

USABLE = 0.9
"""Fraction of a GPU's memory that is divided among its runs; the driver needs some for each process."""


def runs_on_each(runs: int, devices: int) -> int:
    """The most runs that share one of the GPUs; 1 if there is none.

    Args:
        runs: at a time.
        devices: number of GPUs.
    """
    return -(-runs // devices) if devices else 1
