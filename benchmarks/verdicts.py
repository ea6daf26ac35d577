"""Error rate and power of verdicts: how often they are wrong without an effect, and how often they find an effect.

    python benchmarks/verdicts.py --studies 20000

Simulated studies are judged by the code of reports. Each run has a true accuracy: that of its learning rate plus the
effect of its seed. Validation and test count correct answers on finitely many examples. Without an effect the two arms
of a question have the same expected test accuracy, search included, so every ``better`` or ``worse`` is wrong; a
question counts as wrong if it has one such verdict on any of its tasks. Prints the tables of ``docs/statistics.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import click
import numpy as np
from numpy.typing import NDArray

from fptkit.lab.studies.sequential import anytime_p, anytime_same
from fptkit.lab.studies.statistics import (
    LEVEL,
    combined,
    equivalence,
    heterogeneity,
    holm,
    paired_tests,
    rounding_of,
    stouffer,
)

Array = NDArray[Any]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]
Choose = Literal["per_seed", "common"]

SEEDS = (3, 5, 10)
AT_LEAST, AT_MOST = 3, 20
MARGIN = 0.01
LARGE_MARGIN = 0.1
CHUNK = 2000
UNTIL, MEDIAN = "until decided", "median seeds"


def no_noise(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Zeros."""
    return np.zeros(shape)


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal."""
    return generator.standard_normal(shape)


def heavy(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Student's t with two degrees of freedom: no variance."""
    return generator.standard_t(2, size=shape)


