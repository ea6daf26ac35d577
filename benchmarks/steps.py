"""A training step of each task with GPT-2 base and SmolLM2: ours beside what a user would write, and the official code.

    python benchmarks/steps.py --json steps.json         # about ten minutes on two free cores
    python benchmarks/steps.py --official DIR            # a checkout of kzl/universal-computation
    python benchmarks/steps.py --tasks bit_memory cifar10 --contenders int8 autocast --rounds 9 --threads 2

All have random weights, the paper's settings, and its dropout of 0.1, also of attention weights. Each contender has a
process of its own, which takes a step when asked: they alternate, so that a busy machine slows all equally, and each
has its own peak memory. After our step its matrix products alone are timed. It prints medians over the rounds with
minimum and maximum of the ratios per round, the best of the peers first, and our fraction of the throughput of the
products alone. On a busy machine, use the CPU time with ``--threads 1``, since waiting threads count as busy.

- ours: the recipe of the task, profile ``paper``, built and stepped by the engine's own code as in ``fptkit bench``,
  with ``precision: auto``; int8: the same with ``precision: int8``.
- eager, autocast, compiled, peft, fabric: ``baseline.py``, on the same task. What is not installed is left out, and
  named.
- official: the official model and trainer, built by its own ``experiment()``. It generates bits itself; the batches of
  other tasks are ours. Attention is eager, as in the transformers version of its time; ``--attention sdpa`` uses
  today's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from official import Step, official_step

from fptkit.engine.build import build_task
from fptkit.engine.facts import environment, peak_memory_mib
from fptkit.engine.setup import training_batches
from fptkit.errors import FptkitError
from fptkit.freezing.counts import gradient_pass
from fptkit.lab.benchmarking.prepare import Prepared, prepare
from fptkit.lab.benchmarking.products import ProductsAlone, largest, products_of, rate_of, rates_for
from fptkit.recipe.load import LoadedRecipe, load_recipe
from fptkit.registry import load_plugins

WARM_UP = 2
OURS = {"ours": "auto", "int8": "int8"}
PEERS = ("eager", "autocast", "compiled", "peft", "fabric")
ANSWER = "step: "
"""Begins the lines of a worker that are meant for us; libraries print others."""


@dataclass(frozen=True)
class Work:
    """One row of the table.

    Args:
        recipe: name of our recipe.
        settings: overrides of its profile ``paper``.
        official: arguments of the official ``experiment()``; empty: it cannot do this.
        body: the peers' body, ``gpt2`` or ``smollm2``.
    """

    recipe: str
    settings: tuple[str, ...]
    official: dict[str, Any] = field(default_factory=dict)
    body: str = "gpt2"

    @property
    def size(self) -> tuple[str, ...]:
        """Overrides for random weights of the body's size."""
        return ("backbone.weights=random", *(("backbone.size=base",) if self.body == "gpt2" else ()))


WORKS = {
    "bit_memory": Work(
        "bit_memory_gpt2",
        ("train.batch_size=8",),
        {"task": "bit-memory", "n": 1000, "num_patterns": 5, "patch_size": 50, "batch_size": 8},
    ),
    "bit_xor": Work(
        "bit_xor_gpt2",
        ("train.batch_size=16",),
        {"task": "bit-xor", "n": 5, "num_patterns": 2, "patch_size": 1, "batch_size": 16},
    ),
    "cifar10": Work(
        "cifar10_gpt2",
        ("task.source=simulated", "task.simulated.train=640", "task.augment=false", "train.batch_size=16"),
        {"task": "cifar10", "patch_size": 4, "batch_size": 16},
    ),
    "listops": Work(
        "listops_gpt2",
        ("task.length=[512, 512]", "task.train_size=64", "task.validation_size=8", "train.batch_size=4"),
        {"task": "listops", "patch_size": None, "batch_size": 4},
    ),
    "listops_long": Work(
        "listops_gpt2",
        ("task.length=[1000, 1000]", "task.train_size=32", "task.validation_size=8", "train.batch_size=2"),
        {"task": "listops", "patch_size": None, "batch_size": 2},
    ),
    "homology": Work(
        "homology_gpt2",
        ("task.source=simulated", "task.simulated.folds=12", "task.simulated.length=[512, 512]", "train.batch_size=2"),
        {"task": "remote-homology", "patch_size": None, "batch_size": 2},
    ),
    "smollm2": Work("bit_memory_smollm2", ("train.batch_size=8",), body="smollm2"),
}

DEFAULT_TASKS = ["bit_memory", "bit_xor", "cifar10", "homology", "smollm2"]


