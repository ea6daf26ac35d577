"""Explicit attention, whole and in parts, against torch's fused attention, in bfloat16 on this CPU.

    python benchmarks/attention.py --threads 1
    python benchmarks/attention.py --threads 1 --all       attention of all tokens to all, instead of causal

Prints, for batches of the tasks' sizes, how many times as fast as torch's fused attention ours is, forward (F) and
forward and backward (FB): medians over the rounds of ratios of processor time, the three taking turns. `WHOLE_TOKENS`
in ``fptkit/numerics/attention.py`` and the sizes in ``attention_parts.py`` were chosen from this output.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import click
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fptkit.numerics import attention as ours
from fptkit.numerics import kernels

SHAPES = (
    *((32, 4, 24, 64), (16, 12, 64, 64), (8, 12, 120, 64), (16, 4, 170, 64), (16, 4, 300, 64), (16, 4, 400, 64)),
    *((16, 4, 500, 64), (8, 4, 700, 64), (8, 4, 1000, 64), (4, 12, 1024, 64), (2, 12, 2000, 64)),
)
"""Batch, heads, tokens and width of a head."""

Way = Callable[[Tensor, int], Tensor]


def fused(packed: Tensor, heads: int, causal: bool) -> Tensor:
    """Compute attention by torch's fused operator."""
    query, key, value = packed.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return scaled_dot_product_attention(query, key, value, is_causal=causal).transpose(1, 2).flatten(2)


def explicit(packed: Tensor, heads: int, causal: bool, whole_tokens: int) -> Tensor:
    """Compute attention by `attend_packed`, in parts above a number of tokens."""
    ours.WHOLE_TOKENS = whole_tokens
    return ours.attend_packed(packed, heads, dropout=0.0, causal=causal)


def seconds(way: Way, packed: Tensor, heads: int, *, backward: bool) -> float:
    """Processor time of one pass."""
    started = time.process_time()
    with torch.set_grad_enabled(backward):
        mixed = way(packed, heads)
    if backward:
        mixed.backward(mixed.detach())
        packed.grad = None
    return time.process_time() - started


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--threads", type=int, default=torch.get_num_threads(), help="Default: torch's own number.")
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--all", "to_all", is_flag=True, help="Attention of all tokens to all, instead of causal.")
def main(threads: int, rounds: int, *, to_all: bool) -> None:
    """Measure every shape."""
    torch.set_num_threads(threads)
    if (reason := kernels.why_not()) is not None:
        raise click.ClickException(f"the C kernels are unavailable: {reason}")
    ways: dict[str, Way] = {
        "fused": lambda packed, heads: fused(packed, heads, not to_all),
        "whole": lambda packed, heads: explicit(packed, heads, not to_all, 10**9),
        "parts": lambda packed, heads: explicit(packed, heads, not to_all, 0),
    }
    click.echo(f"{'all to all' if to_all else 'causal'}, {threads} threads; times as fast as fused")
    click.echo("batch, heads, tokens, width    fused ms F, FB    whole F, FB    in parts F, FB")
    for batch, heads, tokens, width in SHAPES:
        packed = torch.randn(batch, tokens, 3 * heads * width, dtype=torch.bfloat16).requires_grad_()
        taken: dict[tuple[str, bool], list[float]] = {(name, way): [] for name in ways for way in (False, True)}
        for number in range(rounds + 1):
            for (name, backward), times in taken.items():
                took = seconds(ways[name], packed, heads, backward=backward)
                if number:  # the first round warms up
                    times.append(took)
        row = [f"{batch:>5}, {heads:>5}, {tokens:>6}, {width:>5}"]
        row.append(f"{'':4}{_ms(taken['fused', False]):>6}, {_ms(taken['fused', True]):>6}")
        for name in ("whole", "parts"):
            ratios = [
                statistics.median(a / b for a, b in zip(taken["fused", way], taken[name, way], strict=True))
                for way in (False, True)
            ]
            row.append(f"{'':6}{ratios[0]:4.1f}, {ratios[1]:4.1f}")
        click.echo("".join(row))


def _ms(times: list[float]) -> str:
    return f"{1e3 * statistics.median(times):.1f}"


if __name__ == "__main__":
    main()
