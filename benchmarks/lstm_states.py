"""How much the random initial states of the paper's LSTM change its accuracy in evaluation.

    python benchmarks/lstm_states.py

Trains the variant ``official`` on scikit-learn's digits, cut into 4 and into 16 tokens, and evaluates it on the test
split: once as fptkit does, with the state drawn once for the run, and with new states for every example, as in the
official code. Takes less than a minute on one core.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import torch

import fptkit
from fptkit.engine.build import build
from fptkit.engine.checkpoint import restore_trained
from fptkit.model import CrossModalModel
from fptkit.recipe.load import load_recipe

SETTINGS = {
    "backbone": {"variant": "official", "layers": 1, "width": 128, "dropout": 0.1},
    "encoder": {"dropout": 0.1},
    "train": {"learning_rate": 1e-2, "max_steps": 600, "validate_every": 100},
}


def main() -> None:
    """Train and evaluate for both lengths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20, help="evaluations with random states; default: 20")
    draws = parser.parse_args().draws
    for patch in (14, 7):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            fptkit.run("mnist_lstm", profile="nano", output=run, quiet=True, task={"patch_size": patch}, **SETTINGS)
            fixed, random, examples = evaluated(run, draws)
        print(
            f"{(28 // patch) ** 2} tokens, {examples} examples: accuracy {fixed:.1%}; with random states "
            f"{statistics.mean(random):.1%}, standard deviation {100 * statistics.stdev(random):.1f} points, "
            f"{min(random):.1%} to {max(random):.1%}"
        )


@torch.no_grad()
def evaluated(folder: Path, draws: int) -> tuple[float, list[float], int]:
    """Accuracy on the test split from the run's state and from random ones, and the number of examples.

    Args:
        folder: of the run.
        draws: evaluations with random states.
    """
    from safetensors.torch import load_file

    loaded = load_recipe(str(folder / "recipe.yaml"))
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    restore_trained(built.model, load_file(folder / "model.safetensors"), origin=folder)
    split = built.task.split("test")
    assert split.size is not None
    batch, model = split.batch(range(split.size), torch.Generator()), built.model.eval()

    def accuracy(model: CrossModalModel) -> float:
        return float((model(batch.inputs).argmax(-1) == batch.targets).float().mean())

    fixed = accuracy(model)
    for layer in model.backbone.layers:  # type: ignore[union-attr]
        layer.fixed = layer.drawn
    found = []
    for seed in range(draws):
        torch.manual_seed(seed)
        found.append(accuracy(model))
    return fixed, found, split.size


if __name__ == "__main__":
    main()
