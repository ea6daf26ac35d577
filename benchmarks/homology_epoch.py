"""An epoch of remote homology with GPT-2 base: token-budget batches compared with those of the official loader.

    python benchmarks/homology_epoch.py path:DIR --official CHECKOUT      # of kzl/universal-computation
    python benchmarks/homology_epoch.py path:DIR                          # without it: padding only
    python benchmarks/homology_epoch.py path:DIR --official CHECKOUT --steps 12 --rounds 7 --threads 2

DIR has data in TAPE's layout. Both use batches of 16 examples (ours on average), with random weights and dropout 0.1,
as in ``steps.py``:

- ours: the recipe of the task, profile ``paper``, with ``train.batch_tokens`` at 16 times the mean length.
- official: the official model and trainer on batches of 16 padded to the longest, as two micro-batches, without which
  the longest would not fit into 24 GB. Their examples are sorted by length within pools of 100 batches, as by TAPE's
  loader, which the official code uses; ``--order random`` draws them from all examples, which it never does.

Epochs take hours, so each round times some steps of each, with the same mix of short and long ones as in the epoch:
steps are sorted by their tokens, and every N-th is timed, with a random offset. A round's epoch is the time per token
of its steps times the epoch's tokens. Ours and the official code take turns. On a busy machine use ``--threads 1
--cpu-time``, since a processor's time is not that of the clock then.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from official import Step, official_step

from fptkit.engine.batches import micro_batches
from fptkit.interfaces import Batch
from fptkit.lab.benchmarking.prepare import Prepared, prepare
from fptkit.recipe.load import load_recipe
from fptkit.seeds import generator_for

RANDOM_BASE = ("backbone.weights=random", "backbone.size=base")
BATCH_SIZE = 16
POOL = 100 * BATCH_SIZE
"""Examples that TAPE's loader sorts by length. Source: ``tape/utils/_sampler.py`` of songlab-cal/tape."""
PARTS = 2
"""Micro-batches per batch of the official code."""


class Epoch:
    """The batches of an epoch, of which some are timed.

    Args:
        batch: returns the batch of a step.
        steps: number of steps in the epoch.
        step: does a step.
        now: the clock.
    """

    def __init__(self, batch: Callable[[int], Batch], steps: int, step: Step, now: Callable[[], float]) -> None:
        batches = [batch(number) for number in range(steps)]
        self.tokens = np.array([one.inputs.shape[0] * one.inputs.shape[1] for one in batches])
        real = sum(int(one.lengths.sum()) for one in batches if one.lengths is not None)
        self.padding = 1 - real / self.tokens.sum()
        self._step, self._now = step, now
        self._by_tokens = np.argsort(self.tokens, kind="stable")

    def chosen(self, count: int, chance: np.random.Generator) -> list[int]:
        """Choose steps evenly from short to long ones, in random order."""
        every = len(self.tokens) / count
        picked = self._by_tokens[((np.arange(count) + chance.uniform()) * every).astype(int)]
        return chance.permutation(picked).tolist()  # type: ignore[no-any-return]

    def seconds(self, chosen: list[int], clock: dict[int, float]) -> float:
        """Estimate the seconds of the complete epoch from those of the chosen steps."""
        return sum(clock[number] for number in chosen) / int(self.tokens[chosen].sum()) * int(self.tokens.sum())

    def timed(self, number: int) -> float:
        """Do a step and return its seconds."""
        started = self._now()
        self._step(number)
        return self._now() - started


