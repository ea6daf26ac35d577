"""The effect of pretraining on one recipe: the same frozen model with pretrained and with random weights.

    python benchmarks/pretraining_lift.py bit_memory_gpt2 --output runs/lift

Both arms get the same budget and the same learning rates; each is shown at the learning rate that was best on
validation. With one seed, this is a first impression, not a verdict. Finished runs are not repeated. Writes
``RECIPE.json`` and ``RECIPE.svg`` into ``--results`` and prints a table.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

ARMS = {
    "pretrained": ["backbone.weights=builtin:gpt2_nano"],
    "random": ["backbone.weights=random", "backbone.size=nano"],
}


@click.command()
@click.argument("recipe")
@click.option("--rates", default="1e-3,3e-3,1e-2", show_default=True, help="Learning rates, separated by commas.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder of the runs.")
@click.option("--results", type=click.Path(path_type=Path), default="docs/results", show_default=True)
@click.option("--workers", default=1, show_default=True, help="Concurrent runs; above 1, each has one thread.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override for both arms.")
def main(recipe: str, rates: str, output: Path, results: Path, workers: int, overrides: tuple[str, ...]) -> None:
    """Compare RECIPE with pretrained and random weights over learning rates."""
    cells = [(arm, rate) for arm in ARMS for rate in rates.split(",")]

    def run(cell: tuple[str, str]) -> dict[str, Any]:
        arm, rate = cell
        settings = [*overrides, *ARMS[arm], f"train.learning_rate={rate}", *(["threads=1"] if workers > 1 else [])]
        folder = output / recipe / f"{arm}-{rate}"
        command = [sys.executable, "-m", "fptkit", "run", recipe, "--output", str(folder), "--resume", "--quiet"]
        subprocess.run([*command, *(word for setting in settings for word in ("--set", setting))], check=True)
        summary = json.loads((folder / "summary.json").read_text())
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        validation = [(line["step"], line["accuracy"]) for line in lines if line["split"] == "validation"]
        print(f"{arm} at {rate}: validation {summary['metrics']['validation']['accuracy']:.1%}", file=sys.stderr)
        return {
            "arm": arm,
            "learning_rate": float(rate),
            "validation_accuracy": summary["metrics"]["validation"]["accuracy"],
            "test_accuracy": {name: values["accuracy"] for name, values in summary["metrics"]["test"].items()},
            "steps": summary["steps"],
            "seconds": summary["seconds"],
            "parameters": summary["parameters"],
            "curve": validation,
            "versions": summary["versions"],
        }

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(run, cells))
    best = {
        arm: max((one for one in found if one["arm"] == arm), key=lambda one: one["validation_accuracy"])
        for arm in ARMS
    }
    results.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python benchmarks/pretraining_lift.py", *sys.argv[1:]])
    report = {"command": command, "recipe": recipe, "overrides": overrides, "best": best, "cells": found}
    (results / f"{recipe}.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(best, recipe, results / f"{recipe}.svg")
    print("| frozen weights | best rate | validation | test |\n|---|---|---|---|")
    for arm, one in best.items():
        test = ", ".join(f"{value:.1%}" for value in one["test_accuracy"].values())
        print(f"| {arm} | {one['learning_rate']:g} | {one['validation_accuracy']:.1%} | {test} |")


def draw(best: dict[str, dict[str, Any]], recipe: str, path: Path) -> None:
    """Plot validation accuracy against steps, one line per arm."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": recipe, "font.size": 10})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.2), layout="constrained")
    for (arm, one), style in zip(best.items(), ("-o", "--s"), strict=True):
        steps, accuracies = zip(*one["curve"], strict=True)
        label = f"{arm}, rate {one['learning_rate']:g}"
        axes.plot(steps, [100 * accuracy for accuracy in accuracies], style, markersize=4, label=label)
    axes.set(xlabel="training steps", ylabel="validation accuracy (%)", title=recipe, ylim=(None, 101))
    axes.grid(alpha=0.3)
    axes.legend(loc="center right")
    figure.savefig(path, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
