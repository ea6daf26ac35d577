"""How fast this machine multiplies matrices, measured in about a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fptkit.lab.benchmarking.products import wait_for
from fptkit.lab.doctor.findings import Finding

PATIENCE_S = 0.25
"""Seconds for a precision; at least one product is timed."""

LONG_ENOUGH_S = 0.02
"""A product that takes this long is not made larger: its rate no longer grows."""

SIZES = {"cpu": (256, 512, 1024, 2048), "cuda": (1024, 2048, 4096, 8192)}
"""Rows and columns of the square matrices, tried in this order, by type of device."""


def matrix_rates(device: torch.device, *, only: str = "") -> dict[str, float | str]:
    """Operations per second of matrix products, by precision: the best of several, as matrices grow.

    Args:
        device: where they are multiplied.
        only: measure this precision alone.

    Returns:
        Two operations for each multiplication and addition, per second; why a precision cannot be measured.
    """
    found: dict[str, float | str] = {}
    for name, (make, multiply) in _products(device).items():
        if only not in ("", name):
            continue
        try:
            found[name] = _rate(device, make, multiply)
        except (RuntimeError, AttributeError, AssertionError) as err:  # not on this device, or in this torch
            found[name] = str(err).partition("\n")[0] or type(err).__name__
    return found


def findings(device: torch.device) -> Iterator[Finding]:
    """The measured rates in words."""
    for name, rate in matrix_rates(device).items():
        if isinstance(rate, str):
            yield Finding(name, f"not available: {rate}", "note")
        else:
            unit = "TOP/s" if name == "int8" else "TFLOP/s"
            text = f"{rate / 1e12:.3g} {unit} in matrix products on {device.type}"
            yield Finding(name, text, facts={"operations_per_second": rate})


def _products(device: torch.device) -> dict[str, tuple[Callable[[int], Tensor], Callable[[Tensor, Tensor], Tensor]]]:
    """For each precision: how a square matrix is made, and how two are multiplied."""

    def floating(dtype: torch.dtype) -> Callable[[int], Tensor]:
        return lambda size: torch.ones(size, size, dtype=dtype, device=device)

    def integers(size: int) -> Tensor:
        return torch.ones(size, size, dtype=torch.int8, device=device)

    return {
        "float32": (floating(torch.float32), torch.mm),
        "bfloat16": (floating(torch.bfloat16), torch.mm),
        "int8": (integers, lambda one, other: torch._int_mm(one, other)),
    }


def _rate(device: torch.device, make: Callable[[int], Tensor], multiply: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Operations per second of the fastest product."""
    best, begun = 0.0, time.perf_counter()
    for size in SIZES[device.type]:
        one, other = make(size), make(size)
        multiply(one, other)  # the first product of a size also prepares
        wait_for(device)
        for _ in range(3):
            started = time.perf_counter()
            multiply(one, other)
            wait_for(device)
            taken = time.perf_counter() - started
            best = max(best, 2 * size**3 / taken)
        if taken > LONG_ENOUGH_S or time.perf_counter() - begun > PATIENCE_S:
            break
    return best