def our_epoch(source: str, settings: list[str]) -> tuple[Prepared, int]:
    """Prepare the recipe up to its first step, and count the steps of its epoch."""
    overrides = [f"task.source={source}", *RANDOM_BASE, "train.batch_size=512", "precision=auto", *settings]
    lengths = prepare(load_recipe("homology_gpt2", profile="paper", overrides=[*overrides, "backbone.size=nano"]))
    counts = lengths.built.task.split("train").token_counts
    assert counts is not None
    budget = max(round(BATCH_SIZE * float(counts.mean())), int(counts.max()))
    prepared = prepare(
        load_recipe("homology_gpt2", profile="paper", overrides=[*overrides, f"train.batch_tokens={budget}"])
    )
    seen, steps = 0, 0
    while seen < len(counts):
        seen += len(prepared.batches.batch(steps))
        steps += 1
    print(f"{len(counts):,} examples of {counts.mean():.0f} tokens on average, {counts.max()} at most")
    print(f"ours: batches of {budget:,} tokens at most, {len(counts) / steps:.1f} examples on average")
    return prepared, steps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="path:DIR of data in TAPE's layout, or simulated")
    parser.add_argument("--official", type=Path, metavar="DIR", help="checkout of kzl/universal-computation")
    parser.add_argument(
        "--order", choices=("pools", "random"), default="pools", help="order of the official code's batches"
    )
    parser.add_argument(
        "--attention", choices=("eager", "sdpa"), default="eager", help="attention of the official code"
    )
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each per round; default: 8")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's own number")
    parser.add_argument("--cpu-time", action="store_true", help="measure the time of the processor, not of the clock")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="override of our recipe, such as precision=int8",
    )
    given = parser.parse_args()
    now = time.process_time if given.cpu_time else time.perf_counter
    torch.set_num_threads(given.threads)
    prepared, steps = our_epoch(given.source, given.set)
    split = prepared.built.task.split("train")
    assert split.size is not None
    chance = np.random.default_rng(0)
    order = chance.permutation(split.size)
    if given.order == "pools":
        assert split.token_counts is not None
        pools = [order[start : start + POOL] for start in range(0, split.size, POOL)]
        order = np.concatenate([pool[np.argsort(split.token_counts[pool], kind="stable")] for pool in pools])

    def theirs_batch(number: int) -> Batch:
        indices = order[number * BATCH_SIZE : (number + 1) * BATCH_SIZE].tolist()
        return split.batch(indices, generator_for(0, "random", number))

    upcoming: list[Batch] = []
    official: Step = lambda number: None  # noqa: E731
    if given.official:
        arguments = {
            "task": "remote-homology",
            "patch_size": None,
            "batch_size": BATCH_SIZE,
            "gpu_batch_size": BATCH_SIZE // PARTS,
        }
        take = official_step(given.official, arguments, lambda _: upcoming.pop(0), given.attention)

        def official(number: int) -> None:
            upcoming.extend(micro_batches(theirs_batch(number), PARTS))
            take(number)

    ours = Epoch(prepared.batches.batch, steps, prepared.step, now)
    # An incomplete last batch is dropped, since it may have fewer examples than the official trainer's micro-batches.
    theirs = Epoch(theirs_batch, split.size // BATCH_SIZE, official, now)
    for name, epoch in (("ours", ours), ("official", theirs)):
        print(
            f"{name}: {len(epoch.tokens):,} steps, {epoch.tokens.sum():,} tokens, {epoch.padding:.1%} of them padding"
        )
    if not given.official:
        return
    rounds: list[tuple[float, float]] = []
    for number in range(-1, given.rounds):
        picks = [epoch.chosen(given.steps if number >= 0 else 1, chance) for epoch in (ours, theirs)]
        clocks: tuple[dict[int, float], dict[int, float]] = ({}, {})
        for turn in zip(*picks, strict=True):
            for epoch, step, clock in zip((ours, theirs), turn, clocks, strict=True):
                clock[step] = epoch.timed(step)
        if number >= 0:  # the first one warms up
            own, other = (
                epoch.seconds(pick, clock) for epoch, pick, clock in zip((ours, theirs), picks, clocks, strict=True)
            )
            rounds.append((own, other))
            print(f"round {number + 1}: an epoch takes {own:,.0f} s, official {other:,.0f} s, {other / own:.2f} x")
    own, other = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    ratios = [other / own for own, other in rounds]
    print(
        f"medians: {own:,.0f} s and {other:,.0f} s; ours is {statistics.median(ratios):.2f} x as fast "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
