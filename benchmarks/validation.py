"""Validation with GPT-2 base: its fraction of the products' own rate, and what inference mode would add.

    python benchmarks/validation.py
    python benchmarks/validation.py --recipe bit_memory_smollm2 --set precision=int8 --threads 1 --rounds 9

The same batch passes the model as in validation, under ``torch.no_grad`` and under ``torch.inference_mode``, in turn,
followed by its matrix products alone. Times are those of the processor, summed over threads.

`fptkit.engine.evaluate` uses ``no_grad``: what a module of a plugin or of a library computes in validation and keeps,
such as a mask or a rotary table, could not be used in the next training step if it was made in inference mode.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from fptkit.lab.benchmarking.prepare import prepare
from fptkit.lab.benchmarking.products import ProductsAlone, largest, products_of, rate_of, rates_for
from fptkit.numerics.flops import FlopCounter
from fptkit.recipe.load import load_recipe

CIFAR10 = (
    *("task.source=simulated", "task.simulated.train=64", "task.simulated.validation=20", "task.simulated.test=20"),
    *("backbone.weights=random", "backbone.size=base", "train.batch_size=16"),
)
WAYS: dict[str, Callable[[], Any]] = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="cifar10_gpt2", help="default: cifar10_gpt2, 16 x 64 tokens, GPT-2 base")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="override of the recipe")
    parser.add_argument("--rounds", type=int, default=9, help="default: 9")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's own number")
    given = parser.parse_args()
    sizes = CIFAR10 if given.recipe == "cifar10_gpt2" else ()
    prepared = prepare(load_recipe(given.recipe, overrides=[*sizes, *given.set, f"threads={given.threads}"]))
    model, batch, precision = prepared.built.model.eval(), prepared.batches.batch(0), prepared.built.precision

    def passes() -> None:
        model(batch.inputs, batch.lengths)

    with torch.no_grad(), FlopCounter() as counter:
        passes()
    with torch.no_grad():
        products = largest(products_of(passes))
    alone = ProductsAlone(products, rates_for(precision)[rate_of(precision)], prepared.device)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    rates = []
    for _ in range(given.rounds):
        for name, way in WAYS.items():
            with way():
                started = time.process_time()
                passes()
                seconds[name].append(time.process_time() - started)
        rates.append(alone.rate(time.process_time))
    print(f"{given.recipe}, {len(batch)} x {batch.inputs.shape[1]} tokens in {precision}, {given.threads} threads")
    for name, taken in seconds.items():
        shares = [counter.total / each / rate for each, rate in zip(taken, rates, strict=True)]
        print(
            f"  {name:14} {statistics.median(taken) * 1e3:8.1f} ms at {statistics.median(shares):.0%} "
            f"({min(shares):.0%} to {max(shares):.0%}) of the products' own rate"
        )


if __name__ == "__main__":
    main()
