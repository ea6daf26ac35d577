"""The matrix products of a piece of work, and the rate at which this machine does such products alone.

A step is as fast as it can be where it spends its time in matrix products at the machine's own rate; the share it
reaches of that rate says what is left to gain.
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
"""(M, K, N): an M x K matrix times a K x N one, 2 M K N floating-point operations."""

COVERED = 0.9
"""Share of the work's operations that the measured products stand for; what is left are many small ones."""

SHORTEST_S = 0.004
"""Least time of one measurement: a product that is done sooner is repeated, so that the clock's grain vanishes."""


class _Products(TorchDispatchMode):
    """Notes the sizes of every product of two matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[Sizes] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        pair = {torch.ops.aten.mm.default: args[:2], torch.ops.aten.addmm.default: args[1:3]}.get(func)
        if pair is not None:
            one, other = pair
            self.seen[one.shape[0], one.shape[1], other.shape[1]] += 1
        return func(*args, **(kwargs or {}))


def products_of(work: Callable[[], object]) -> Counter[Sizes]:
    """Do a piece of work once; how often it multiplied two matrices, by their sizes. Batched products are left out."""
    with _Products() as products:
        work()
    return products.seen


def largest(products: Counter[Sizes]) -> list[Sizes]:
    """Those that make up `COVERED` of the operations of all, the costliest first."""
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
    """Products of matrices of ones, one size after the other, to be timed again and again beside what is compared.

    Args:
        products: sizes of the products; each takes about as long as the others.
        dtype: of both factors and of the result.
        device: where.
    """

    def __init__(self, products: Sequence[Sizes], dtype: torch.dtype, device: torch.device) -> None:
        self._device = device
        self._factors = [
            (torch.ones(m, k, dtype=dtype, device=device), torch.ones(k, n, dtype=dtype, device=device))
            for m, k, n in products
        ]
        self._times = [_repetitions(pair, device) for pair in self._factors]
        self._flops = sum(2 * m * k * n * count for (m, k, n), count in zip(products, self._times, strict=True))

    def rate(self) -> float:
        """Floating-point operations a second, measured now."""
        wait_for(self._device)
        started = time.perf_counter()
        for (one, other), count in zip(self._factors, self._times, strict=True):
            for _ in range(count):
                torch.mm(one, other)
        wait_for(self._device)
        return self._flops / (time.perf_counter() - started)


def _repetitions(pair: tuple[Tensor, Tensor], device: torch.device) -> int:
    """How often a product is done to take `SHORTEST_S`; warms up as well."""
    torch.mm(*pair)
    wait_for(device)
    started = time.perf_counter()
    torch.mm(*pair)
    wait_for(device)
    return max(1, round(SHORTEST_S / (time.perf_counter() - started)))


def wait_for(device: torch.device | str) -> None:
    """Wait until the device has done what it was given; a processor always has."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