def recipe_of(work: Work, settings: Sequence[str] = ()) -> LoadedRecipe:
    """The recipe of a row."""
    profile = "paper" if work.body == "gpt2" else None
    overrides = ("precision=auto", *work.settings, *work.size, *settings)
    return load_recipe(work.recipe, profile=profile, overrides=overrides)


@dataclass(frozen=True)
class Contender:
    """What takes steps in a worker.

    Args:
        step: takes a step.
        about: what it reports when it is ready.
        beside: measured after each step that counts.
    """

    step: Step
    about: dict[str, Any] = field(default_factory=dict)
    beside: Callable[[], dict[str, float]] = dict


def contender(name: str, work: Work, given: argparse.Namespace) -> Contender:
    """Build one contender in this process."""
    if name in OURS:
        return _our_contender(prepare(recipe_of(work, (f"precision={OURS[name]}", *given.set))))
    loaded = recipe_of(work, given.set)
    recipe, task = loaded.recipe, build_task(loaded.recipe, loaded.registry)
    if name == "official":
        batches, _ = training_batches(recipe, task, task.split("train"))
        return Contender(official_step(given.official, work.official, batches.batch, given.attention))
    import baseline  # imported here, since transformers would add to the memory of ours

    config = baseline.smollm2_config(recipe.backbone.options.blocks.keep) if work.body == "smollm2" else None
    return Contender(baseline.plain_step(task, recipe.train.batch_size, baseline.PEERS[name], config))


def _our_contender(prepared: Prepared) -> Contender:
    precision, batch = prepared.built.precision, prepared.batches.batch(0)
    products = largest(products_of(lambda: prepared.step(0)))

    @cache  # not before the memory of the steps is known
    def alone() -> dict[str, ProductsAlone]:
        return {name: ProductsAlone(products, dtype, prepared.device) for name, dtype in rates_for(precision).items()}

    flops = gradient_pass(prepared.built.model, prepared.built.task, batch.to(prepared.device)).flops
    about = {"precision": precision, "flops": flops, "batch": f"{len(batch)} x {batch.inputs.shape[1]}"}
    return Contender(prepared.step, about, lambda: {name: product.rate() for name, product in alone().items()})


def serve(name: str, work: Work, given: argparse.Namespace) -> None:
    """Take steps whenever a line with their number arrives; `Worker` runs this in a process of its own."""
    found = contender(name, work, given)
    _answer(found.about)
    for number in map(int, sys.stdin):
        started, busy = time.perf_counter(), time.process_time()
        found.step(number)
        measured = {"seconds": time.perf_counter() - started, "processor_seconds": time.process_time() - busy}
        counts = number >= WARM_UP
        _answer({**measured, "peak_mib": peak_memory_mib(), "rates": found.beside() if counts else {}})


def _answer(found: dict[str, Any]) -> None:
    print(ANSWER + json.dumps(found), flush=True)