def skewed(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Mean 0, a long tail below: 1 minus an exponential variable."""
    return 1 - generator.standard_exponential(shape)


def collapse(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """One run in five is 10 below the others, which are equal."""
    return np.where(generator.random(shape) < 0.2, -10.0, 0.0)


@dataclass(frozen=True)
class Design:
    """Distribution of simulated studies.

    Args:
        name: name in the table.
        abilities: true accuracy at each learning rate, without noise.
        noise: distribution of the effect of a seed, in units of ``deviation``.
        deviation: scale of the effect of a seed on the accuracy.
        other: noise and deviation of all arms but the first; None: the same.
        shared: fraction of the noise's variance that both arms of a pair have in common.
        test, validation: examples of the two splits.
        tasks: number of tasks; the comparisons of a question are corrected together.
        arms: number of arms; each question compares two of them.
        pairs: the questions.
        effect: added to the true accuracy of the first arm.
    """

    name: str
    abilities: tuple[float, ...] = (0.8,)
    noise: Noise = normal
    deviation: float = 0.02
    other: tuple[Noise, float] | None = None
    shared: float = 0.0
    test: int = 1000
    validation: int = 1000
    tasks: int = 1
    arms: int = 2
    pairs: tuple[tuple[int, int], ...] = ((0, 1),)
    effect: float = 0.0


CURVE = (0.6, 0.74, 0.78, 0.79, 0.77)
STEEP = (0.6, 0.78, 0.8, 0.79, 0.7)
FLAT = (0.78, 0.785, 0.79, 0.795, 0.8)
LIKE = (0.785, 0.79, 0.79, 0.788, 0.786)
FOUR_ARMS = ((0, 1), (0, 2), (0, 3), (2, 3))
DIGITS = Design("five rates, digits: seed noise 0.7 points", CURVE, deviation=0.007, test=360, validation=144)

DESIGNS = (
    Design("one rate"),
    Design("one rate, large test", test=10_000, deviation=0.01),
    Design("one rate, test of 100", test=100, validation=100),
    Design("one rate, test of 100, no seed noise", test=100, validation=100, noise=no_noise),
    Design("one rate, near 1", (0.995,), deviation=0.005, test=500, validation=500),
    Design("one rate, near 1, test of 100: equal values", (0.995,), noise=no_noise, test=100, validation=100),
    Design("one rate, heavy tails", noise=heavy, test=10_000),
    Design("one rate, skewed", noise=skewed, test=10_000),
    Design("one rate, one run in five collapses", noise=collapse, deviation=0.03, test=10_000),
    Design("one rate, half the noise shared by the arms", shared=0.5),
    Design("one rate, seed noise 1 and 3 points", deviation=0.01, other=(normal, 0.03)),
    Design("five rates, seed noise 1 point", CURVE, deviation=0.01, test=2000, validation=2000),
    Design("five rates, seed noise 2 points", CURVE),
    Design("five rates, seed noise 1 and 3 points", CURVE, deviation=0.01, other=(normal, 0.03)),
    DIGITS,
    Design("five rates, splits of 100", STEEP, test=100, validation=100),
    Design("five rates, splits of 500, no seed noise", STEEP, test=500, validation=500, noise=no_noise),
    Design("five rates, validation of 100", STEEP, test=10_000, validation=100, deviation=0.005),
    Design("five rates, validation of 1,000, no seed noise", STEEP, test=10_000, noise=no_noise),
    Design("five like rates, seed noise 1 point", LIKE, deviation=0.01, test=2000, validation=2000),
    Design("five like rates, validation of 200", FLAT, validation=200, deviation=0.005),
    Design("five rates, heavy tails", STEEP, test=10_000, noise=heavy, deviation=0.01),
    Design("five rates, skewed", STEEP, test=10_000, noise=skewed),
    Design("three rates, near 1", (0.95, 0.99, 0.998), test=500, validation=500, deviation=0.005),
    Design("three rates, two saturate validation", (0.95, 0.99, 0.998), no_noise, test=10_000, validation=100),
    Design("two rates, one run in five collapses", (0.75, 0.8), noise=collapse, deviation=0.03, test=10_000),
    replace(DIGITS, name="digits, 4 arms on 3 tasks", tasks=3, arms=4, pairs=FOUR_ARMS),
    replace(DIGITS, name="digits, 12 tasks", tasks=12),
)
"""Designs on which the error rate is tested."""

LIMITS = (
    Design("one run in five collapses, 12 tasks", noise=collapse, deviation=0.03, test=10_000, tasks=12),
    Design("one arm is skewed, the other has no noise", noise=skewed, other=(no_noise, 0.0), test=10_000),
    Design("one run in five collapses, in one arm only", noise=collapse, deviation=0.03, other=(no_noise, 0.0)),
)
"""Designs that break what the t-test assumes."""

LOWER = tuple(rate - 0.04 for rate in CURVE)
POWER = (
    Design("one rate, seed noise 1 point", (0.75,), deviation=0.01, test=2000, validation=2000),
    Design("five rates, seed noise 1 point", LOWER, deviation=0.01, test=2000, validation=2000),
    Design("five rates, seed noise 2 points", LOWER, deviation=0.02, test=2000, validation=2000),
    replace(DIGITS, abilities=LOWER),
)
SAME = (
    Design("one rate, seed noise 0.2 points", (0.75,), deviation=0.002, test=20_000),
    Design("one rate, seed noise 0.5 points", (0.75,), deviation=0.005, test=10_000),
    POWER[1],
    replace(DIGITS, abilities=LOWER),
)
EFFECTS = (0.01, 0.02, 0.05, 0.1)

SEVERAL_TASKS = (
    Design("3 tasks", CURVE, deviation=0.01, test=2000, validation=2000, tasks=3),
    Design("12 tasks", CURVE, deviation=0.01, test=2000, validation=2000, tasks=12),
    replace(DIGITS, name="3 tasks, digits", tasks=3),
    Design("12 tasks, splits of 100", STEEP, test=100, validation=100, tasks=12),
    Design("3 tasks, heavy tails", STEEP, noise=heavy, deviation=0.01, test=10_000, tasks=3),
)


@dataclass(frozen=True)
class Drawn:
    """Accuracies of simulated studies: test and validation, (studies, tasks, arms, rates, seeds)."""

    test: Array
    validation: Array


@dataclass(frozen=True)
class Scores:
    """Test accuracy of both arms of each question at the chosen rates, (studies, questions, tasks, seeds)."""

    a: Array
    b: Array


def draw(design: Design, studies: int, seed: int, seeds: int = AT_MOST) -> Drawn:
    """Simulate studies of a design with ``seeds`` seeds."""
    generator = np.random.default_rng(seed)
    shape = (studies, design.tasks, design.arms, len(design.abilities), seeds)
    common = design.noise(generator, (*shape[:2], 1, *shape[3:])) if design.shared else 0.0
    own = design.deviation * design.noise(generator, shape)
    if design.other:
        noise, deviation = design.other
        own[:, :, 1:] = deviation * noise(generator, own[:, :, 1:].shape)
    noise_of_seeds = np.sqrt(1 - design.shared) * own + np.sqrt(design.shared) * design.deviation * common
    ability = np.array(design.abilities)[:, None] + noise_of_seeds
    ability[:, :, 0] += design.effect
    ability = np.clip(ability, 0, 1)
    return Drawn(
        generator.binomial(design.test, ability) / design.test,
        generator.binomial(design.validation, ability) / design.validation,
    )


def chosen(drawn: Drawn, seeds: int, choose: Choose) -> Array:
    """Test accuracy at the rates chosen with the first ``seeds`` seeds, (studies, tasks, arms, seeds)."""
    validation = drawn.validation[..., :seeds]
    if choose == "common":
        validation = validation.mean(axis=-1, keepdims=True)
    rates = validation.argmax(axis=-2)[..., None, :]
    return np.take_along_axis(drawn.test[..., :seeds], rates, axis=-2)[..., 0, :]


def scores(design: Design, drawn: Drawn, seeds: int, choose: Choose = "per_seed") -> Scores:
    """Scores of each question. If arms differ in their noise, their expected scores are made equal."""
    results = chosen(drawn, seeds, choose)
    if design.other and not design.effect:
        results = results - _expected(design, seeds, choose)[:, None]
    a, b = (np.moveaxis(results[:, :, [pair[i] for pair in design.pairs]], 1, 2) for i in (0, 1))
    return Scores(a, b)


_EXPECTED: dict[tuple[str, int], Array] = {}


def _expected(design: Design, seeds: int, choose: Choose) -> Array:
    """Expected test accuracy of each arm at its chosen rate, from a million runs."""
    group = seeds if choose == "common" else 1
    if (design.name, group) not in _EXPECTED:
        runs = chosen(draw(design, 1_000_000 // group, seed=10**6, seeds=group), group, choose)
        _EXPECTED[design.name, group] = runs.mean(axis=(0, 1, 3))
    return _EXPECTED[design.name, group]


def verdicts(given: Scores) -> Array:
    """1 for ``better``, -1 for ``worse``, else 0: (studies, questions, tasks)."""
    tests = paired_tests(given.a, given.b)
    return np.where(holm(tests.p) < LEVEL, np.sign(tests.mean), 0)


def same(given: Scores, margin: float) -> Array:
    """Whether the verdict of equivalence is reached: (studies, questions, tasks)."""
    tests = paired_tests(given.a, given.b)
    return holm(equivalence(tests.mean, tests.standard_error, given.a.shape[-1], margin)) < LEVEL


@dataclass(frozen=True)
class Stopped:
    """Seeds added until decided.

    Args:
        verdict: 1 for ``better``, -1 for ``worse``, 0 without a verdict.
        seeds: number of seeds until the verdict, `AT_MOST` + 1 without one.

    Shapes: (studies, questions, tasks).
    """

    verdict: Array
    seeds: Array


def until_decided(given: Scores) -> Stopped:
    """Look after every seed and stop at the first ``better`` or ``worse``."""
    differences = given.a - given.b
    return _stopped(anytime_p(differences, rounding=rounding_of(given.a, given.b)), differences)


def until_same(given: Scores, margin: float) -> Stopped:
    """Look after every seed and stop at the first ``same``, whose verdict is 1 or -1."""
    differences = given.a - given.b
    return _stopped(anytime_same(differences, margin, rounding=rounding_of(given.a, given.b)), differences)


def repeated_test(given: Scores) -> Stopped:
    """The usual mistake: look at a paired t-test after every seed."""
    p = np.ones(given.a.shape)
    for seeds in range(AT_LEAST, given.a.shape[-1] + 1):
        p[..., seeds - 1] = paired_tests(given.a[..., :seeds], given.b[..., :seeds]).p
    return _stopped(p, given.a - given.b)


def _stopped(p: Array, differences: Array) -> Stopped:
    """Stop at the first look at which p, corrected over tasks, is below the level.

    Shapes: p, differences (studies, questions, tasks, seeds).
    """
    found = np.moveaxis(holm(np.moveaxis(p, 2, 3)), 3, 2) < LEVEL
    found[..., : AT_LEAST - 1] = False
    seeds = np.where(found.any(axis=-1), found.argmax(axis=-1) + 1, AT_MOST + 1)
    at = np.minimum(seeds, AT_MOST)[..., None] - 1
    sign = np.sign(np.take_along_axis(np.cumsum(differences, axis=-1), at, axis=-1)[..., 0])
    return Stopped(np.where(seeds <= AT_MOST, sign, 0), seeds)


def chunks(design: Design, studies: int, seed: int) -> Iterator[Drawn]:
    """Studies of a design in chunks that fit into memory; always the same for a seed."""
    for start in range(0, studies, CHUNK):
        yield draw(design, min(CHUNK, studies - start), seed=seed * 1000 + start // CHUNK)


def wrong(verdict: Array) -> Array:
    """Whether a question without an effect has a verdict on any of its tasks: (studies, questions)."""
    return (verdict != 0).any(axis=-1)


def right(verdict: Array) -> Array:
    """Whether a question with an effect of the first arm finds it on any of its tasks: (studies, questions)."""
    return (verdict > 0).any(axis=-1)


Shares = dict[str, tuple[float, ...]]
"""Fractions of questions under each heading: one for each number of seeds, or one for seeds added until decided."""


def verdict_shares(
    design: Design, studies: int, seed: int, count: Callable[[Array], Array] = wrong, whole_study: bool = False
) -> Shares:
    """Fraction of questions with a verdict that counts, for each way to choose rates and seeds.

    Args:
        design: the studies.
        studies: their number.
        seed: seed of the simulation.
        count: `wrong` without an effect, `right` with one.
        whole_study: count studies with any such question instead.
    """
    found = _Found()
    for drawn in chunks(design, studies, seed):
        for choose in ("per_seed", "common"):
            for seeds in SEEDS:
                given = scores(design, drawn, seeds, choose)
                found.add(choose, seeds, count(verdicts(given)))
        stopped = until_decided(scores(design, drawn, AT_MOST))
        found.add(UNTIL, AT_MOST, count(stopped.verdict))
        found.add(MEDIAN, AT_MOST, stopped.seeds)
    return found.shares(whole_study)


def same_shares(design: Design, difference: float, margin: float, studies: int, seed: int) -> Shares:
    """Fraction of questions with a verdict of ``same`` on any of their tasks, if arms differ by ``difference``."""
    found = _Found()
    for drawn in chunks(design, studies, seed):
        for seeds in SEEDS:
            found.add("per_seed", seeds, same(_apart(design, drawn, seeds, difference), margin).any(axis=-1))
        stopped = until_same(_apart(design, drawn, AT_MOST, difference), margin)
        found.add(UNTIL, AT_MOST, wrong(stopped.verdict))
        found.add(MEDIAN, AT_MOST, stopped.seeds)
    return found.shares()


def _apart(design: Design, drawn: Drawn, seeds: int, difference: float) -> Scores:
    """Scores whose expected difference is exactly ``difference``."""
    given = scores(design, drawn, seeds)
    return Scores(given.a + difference, given.b)


def answer_shares(design: Design, studies: int, seed: int) -> Shares:
    """Fraction of questions with a combined verdict, and of those whose tasks are found to differ."""
    found = _Found()
    for drawn in chunks(design, studies, seed):
        for seeds in SEEDS:
            given = scores(design, drawn, seeds)
            tests = paired_tests(given.a, given.b)
            answer = combined(given.a - given.b, rounding=rounding_of(given.a, given.b).max(axis=-1))
            found.add("combined", seeds, answer.p < LEVEL)
            found.add("differ", seeds, heterogeneity(tests.mean, tests.standard_error, seeds).p < LEVEL)
            found.add("stouffer", seeds, stouffer(tests.p, tests.mean) < LEVEL)
    return found.shares()


class _Found:
    """What was counted in each chunk of studies, by heading and number of seeds."""

    def __init__(self) -> None:
        self._chunks: dict[str, dict[int, list[Array]]] = {}

    def add(self, heading: str, seeds: int, counted: Array) -> None:
        """Add one chunk: (studies, questions)."""
        self._chunks.setdefault(heading, {}).setdefault(seeds, []).append(counted)

    def shares(self, whole_study: bool = False) -> Shares:
        """Fractions of all questions, or of studies with any such question; the median of numbers of seeds."""
        shares = {}
        for heading, columns in self._chunks.items():
            given = [np.concatenate(chunk) for chunk in columns.values()]
            if heading == MEDIAN:
                shares[heading] = tuple(float(np.median(each)) for each in given)
            else:
                shares[heading] = tuple(float((each.any(axis=-1) if whole_study else each).mean()) for each in given)
        return shares


def normal_scores(effect: float, studies: int, seed: int) -> Scores:
    """Scores with normal noise; the effect is in standard deviations of a run."""
    a, b = np.random.default_rng(seed).standard_normal((2, studies, 1, 1, AT_MOST))
    return Scores(a + effect, b)


@click.command()
@click.option("--studies", default=20_000, show_default=True, help="Simulated studies per design.")
@click.option("--seed", default=0, show_default=True, help="Seed of the simulation.")
def main(studies: int, seed: int) -> None:
    """Print the tables of docs/statistics.md: percentages of questions, with 3, 5 and 10 seeds."""
    _print_errors(studies, seed)
    _print_power(studies, seed)
    _print_looks(studies, seed)
    _print_same(studies, seed)
    _head("several tasks, no effect on any", "mean over tasks", "tasks differ", "Stouffer")
    for design in SEVERAL_TASKS:
        _row(design.name, answer_shares(design, studies, seed))


def _print_errors(studies: int, seed: int) -> None:
    _head("no effect", "each seed's own rate", "common rate", "until decided", "`same` at the margin")
    for design in (*DESIGNS, *LIMITS):
        # A margin far above the noise, so that chance cannot hide an error; below, where skewed noise does most harm.
        at_margin = same_shares(design, -LARGE_MARGIN, LARGE_MARGIN, studies, seed)
        shares = verdict_shares(design, studies, seed)
        del shares[MEDIAN]
        _row(design.name, {**shares, "same": (*at_margin["per_seed"], *at_margin[UNTIL])})
    for design in DESIGNS:
        if len(design.pairs) > 1:
            name = f"{design.name}: any of {len(design.pairs)} questions"
            shares = verdict_shares(design, studies, seed, whole_study=True)
            del shares[MEDIAN]
            _row(name, {**shares, "same": ()})


def _print_power(studies: int, seed: int) -> None:
    _head("effect", "points", "each seed's own rate", "common rate", "until decided", "median seeds")
    for design in POWER:
        for effect in EFFECTS:
            shares = verdict_shares(replace(design, effect=effect), studies, seed, right)
            _row(f"{design.name} | {100 * effect:g}", shares, digits=0)


def _print_looks(studies: int, seed: int) -> None:
    _head("looked at after each seed; effect in deviations of a run", "until decided", "median seeds", "t-test")
    for effect in (0.0, 0.5, 1.0, 2.0, 3.0, 5.0):
        given = normal_scores(effect, studies, seed)
        count = right if effect else wrong
        ours, repeated = until_decided(given), repeated_test(given)
        found = _Found()
        found.add(UNTIL, AT_MOST, count(ours.verdict))
        found.add(MEDIAN, AT_MOST, ours.seeds)
        found.add("t-test", AT_MOST, count(repeated.verdict))
        _row(f"{effect:g}", found.shares())


def _print_same(studies: int, seed: int) -> None:
    _head("margin 1 point", "difference, points", "`same`", "until decided", "median seeds")
    for design in SAME:
        for difference in (MARGIN, MARGIN / 2, 0.0):
            shares = same_shares(design, difference, MARGIN, studies, seed)
            _row(f"{design.name} | {100 * difference:g}", shares)


def _head(*names: str) -> None:
    click.echo(f"\n| {' | '.join(names)} |\n|{'---|' * len(names)}")


def _row(name: str, shares: Shares, digits: int = 1) -> None:
    cells = [" / ".join(_cell(heading, share, digits) for share in each) for heading, each in shares.items()]
    click.echo(f"| {name} | {' | '.join(cells)} |")


def _cell(heading: str, value: float, digits: int) -> str:
    """A percentage, or a number of seeds."""
    if heading != MEDIAN:
        return f"{100 * value:.{digits}f}"
    return f"{value:.0f}" if value <= AT_MOST else f"> {AT_MOST}"


if __name__ == "__main__":
    main()
