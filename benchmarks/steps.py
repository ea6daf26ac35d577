"""A training step of each task with GPT-2 base: ours, the plain baseline, and the official code.

    python benchmarks/steps.py
    python benchmarks/steps.py --official DIR            # a checkout of kzl/universal-computation
    python benchmarks/steps.py --tasks bit_memory bit_xor --rounds 9 --threads 2

All have random weights, the paper's settings, and dropout 0.1; ours has no dropout of attention weights, as in the
recipes. They alternate, one step each, followed by our step's matrix products alone, so that a busy machine slows all
equally. It prints medians over the rounds, our speedup over the others, our fraction of the throughput of the products
alone (median, minimum and maximum of the ratios per round), and the peak memory of each in a separate process. On a
busy machine, use the CPU time with ``--threads 1``, since waiting threads count as busy.

- ours: the recipe of the task, profile ``paper``, built and stepped by the engine's own code as in ``fptkit bench``.
- baseline: ``baseline.py``, on the same task.
- official: the official model and trainer, built by its own ``experiment()``. It generates bits itself; the batches of
  other tasks are ours. Attention is eager, as in the transformers version of its time; ``--attention sdpa`` uses
  today's.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch

from fptkit.engine.facts import peak_memory_mib
from fptkit.freezing.counts import gradient_pass
from fptkit.interfaces import Batch
from fptkit.lab.benchmarking.prepare import Prepared, prepare
from fptkit.lab.benchmarking.products import ProductsAlone, largest, products_of
from fptkit.recipe.load import load_recipe

Step = Callable[[int], None]
WARM_UP = 2
RATES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Work:
    """One row of the table.

    Args:
        recipe: name of our recipe.
        settings: overrides of its profile ``paper``.
        official: arguments of the official ``experiment()``.
    """

    recipe: str
    settings: tuple[str, ...]
    official: dict[str, Any] = field(default_factory=dict)


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
    "homology": Work(
        "homology_gpt2",
        ("task.source=simulated", "task.simulated.folds=12", "task.simulated.length=[60, 300]", "train.batch_size=16"),
        {"task": "remote-homology", "patch_size": None, "batch_size": 16},
    ),
}
RANDOM_BASE = ("backbone.weights=random", "backbone.size=base")


def ours(work: Work, settings: Sequence[str] = ()) -> Prepared:
    """Prepare the recipe of a row up to its first step."""
    overrides = (*work.settings, *RANDOM_BASE, *settings)
    return prepare(load_recipe(work.recipe, profile="paper", overrides=overrides))


def official_step(folder: Path, official: dict[str, Any], batch: Callable[[int], Batch], attention: str) -> Step:
    """Return a function that does a step of the official code.

    Only what needs a network or files (weights, all data except bits) and its output are replaced.

    Args:
        folder: the checkout.
        official: arguments of its ``experiment()``; ``gpu_batch_size``, if given, is the size of micro-batches.
        batch: returns the next micro-batch, for tasks with stored data.
        attention: ``eager`` or ``sdpa``.
    """
    if not (folder / "universal_computation" / "experiment.py").is_file():
        raise SystemExit(f"--official: there is no universal_computation/experiment.py in {folder}")
    import transformers

    sys.path.insert(0, str(folder))
    with mock.patch.dict(sys.modules, {"wandb": ModuleType("wandb")}):
        experiment = importlib.import_module("universal_computation.experiment")
        trainer_module = importlib.import_module("universal_computation.trainer")
        modules = {name: module for name, module in sys.modules.items() if name.startswith("universal_computation")}
    sys.modules.update(modules)
    made: list[Any] = []

    class Kept(trainer_module.Trainer):  # type: ignore[misc, name-defined]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    body = transformers.GPT2Model(transformers.GPT2Config(attn_implementation=attention))
    with (
        mock.patch.dict(sys.modules, _data_modules(official["task"], batch)),
        mock.patch.object(transformers.GPT2Model, "from_pretrained", return_value=body),
        mock.patch.object(experiment, "Trainer", Kept),
    ):
        experiment.experiment(
            exp_name="speed",
            exp_args={
                "gpu_batch_size": official.get("gpu_batch_size", official["batch_size"]),
                "device": "cpu",
                "num_iters": 0,
                "steps_per_iter": 1,
                "test_steps_per_iter": 0,
                "log_to_wandb": False,
                "wandb_project": "",
                "save_models": False,
            },
            model_name="gpt2",
            pretrained=True,  # uses the model that from_pretrained returns
            learning_rate=1e-3,
            dropout=0.1,
            orth_gain=1.41,
            **{name: value for name, value in official.items() if name != "gpu_batch_size"},
        )
    (trainer,) = made
    trainer_module.tqdm = lambda steps: steps

    def step(number: int) -> None:
        trainer.train_epoch()

    return step


def _data_modules(task: str, batch: Callable[[int], Batch]) -> dict[str, ModuleType]:
    """Return replacements of the official modules that read files; their data sets return our batches."""
    names = {
        "cifar10": ("cifar10", "CIFAR10Dataset"),
        "listops": ("listops", "ListopsDataset"),
        "remote-homology": ("remote_homology", "RemoteHomologyDataset"),
    }
    if task not in names:
        return {}
    module_name, class_name = names[task]

    class Data:
        def __init__(self, **options: Any) -> None:
            self.number = 0

        def start_epoch(self) -> None:
            pass  # the official data sets do not restart either

        def get_batch(self, batch_size: int, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
            given = batch(self.number)
            self.number += 1
            # The official ListOps has the same symbols except padding, which batches of one length do not need.
            return given.inputs - 1 if task == "listops" else given.inputs, given.targets

    module = ModuleType(f"universal_computation.datasets.{module_name}")
    setattr(module, class_name, Data)
    return {module.__name__: module}


def contender(name: str, work: Work, given: argparse.Namespace) -> Step:
    """Build one contender in this process and return its step function."""
    prepared = ours(work, given.set)
    if name == "ours":
        return prepared.step
    if name == "baseline":
        from baseline import plain_step  # imported here, since transformers would add to the memory of ours

        return plain_step(prepared.built.task, prepared.trainer.options.batch_size)
    return official_step(given.official, work.official, prepared.batches.batch, given.attention)


def peak_of(name: str, task: str, given: argparse.Namespace) -> float:
    """Return the peak memory in MiB of a contender that is built and does some steps in a separate process.

    For the other contenders a small model of ours is built too, for its data.
    """
    command = [sys.executable, __file__, "--peak", name, "--tasks", task, "--threads", str(given.threads)]
    command += ["--attention", given.attention, *(f"--set={setting}" for setting in given.set)]
    if given.official:
        command += ["--official", str(given.official)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def print_peak(name: str, work: Work, given: argparse.Namespace) -> None:
    """Print the peak memory of a contender; `peak_of` runs this in a separate process."""
    if name != "ours":
        given.set = [*given.set, "backbone.size=nano"]
    step = contender(name, work, given)
    for number in range(WARM_UP + 1):
        step(number)
    print(peak_memory_mib())


def measure(task: str, given: argparse.Namespace) -> dict[str, Any]:
    """Measure one row of the table."""
    work = WORKS[task]
    from baseline import plain_step

    prepared = ours(work, given.set)
    steps: dict[str, Step] = {
        "ours": prepared.step,
        "baseline": plain_step(prepared.built.task, prepared.trainer.options.batch_size),
    }
    if given.official:
        steps["official"] = official_step(given.official, work.official, prepared.batches.batch, given.attention)
    products = largest(products_of(lambda: prepared.step(0)))
    alone = {name: ProductsAlone(products, dtype, prepared.device) for name, dtype in RATES.items()}
    rates: dict[str, list[float]] = {name: [] for name in alone}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    busy: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(WARM_UP + given.rounds):
        for name, step in steps.items():
            started, busy_before = time.perf_counter(), time.process_time()
            step(number)
            if number >= WARM_UP:
                seconds[name].append(time.perf_counter() - started)
                busy[name].append(time.process_time() - busy_before)
            if name == "ours" and number >= WARM_UP:
                for each, product in alone.items():
                    rates[each].append(product.rate())
    flops = [_flops(prepared, number) for number in range(WARM_UP, WARM_UP + given.rounds)]
    shares = [
        cost / taken / rate
        for cost, taken, rate in zip(flops, seconds["ours"], rates[prepared.built.precision], strict=True)
    ]
    first = prepared.batches.batch(0)
    return {
        "task": task,
        "batch": f"{len(first)} x {first.inputs.shape[1]}",
        "seconds": seconds,
        "processor_seconds": busy,
        "precision": prepared.built.precision,
        "flops": statistics.mean(flops),
        "matrix_rates": rates,
        "shares": shares,
        "peak_mib": {} if given.no_memory else {name: peak_of(name, task, given) for name in steps},
    }


def _flops(prepared: Prepared, number: int) -> int:
    batch = prepared.batches.batch(number)
    return gradient_pass(prepared.built.model, prepared.built.task, batch.to(prepared.device)).flops


def print_row(row: dict[str, Any]) -> None:
    """Print one row of the table."""
    own, peak = row["seconds"]["ours"], row["peak_mib"]
    rates = ", ".join(f"{statistics.median(rate) / 1e9:.0f} {name}" for name, rate in row["matrix_rates"].items())
    shares = row["shares"]
    print(
        f"{row['task']}, {row['batch']} tokens, {row['precision']}: {row['flops'] / 1e9:.0f} GFLOP per step at "
        f"{statistics.median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%}) of the products' own rate "
        f"(GFLOP/s: {rates})"
    )
    busy = row["processor_seconds"]
    for name, taken in row["seconds"].items():
        line = f"  {name:9} {statistics.median(taken):8.3f} s"
        if name in peak:
            line += f"  {peak[name]:7,.0f} MiB"
        if name != "ours":
            ratios = _ratios(taken, own)
            line += f"  ours is {statistics.median(ratios):.2f} x as fast ({min(ratios):.2f} to {max(ratios):.2f}), "
            line += f"by CPU time {statistics.median(_ratios(busy[name], busy['ours'])):.2f} x"
            if name in peak:
                line += f", with {peak['ours'] / peak[name]:.0%} of the memory"
        print(line, flush=True)


def _ratios(theirs: list[float], own: list[float]) -> list[float]:
    """Return the ratios of the other's time to ours, by round."""
    return [other / mine for other, mine in zip(theirs, own, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, metavar="DIR", help="checkout of kzl/universal-computation")
    parser.add_argument(
        "--attention", choices=("eager", "sdpa"), default="eager", help="attention of the official code"
    )
    parser.add_argument("--tasks", nargs="+", choices=list(WORKS), default=list(WORKS), help="default: all")
    parser.add_argument("--rounds", type=int, default=7, help="number of measured steps; default: 7")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's own number")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="override of our recipes")
    parser.add_argument("--no-memory", action="store_true", help="skip the processes that measure memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all single measurements to this file")
    parser.add_argument("--peak", choices=("ours", "baseline", "official"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    if given.peak:
        print_peak(given.peak, WORKS[given.tasks[0]], given)
        return
    print(f"GPT-2 base, {given.threads} threads, medians of {given.rounds} alternating steps")
    rows = []
    for task in given.tasks:
        rows.append(measure(task, given))
        print_row(rows[-1])
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
