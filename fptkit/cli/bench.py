"""``fptkit bench``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fptkit.cli.completion import recipe_names
from fptkit.cli.shared import json_option, load_registry, plugin_option, print_json, print_rows, recipe_options
from fptkit.specs import limits

if TYPE_CHECKING:
    from fptkit.lab.benchmarking.steps import StepFigures


@click.command(
    epilog="""\b
Examples:
  fptkit bench bit_memory_gpt2
  fptkit bench homology_gpt2 --steps 20
  fptkit bench bit_xor_gpt2 --set precision=float32 --set threads=1 --json
"""
)
@click.argument("recipe", shell_complete=recipe_names)
@recipe_options
@click.option(
    "--steps", type=click.IntRange(1, limits.STEPS), default=5, show_default=True, help="Training steps per repeat."
)
@click.option(
    "--repeats", type=click.IntRange(1, limits.REPEATS), default=5, show_default=True, help="Number of measurements."
)
@json_option
@plugin_option
def bench(
    recipe: str,
    profile: str | None,
    overrides: Sequence[str],
    steps: int,
    repeats: int,
    as_json: bool,
    plugin_files: Sequence[Path],
) -> None:
    """Measure the training throughput of RECIPE on this machine; nothing is saved.

    Prints examples and tokens per second, the fraction of the machine's matrix-product rate, the peak memory, and the
    time of each part of a step.
    """
    from fptkit.recipe.load import load_recipe

    loaded = load_recipe(
        recipe, profile=profile, overrides=overrides, plugin_files=plugin_files, registry_loader=load_registry
    )
    # Heavy imports only now, so that errors of the recipe are reported at once.
    from dataclasses import asdict

    from fptkit.lab.benchmarking.steps import measure_steps

    figures = measure_steps(loaded, steps=steps, repeats=repeats)
    if as_json:
        derived = ("examples_per_second", "tokens_per_second", "flops_per_second", "share_of_matrix_rate")
        print_json({**asdict(figures), **{name: getattr(figures, name) for name in derived}})
    else:
        click.echo(_headline(figures))
        print_rows([{"figure": name, "value": value} for name, value in _lines(figures)])


def _headline(figures: StepFigures) -> str:
    threads = f", {figures.threads} thread{'s' if figures.threads > 1 else ''}" if figures.device == "cpu" else ""
    return (
        f"{figures.recipe}: {figures.task} with {figures.backbone} ({figures.weights}) on {figures.device}{threads}, "
        f"frozen weights in {figures.precision}"
    )


def _lines(figures: StepFigures) -> list[tuple[str, str]]:
    """Name and formatted value of every figure."""
    total = sum(figures.stages_ms.values())
    rates = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in figures.matrix_rates.items())
    padding = f", {figures.padding:.0%} of them padding" if figures.padding else ""
    return [
        ("batch", f"{figures.examples:.4g} examples, {figures.tokens:,.0f} tokens{padding}"),
        (
            "step",
            f"{figures.step_ms:,.1f} ms (median of {figures.repeats} x {figures.steps}; "
            f"{figures.fastest_ms:,.1f} to {figures.slowest_ms:,.1f})",
        ),
        ("examples", f"{figures.examples_per_second:,.1f} per second"),
        ("tokens", f"{figures.tokens_per_second:,.0f} per second"),
        (
            "operations",
            f"{figures.flops_per_step / 1e9:,.1f} GFLOP per step, {figures.flops_per_second / 1e9:,.1f} per second",
        ),
        ("matrix products", rates),
        ("fraction of that", f"{figures.share_of_matrix_rate:.0%} of the rate in {figures.precision}"),
        ("peak memory", f"{figures.peak_memory_mib:,.0f} MiB"),
        *((name, f"{taken:,.1f} ms ({taken / total:.0%})") for name, taken in figures.stages_ms.items()),
    ]
