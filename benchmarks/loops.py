"""The C kernels of ``fptkit/numerics`` compared with torch's operations, forward and backward, in bfloat16 on this CPU.

    python benchmarks/loops.py
    python benchmarks/loops.py --threads 1 --rounds 51

Shapes are those of a step of GPT-2 base on Bit Memory (8 x 120 tokens). The two alternate. It prints medians of both in
milliseconds, and the median, minimum and maximum of the ratios per round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor, nn

from fptkit.numerics import kernels
from fptkit.numerics.attention import attend_packed
from fptkit.numerics.ops import add_dropped, dropout, gelu, gelu_exact, norm_branch, rms_norm, silu_product

BATCH, TOKENS, WIDTH, HEADS = 8, 120, 768, 12
WARM_UP = 3

Work = Callable[[], Tensor]


def works() -> dict[str, Work]:
    """Return a forward function for each operation; its inputs require gradients."""
    torch.manual_seed(0)
    stream = torch.randn(BATCH, TOKENS, WIDTH, requires_grad=True)
    branch = torch.randn(BATCH, TOKENS, WIDTH, dtype=torch.bfloat16, requires_grad=True)
    wide = torch.randn(BATCH, TOKENS, 4 * WIDTH, dtype=torch.bfloat16, requires_grad=True)
    packed = torch.randn(BATCH, TOKENS, 3 * WIDTH, dtype=torch.bfloat16, requires_grad=True)
    norm = nn.LayerNorm(WIDTH)
    nn.init.normal_(norm.weight)

    def normed() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            started, passed = norm_branch(norm, stream)
        return torch.cat((started.bfloat16(), passed.bfloat16()))  # the cast that the next matrix product would do

    def rms_normed() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return rms_norm(stream, norm.weight, 1e-5).bfloat16()

    other = torch.randn(BATCH, TOKENS, 4 * WIDTH, dtype=torch.bfloat16, requires_grad=True)
    return {
        "gelu": lambda: gelu(wide),
        "dropout": lambda: dropout(stream, 0.1, True),
        "dropout, added": lambda: add_dropped(stream, branch, 0.1, True),
        "layer norm": normed,
        "attention": lambda: attend_packed(packed, HEADS, dropout=0.0),
        "gelu, exact": lambda: gelu_exact(wide),
        "gated product": lambda: silu_product(wide, other),
        "rms norm": rms_normed,
    }


def milliseconds(work: Work, grad: Tensor) -> tuple[float, float]:
    """Return the milliseconds of one forward and of one backward pass."""
    started = time.perf_counter()
    output = work()
    between = time.perf_counter()
    output.backward(grad)
    return 1e3 * (between - started), 1e3 * (time.perf_counter() - between)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21, help="default: 21")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's own number")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if why := kernels.why_not():
        raise SystemExit(f"the C kernels are unavailable: {why}")
    print(f"{given.threads} threads, medians of {given.rounds}, ms            ours    torch    times as fast")
    for name, work in works().items():
        grad = torch.randn_like(work())
        ours, theirs = [], []
        for number in range(WARM_UP + given.rounds):
            both = milliseconds(work, grad)
            with mock.patch.object(kernels, "run_on", return_value=False):
                other = milliseconds(work, grad)
            if number >= WARM_UP:
                ours.append(both)
                theirs.append(other)
        for place, direction in enumerate(("forward", "backward")):
            mine, torchs = [taken[place] for taken in ours], [taken[place] for taken in theirs]
            ratios = [other / own for own, other in zip(mine, torchs, strict=True)]
            print(
                f"{name:16} {direction:10} {'':8} {statistics.median(mine):10.2f} {statistics.median(torchs):8.2f}"
                f"    {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