class Worker:
    """A process with one contender.

    Args:
        name: of the contender.
        task: the row.
        given: what the command line says.

    Attributes:
        about: what it reported when it was ready.
        peak_mib: its peak memory while it was built and warmed up.
        rounds: what it measured in each round.
    """

    def __init__(self, name: str, task: str, given: argparse.Namespace) -> None:
        self.name, self.peak_mib, self.rounds = name, 0.0, list[dict[str, Any]]()
        self.about: dict[str, Any] = {}
        command = [sys.executable, __file__, "--worker", name, "--tasks", task, "--threads", str(given.threads)]
        command += ["--attention", given.attention, *(f"--set={setting}" for setting in given.set)]
        command += ["--official", str(given.official)] if given.official else []
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by end()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(given.threads)},
        )

    def wait(self) -> None:
        """Wait until it is ready."""
        self.about = self._read()

    def step(self, number: int) -> None:
        """Take a step."""
        assert self._process.stdin is not None
        print(number, file=self._process.stdin, flush=True)
        found = self._read()
        if number >= WARM_UP:
            self.rounds.append(found)
        else:
            self.peak_mib = found["peak_mib"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return dict(json.loads(line.removeprefix(ANSWER)))
        self._errors.seek(0)
        raise WorkerFailed((self._errors.read().strip().splitlines() or ["it ended without a message"])[-1])

    def end(self) -> None:
        """End the process."""
        self._process.communicate()
        self._errors.close()


class WorkerFailed(Exception):
    """A contender cannot be built, or failed; the message has its last line."""


@contextlib.contextmanager
def workers(task: str, given: argparse.Namespace) -> Iterator[list[Worker]]:
    """Start the contenders of a row, all at once; those that fail are left out, which is printed."""
    started: list[Worker] = []
    try:
        for name in given.contenders:
            if name != "official" or (given.official and WORKS[task].official):
                started.append(Worker(name, task, given))
        running = []
        for worker in started:
            with _left_out(worker.name):
                worker.wait()
                running.append(worker)
        yield running
    finally:
        for worker in started:
            worker.end()


@contextlib.contextmanager
def _left_out(name: str) -> Iterator[None]:
    try:
        yield
    except WorkerFailed as err:
        print(f"  {name}: left out: {err}", flush=True)


def measure(task: str, given: argparse.Namespace) -> dict[str, Any]:
    """Measure one row of the table."""
    with workers(task, given) as running:
        for number in range(WARM_UP + given.rounds):
            for worker in list(running):
                try:
                    worker.step(number)
                except WorkerFailed as err:
                    print(f"  {worker.name}: left out: {err}", flush=True)
                    running.remove(worker)
        return {
            "task": task,
            "contenders": {
                worker.name: {**worker.about, "peak_mib": worker.peak_mib, **_columns(worker.rounds)}
                for worker in running
            },
        }


def _columns(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    columns = {name: [one[name] for one in rounds] for name in ("seconds", "processor_seconds")}
    rates = {name: [one["rates"][name] for one in rounds] for name in rounds[0]["rates"]}
    return {**columns, "matrix_rates": rates}


def print_row(row: dict[str, Any]) -> None:
    """Print one row of the table: for each of our precisions the best peer first, then the others."""
    found = row["contenders"]
    print(row["task"])
    for name, one in found.items():
        line = f"  {name:9} {statistics.median(one['seconds']):8.3f} s {one['peak_mib']:7,.0f} MiB"
        if name in OURS:
            line += f"  {_shares(one)}"
        print(line)
    by_time = sorted(found, key=lambda name: statistics.median(found[name]["seconds"]))
    peers = [name for name in by_time if name in PEERS]
    for own in filter(found.get, OURS):
        for name in [*peers, *(name for name in by_time if name not in (*peers, own))]:
            best = " (best peer)" if name in peers[:1] else ""
            print(f"  {own} is {_compared(found[own], found[name])} as {name}{best}", flush=True)


def _compared(own: dict[str, Any], other: dict[str, Any]) -> str:
    ratios, busy = (
        [theirs / mine for theirs, mine in zip(other[kind], own[kind], strict=True)]
        for kind in ("seconds", "processor_seconds")
    )
    return (
        f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f}; by CPU time "
        f"{statistics.median(busy):.2f} x) as fast with {own['peak_mib'] / other['peak_mib']:.0%} of the memory"
    )


def _shares(own: dict[str, Any]) -> str:
    rates = own["matrix_rates"]
    shares = [
        own["flops"] / taken / rate
        for taken, rate in zip(own["seconds"], rates[rate_of(own["precision"])], strict=True)
    ]
    middle, lowest, highest = statistics.median(shares), min(shares), max(shares)
    known = ", ".join(f"{statistics.median(rate) / 1e9:.0f} {name}" for name, rate in rates.items())
    return (
        f"{own['batch']} tokens in {own['precision']}: {own['flops'] / 1e9:.0f} GFLOP at {middle:.0%} "
        f"({lowest:.0%} to {highest:.0%}) of the products' own rate (G/s: {known})"
    )


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*OURS, *PEERS, "official"]
    parser.add_argument("--official", type=Path, metavar="DIR", help="checkout of kzl/universal-computation")
    parser.add_argument(
        "--attention", choices=("eager", "sdpa"), default="eager", help="attention of the official code"
    )
    parser.add_argument("--tasks", nargs="+", choices=list(WORKS), default=DEFAULT_TASKS, metavar="TASK")
    parser.add_argument("--contenders", nargs="+", choices=names, default=names, help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="number of measured steps; default: 5")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's own number")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="override of our recipes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all single measurements to this file")
    parser.add_argument("--worker", choices=names, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    if given.worker:
        try:
            serve(given.worker, WORKS[given.tasks[0]], given)
        except (FptkitError, ImportError) as err:
            raise SystemExit(str(err).splitlines()[0]) from None
        return
    machine = environment(load_plugins())
    print(
        f"{machine['processor_model']}, {given.threads} threads, load {os.getloadavg()[0]:.1f}; medians of "
        f"{given.rounds} alternating steps, minimum and maximum in brackets"
    )
    rows = []
    for task in given.tasks:
        rows.append(measure(task, given))
        print_row(rows[-1])
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "threads": given.threads, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
