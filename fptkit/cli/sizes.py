"""What ``fptkit validate --estimate`` prints below a recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fptkit.lab.benchmarking.estimate import Estimate
    from fptkit.recipe.load import LoadedRecipe


def print_estimate(loaded: LoadedRecipe, *, tflops: float | None = None) -> None:
    """Estimate what a recipe needs and print it, one line per figure.

    Args:
        loaded: the recipe.
        tflops: sustained rate of the machine in 10^12 floating-point operations per second; None: the assumed one.

    Raises:
        FptkitError: its data or the config of its weights are not available, or its parts do not fit together.
    """
    from fptkit.lab.benchmarking.estimate import estimate
    from fptkit.lab.benchmarking.hours import ASSUMED, shown_hours

    speed = ASSUMED if tflops is None else replace(ASSUMED, tflops=tflops)
    found = estimate(loaded)
    assumption = speed.assumption(recurrent=found.in_turn > 0)
    lines = [*_lines(found), ("time", f"{shown_hours(speed.seconds(found.work))} hours, {assumption}")]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        click.echo(f"  {name:{width}}  {value}")
    for note in found.notes:
        click.echo(f"  note: {note}")


def _lines(found: Estimate) -> list[tuple[str, str]]:
    """Name and formatted value of every figure."""
    share = found.trained / found.parameters
    longest = f"; the longest example has {found.max_tokens:,}" if found.max_tokens > found.tokens else ""
    return [
        ("parameters", f"{found.parameters:,}, of which {found.trained:,} train ({share:.2%})"),
        ("sizes of", found.weights),
        ("batch", f"{found.examples:,} x {found.tokens:,} tokens{longest}"),
        ("memory", f"{_size(found.memory_bytes)} on {found.device}, without Python, libraries and data"),
        ("- frozen", f"{_size(found.frozen_bytes)}, large matrices in {found.precision}"),
        ("- trained", f"{_size(found.trained_bytes)}, in float32"),
        ("- gradients", _size(found.gradient_bytes)),
        ("- optimizer", _size(found.optimizer_bytes)),
        ("- activations", f"{_size(found.activation_bytes)}, stored from forward to backward"),
        (
            "operations",
            f"{_flops(found.flops_per_step)} per step, {_flops(found.flops_per_run)} in {found.steps:,} steps",
        ),
    ]


def _size(count: int) -> str:
    """Bytes in a readable unit."""
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"


def _flops(count: float) -> str:
    """Floating-point operations in a readable unit."""
    for unit, scale in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count / 1e6:,.1f} MFLOP"
