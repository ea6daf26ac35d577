"""The matrix products of a training step, and the rate at which this machine does these products alone.

A step cannot be faster than its matrix products at that rate. The fraction of it that a step reaches shows how much
there is to gain.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Sizes = tuple[int, int, int]
"""(M, K, N): an M x K matrix times a K x N matrix, 2 M K N floating-point operations."""

COVERED = 0.9
"""Fraction of all operations that the measured products cover; the rest is in many small products."""

SHORTEST_S = 0.004
"""Shortest measurement in seconds: faster products are repeated, so that clock resolution does not matter."""


class _Products(TorchDispatchMode):
    """Records the sizes of every product of two matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[Sizes] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        pair = {
            torch.ops.aten.mm.default: args[:2],
            torch.ops.aten._int_mm.default: args[:2],
            torch.ops.aten.addmm.default: args[1:3],
        }.get(func)
        if pair is not None:
            one, other = pair
            self.seen[one.shape[0], one.shape[1], other.shape[1]] += 1
        return func(*args, **(kwargs or {}))


def products_of(work: Callable[[], object]) -> Counter[Sizes]:
    """Run ``work`` once and count its matrix products by their sizes; batched products are not counted."""
    with _Products() as products:
        work()
    return products.seen


def rates_for(precision: str) -> dict[str, torch.dtype]:
    """The names and dtypes of products that a step in a precision is compared with."""
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
    return dtypes if precision == "int8" else {name: dtypes[name] for name in ("float32", "bfloat16")}


def rate_of(precision: str) -> str:
    """The name in `rates_for` of the products of a precision."""
    return "bfloat16" if precision == "int8_storage" else precision


def largest(products: Counter[Sizes]) -> list[Sizes]:
    """The sizes with the most operations, largest first, that together make up `COVERED` of all operations."""
    costs = {sizes: 2 * sizes[0] * sizes[1] * sizes[2] * count for sizes, count in products.items()}
    chosen: list[Sizes] = []
    left = COVERED * sum(costs.values())
    for sizes in sorted(costs, key=lambda sizes: (-costs[sizes], sizes)):
        if left <= 0:
            break
        chosen.append(sizes)
        left -= costs[sizes]
    return chosen


class ProductsAlone:
    """Times matrix products of given sizes, in turns with the step they are compared with.

    Args:
        products: sizes of the products; each is repeated to take about the same time as the others.
        dtype: of both factors, and of the result; products of int8 are int32.
        device: device of the matrices.
    """

    def __init__(self, products: Sequence[Sizes], dtype: torch.dtype, device: torch.device) -> None:
        self._device = device
        self._factors = [
            (torch.ones(m, k, dtype=dtype, device=device), torch.ones(k, n, dtype=dtype, device=device))
            for m, k, n in products
        ]
        self._multiply = torch._int_mm if dtype == torch.int8 else torch.mm
        self._times = [self._repetitions(pair) for pair in self._factors]
        self._flops = sum(2 * m * k * n * count for (m, k, n), count in zip(products, self._times, strict=True))

    def rate(self, now: Callable[[], float] = time.perf_counter) -> float:
        """Measure once: operations per second of a clock."""
        wait_for(self._device)
        started = now()
        for (one, other), count in zip(self._factors, self._times, strict=True):
            for _ in range(count):
                self._multiply(one, other)
        wait_for(self._device)
        return self._flops / (now() - started)

    def _repetitions(self, pair: tuple[Tensor, Tensor]) -> int:
        """Number of repetitions of a product that take `SHORTEST_S`; also warms up."""
        self._multiply(*pair)
        wait_for(self._device)
        started = time.perf_counter()
        self._multiply(*pair)
        wait_for(self._device)
        return max(1, round(SHORTEST_S / (time.perf_counter() - started)))


def wait_for(device: torch.device | str) -> None:
    """Wait until the device has finished its queued work; returns at once for a CPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
