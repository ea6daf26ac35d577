"""Error rate and power of verdicts: how often they are wrong without an effect, and how often they find an effect.

    python benchmarks/verdicts.py --studies 20000

Simulated studies are judged by the code of reports. Each run has a true accuracy: that of its learning rate plus the
effect of its seed. Validation and test count correct answers on finitely many examples. The learning rate is chosen by
mean validation over seeds, separately in each arm. Without an effect the arms have the same distribution, so every
``better`` or ``worse`` is wrong; a study counts as wrong if it has one such verdict. Prints the tables of
``docs/statistics.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import click
import numpy as np
from numpy.typing import NDArray

from fptkit.lab.studies.statistics import (
    LEVEL,
    holm,
    largest_gain,
    paired_tests,
    standard_error_of_differences,
)

Array = NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]


def _none(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.zeros(shape)


def _normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return generator.normal(size=shape)


def _heavy(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return generator.standard_t(2, size=shape)


def _skewed(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 1 - generator.exponential(size=shape)


def _collapse(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.where(generator.random(shape) < 0.2, -10.0, 0.0)


@dataclass(frozen=True)
class Design:
    """Distribution of simulated studies.

    Args:
        name: name in the table.
        abilities: true accuracy at each learning rate, without noise.
        noise: distribution of the effect of a seed, in units of ``deviation``.
        deviation: standard deviation of the accuracy over seeds.
        test, validation: examples of the two splits.
        arms: number of arms; the first is the reference of the others.
        tasks: number of tasks; all comparisons of a study are corrected together.
        seeds: seeds per cell.
        effect: added to the reference's accuracy, in standard deviations of a run's test accuracy.
    """

    name: str
    abilities: tuple[float, ...] = (0.8,)
    noise: Noise = _normal
    deviation: float = 0.02
    test: int = 1000
    validation: int = 1000
    arms: int = 2
    tasks: int = 1
    seeds: int = 3
    effect: float = 0.0


CURVE = (0.6, 0.78, 0.8, 0.79, 0.7)
FLAT = (0.78, 0.785, 0.79, 0.795, 0.8)

DESIGNS = (
    Design("one rate"),
    Design("one rate, large test", test=10_000, deviation=0.01),
    Design("one rate, test of 100", test=100, validation=100),
    Design("one rate, test of 100, no noise of seeds", test=100, validation=100, noise=_none),
    Design("one rate, near 1", abilities=(0.995,), deviation=0.005, test=500, validation=500),
    Design("one rate, near 1, test of 100", abilities=(0.995,), noise=_none, test=100, validation=100),
    Design("one rate, heavy tails", noise=_heavy, test=10_000),
    Design("one rate, skewed", noise=_skewed, test=10_000),
    Design("five rates", abilities=CURVE, test=2000, validation=2000, deviation=0.01),
    Design("five rates, splits of 100", abilities=CURVE, test=100, validation=100),
    Design("five rates, splits of 500, no noise of seeds", abilities=CURVE, test=500, validation=500, noise=_none),
    Design("five rates, validation of 100", abilities=CURVE, test=10_000, validation=100, deviation=0.005),
    Design("five rates, validation of 1,000", abilities=CURVE, test=10_000, validation=1000, noise=_none),
    Design("five like rates, validation of 200", abilities=FLAT, test=1000, validation=200, deviation=0.005),
    Design("five rates, heavy tails", abilities=CURVE, test=10_000, noise=_heavy, deviation=0.01),
    Design("three rates, near 1", abilities=(0.95, 0.99, 0.998), test=500, validation=500, deviation=0.005),
    Design("two rates, one run in five collapses", abilities=(0.75, 0.8), noise=_collapse, deviation=0.03, test=10_000),
)
"""Designs on which the error rate is tested, with two arms, and with five arms on two tasks; three and five seeds."""

LIMITS = (
    Design("one rate, one run in five collapses", noise=_collapse, deviation=0.03, test=10_000),
    Design(
        "validation of 100, saturated at two rates of three",
        abilities=(0.95, 0.99, 0.998),
        noise=_none,
        test=10_000,
        validation=100,
    ),
)
"""Designs whose noise three seeds cannot distinguish from an effect."""

SIZES = ((2, 1), (5, 2))
SEEDS = (3, 5)


@dataclass(frozen=True)
class Drawn:
    """Accuracies of simulated studies: test and validation, (studies, tasks, arms, rates, seeds)."""

    test: Array
    validation: Array


def draw(design: Design, studies: int, seed: int) -> Drawn:
    """Simulate studies of a design."""
    generator = np.random.default_rng(seed)
    shape = (studies, design.tasks, design.arms, len(design.abilities), design.seeds)
    ability = np.array(design.abilities)[:, None] + design.deviation * design.noise(generator, shape)
    best = max(design.abilities)
    ability[:, :, 0] += design.effect * np.sqrt(design.deviation**2 + best * (1 - best) / design.test)
    ability = np.clip(ability, 0, 1)
    return Drawn(
        generator.binomial(design.test, ability) / design.test,
        generator.binomial(design.validation, ability) / design.validation,
    )


def share_with_verdict(drawn: Drawn, *, allowances: bool = True, level: float = LEVEL) -> float:
    """Return the fraction of studies with at least one verdict.

    Args:
        drawn: the studies.
        allowances: False for the plain t-test with Holm's correction.
        level: significance level of the corrected p-values.
    """
    chosen = drawn.validation.mean(axis=-1).argmax(axis=-1)[..., None, None]
    test = np.take_along_axis(drawn.test, chosen, axis=3)[..., 0, :]
    validation = np.take_along_axis(drawn.validation, chosen, axis=3)[..., 0, :]
    gain = largest_gain(validation, drawn.validation)
    a, b = np.broadcast_to(test[:, :, :1], test[:, :, 1:].shape), test[:, :, 1:]
    loser = np.where(a.mean(axis=-1) > b.mean(axis=-1), gain[:, :, 1:], gain[:, :, :1])
    searched = drawn.validation.shape[3] > 1
    error = standard_error_of_differences(validation[:, :, :1], validation[:, :, 1:]) if searched else 0.0
    tests = paired_tests(a, b, allowance=loser, validation_error=error)
    p = tests.p_allowed if allowances else tests.p
    return float((holm(p.reshape(len(p), -1)) < level).any(axis=-1).mean())


@click.command()
@click.option("--studies", default=20_000, show_default=True, help="Simulated studies per design.")
@click.option("--seed", default=0, show_default=True, help="Seed of the simulation.")
def main(studies: int, seed: int) -> None:
    """Print the tables of docs/statistics.md."""
    columns = [(arms, tasks, seeds) for arms, tasks in SIZES for seeds in SEEDS]
    click.echo(
        "| design | " + " | ".join(f"{a} arms, {t} task{'s' * (t > 1)}, {s} seeds" for a, t, s in columns) + " |"
    )
    click.echo("|---|" + "---|" * len(columns))
    for design in (*DESIGNS, *LIMITS):
        shares = []
        for arms, tasks, seeds in columns:
            drawn = draw(replace(design, arms=arms, tasks=tasks, seeds=seeds), studies, seed)
            ours, plain = share_with_verdict(drawn), share_with_verdict(drawn, allowances=False, level=0.05)
            shares.append(f"{100 * ours:.1f} ({100 * plain:.1f})")
        click.echo(f"| {design.name} | " + " | ".join(shares) + " |")
    click.echo()
    click.echo("| design | seeds | 1 | 2 | 5 | 10 |")
    click.echo("|---|---|---|---|---|---|")
    for abilities, name in (
        ((0.6,), "one rate"),
        ((0.45, 0.6, 0.45), "three unlike rates"),
        ((0.5, 0.58, 0.6, 0.59, 0.4), "five rates"),
    ):
        for seeds in SEEDS:
            shares = []
            for effect in (1, 2, 5, 10):
                design = Design(name, abilities, deviation=0.01, test=2000, validation=2000, seeds=seeds, effect=effect)
                drawn = draw(design, studies, seed)
                ours, plain = share_with_verdict(drawn), share_with_verdict(drawn, allowances=False, level=0.05)
                shares.append(f"{100 * ours:.0f} ({100 * plain:.0f})")
            click.echo(f"| {name} | {seeds} | " + " | ".join(shares) + " |")


if __name__ == "__main__":
    main()
