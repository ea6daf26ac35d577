"""Explicit attention against torch's fused attention, forward and backward, in bfloat16 on this CPU.

    python benchmarks/attention.py

Prints milliseconds (median of 9) and the ratio, for batches of the tasks' sizes. `EXPLICIT_TOKENS` in
``fptkit/numerics/attention.py`` was chosen from this output.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fptkit.numerics import attention as ours

SHAPES = ((32, 4, 24, 64), (16, 12, 64, 64), (8, 12, 120, 64), (16, 4, 170, 64), (16, 4, 500, 64), (8, 4, 1000, 64))


def median_ms(step: Callable[[], object]) -> float:
    """Return the median of 9 runs after 3 warm-up runs."""
    times = []
    for run in range(12):
        started = time.perf_counter()
        step()
        if run >= 3:
            times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def main() -> None:
    """Measure every shape."""
    ours.EXPLICIT_TOKENS = 10**9
    print("batch, heads, tokens, width    fused ms   explicit ms   ratio")
    for batch, heads, tokens, width in SHAPES:
        laid_out = (torch.randn(batch, tokens, heads, width, dtype=torch.bfloat16) for _ in range(3))
        query, key, value = (tensor.transpose(1, 2).requires_grad_() for tensor in laid_out)

        def step(attention: Callable[[Tensor, Tensor, Tensor], Tensor], inputs: tuple[Tensor, ...]) -> None:
            attention(*inputs).sum().backward()

        inputs = (query, key, value)
        fused = median_ms(lambda: step(lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=True), inputs))  # noqa: B023
        explicit = median_ms(lambda: step(lambda q, k, v: ours.attend(q, k, v, None, dropout=0.0), inputs))  # noqa: B023
        shape = f"{batch:>5}, {heads:>5}, {tokens:>6}, {width:>5}"
        print(f"{shape}    {fused:8.1f}    {explicit:10.1f}   {fused / explicit:5.1f}")


if __name__ == "__main__":
    main()
