"""Errors of a frozen model's outputs and gradients by depth, in int8, bfloat16 and float32, against float64.

    python benchmarks/int8_errors.py                                        # gpt2_nano on Bit Memory
    python benchmarks/int8_errors.py bit_memory_smollm2 minilm_bit_xor --json errors.json
    python benchmarks/int8_errors.py homology_gpt2 --set task.source=simulated --set train.batch_size=4

Recipes are built with the same weights in each precision, without dropout, and take the first batch. Errors are those
of the output of each block, and of the gradient of the loss with respect to it: the norm of the difference from
float64, divided by the norm in float64. Trained weights are those before the first step; the head is float32 in all.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fptkit.engine.facts import environment
from fptkit.interfaces import Batch
from fptkit.lab.benchmarking.prepare import Prepared, prepare
from fptkit.recipe.load import LoadedRecipe, load_recipe

PRECISIONS = ("float32", "bfloat16", "int8_storage", "int8")


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=["bit_memory_gpt2"], help="default: bit_memory_gpt2")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="override of all recipes")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the errors to this file")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    loaded = [load_recipe(name, overrides=[*given.set, f"threads={given.threads}"]) for name in given.recipes]
    bodies = [errors_of(name, given.set) for name in given.recipes]
    for body in bodies:
        print_table(body)
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(loaded[0]), "bodies": bodies}, indent=1) + "\n")


def errors_of(recipe: str, settings: Sequence[str]) -> dict[str, Any]:
    """The errors of each precision by block, and what was measured."""
    true = _passed(_prepared(recipe, settings, "float32"), double=True)
    errors: dict[str, dict[str, list[float]]] = {}
    used = {}
    for precision in PRECISIONS:
        prepared = _prepared(recipe, settings, precision)
        used[precision] = prepared.built.precision
        found = _passed(prepared)
        errors[precision] = {
            kind: [_error(one, other) for one, other in zip(found[kind], true[kind], strict=True)] for kind in true
        }
    batch = prepared.batches.batch(0)
    return {
        "recipe": recipe,
        "settings": list(settings),
        "weights": prepared.built.model.backbone.weights,
        "batch": [len(batch), batch.inputs.shape[1]],
        "used": used,
        "errors": errors,
    }


def _prepared(recipe: str, settings: Sequence[str], precision: str) -> Prepared:
    overrides = [*settings, f"precision={precision}", "threads=1"]
    loaded = load_recipe(recipe, overrides=overrides)
    has_dropout = "dropout" in type(loaded.recipe.backbone.options).model_fields
    return prepare(load_recipe(recipe, overrides=[*overrides, "backbone.dropout=0.0"] if has_dropout else overrides))


def _passed(prepared: Prepared, *, double: bool = False) -> dict[str, list[Tensor]]:
    """Outputs of the blocks and gradients with respect to them, of the first batch."""
    model, task, batch = prepared.built.model, prepared.built.task, prepared.batches.batch(0)
    model.eval()
    if double:
        batch = _double(batch)
        model.double()
        model.head.float()
    outputs: list[Tensor] = []

    def note(module: nn.Module, arguments: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        hidden.retain_grad()
        outputs.append(hidden)

    hooks = [block.register_forward_hook(note) for block in model.backbone.block_modules()]
    loss = task.loss(model(batch.inputs, batch.lengths), batch)
    loss.backward()
    for hook in hooks:
        hook.remove()
    gradients = [output.grad for output in outputs if output.grad is not None]
    return {
        "outputs": [output.detach().double() for output in outputs],
        "gradients": [gradient.double() for gradient in gradients],
    }


def _double(batch: Batch) -> Batch:
    floats = batch.inputs.is_floating_point()
    return replace(batch, inputs=batch.inputs.double()) if floats else batch


def _error(found: Tensor, true: Tensor) -> float:
    return float((found - true).norm() / true.norm())


def print_table(body: dict[str, Any]) -> None:
    """Print the errors of one body, a line for each block."""
    examples, tokens = body["batch"]
    print(f"{body['recipe']}, {body['weights']}, {examples} x {tokens} tokens; errors against float64 in percent")
    for name, used in body["used"].items():
        if name != used:
            print(f"  {name} is not available here: {used} was used")
    for kind in ("outputs", "gradients"):
        print(f"  {kind:9} {''.join(f'{name:>14}' for name in PRECISIONS)}")
        for block, row in enumerate(zip(*(body["errors"][name][kind] for name in PRECISIONS), strict=True)):
            print(f"  block {block:3} {''.join(f'{100 * error:14.3g}' for error in row)}")


def machine(loaded: LoadedRecipe) -> dict[str, Any]:
    """The machine and the versions that decide the figures."""
    found = environment(loaded.registry)
    return {
        "processor": found["processor_model"],
        "vector_instructions": found["vector_instructions"],
        "versions": found["versions"],
        "system": platform.platform(),
    }


if __name__ == "__main__":
    main()
