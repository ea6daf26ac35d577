"""Finished studies whose runs were made up, with every file that a run leaves, so that nothing is trained."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fptkit.lab.studies.address import address_of
from fptkit.lab.studies.cells import rates_of, recipe_for_trial
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Cell, Study, Trial
from fptkit.lab.studies.results import run_folder
from fptkit.lab.verification.outputs import write_outputs
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.load import LoadedRecipe

TWO_ARMS = """
question: Does language help?
tasks:
  bit_xor: {task: {name: bit_xor}}
arms:
  language: {backbone: {name: gpt2, weights: "builtin:gpt2_nano"}, freezing: {name: fpt}}
  random: {backbone: {name: gpt2, weights: random, size: nano}, freezing: {name: fpt}}
learning_rates: [1e-3, 1e-2]
seeds: 3
budget: {steps: 100}
"""

SECONDS = 12.5


def load(folder: Path, text: str = TWO_ARMS, *overrides: str, name: str = "mine", profile: str | None = None) -> Study:
    """A study of this text, whose file is in a folder."""
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return load_study(str(path), overrides=overrides, profile=profile)


def finished(folder: Path, text: str = TWO_ARMS, *overrides: str, name: str = "mine") -> Path:
    """Make up all runs of a study and write its outputs; returns its folder, in the ledger ``folder/studies``."""
    study = load(folder, text, *overrides, name=name)
    outcomes = make_runs(study, folder / "studies")
    write(study, outcomes, folder / "studies", *overrides)
    return folder / "studies" / name


def write(study: Study, outcomes: Mapping[str, Outcome], ledger: Path, *overrides: str) -> None:
    """Write what ``fptkit study`` writes after the runs."""
    write_outputs(study, outcomes, ledger, overrides=overrides, command=["fptkit", "study", study.name])


def make_runs(study: Study, ledger: Path, *, tested: bool = True) -> dict[str, Outcome]:
    """Make up every run of a study that searches a grid; their outcomes by address."""
    found = {}
    for cell in study.cells:
        for rate in rates_of(study.settings, cell):
            for seed in study.settings.first_seeds:
                loaded = recipe_for_trial(cell, Trial(rate, seed))
                address = address_of(loaded.recipe, study.code_version, registry=loaded.registry)
                found[address] = make_run(run_folder(ledger, address), cell, loaded, address, tested=tested)
    return found


def make_run(folder: Path, cell: Cell, loaded: LoadedRecipe, address: str, *, tested: bool = True) -> Outcome:
    """Make up the folder of one run that trained to its end."""
    rng = random.Random(address)
    train = loaded.recipe.train
    steps, best = train.max_steps, max(train.max_steps // 2, 1)
    validations = {step: {"loss": rng.random(), "accuracy": rng.uniform(0.4, 0.8)} for step in (best, steps)}
    if steps > best and validations[steps]["accuracy"] > validations[best]["accuracy"]:
        best = steps
    test = {"loss": rng.random(), "accuracy": rng.uniform(0.4, 0.8)}
    lines: list[dict[str, Any]] = []
    for step, metrics in validations.items():
        lines.append({"step": step, "split": "train", "loss": rng.random(), "examples_per_second": 500.5})
        lines.append({"step": step, "split": "validation", **metrics})
    if tested:
        lines.append({"step": best, "split": "test", **test})
    summary = {
        **_facts(cell, loaded),
        "status": "finished" if tested else "validated",
        "metrics": {"validation": validations[best], "test": {"test": test} if tested else {}},
        "steps": steps,
        "validated_step": steps,
        "best_step": best,
        "times_tested": int(tested),
        "ended_by": "steps",
    }
    folder.mkdir(parents=True, exist_ok=True)
    _json(folder / "summary.json", summary)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "recipe.yaml").write_text(dump_recipe(loaded.recipe, ["Resolved recipe."]), encoding="utf-8")
    (folder / "request.yaml").write_text(dump_recipe(loaded.recipe, ["Requested recipe."]), encoding="utf-8")
    (folder / "log.txt").write_text("--- 2026-01-01 00:00:00  a run, process 12\n--- finished\n", encoding="utf-8")
    (folder / "address").write_text(address + "\n", encoding="utf-8")
    _json(folder / "preparation.json", {"format": 1, "task": loaded.recipe.task.name, "max_tokens": 12})
    if tested:
        _json(folder / "assessment.json", {"format": 1, "step": best, "splits": {}})
    _json(folder / "environment.json", {"code": ["f" * 64], "processor": "x86_64", "cores": 2})
    _tensors(folder, "model.json", ["model"], best, rng)
    _tensors(folder / "checkpoints" / f"step-{steps:08d}", "state.json", ["trained", "optimizer"], steps, rng)
    return Outcome(address, summary["status"], "", steps, summary)


def change_digit(path: Path, place: int = 0) -> None:
    """Replace a digit of a file by the next one; ``place`` counts the file's digits, from its end if negative."""
    data = bytearray(path.read_bytes())
    digits = [position for position, byte in enumerate(data) if byte in b"0123456789"]
    position = digits[place]
    data[position] = ord("0") + (data[position] - ord("0") + 1) % 10
    path.write_bytes(data)


def _facts(cell: Cell, loaded: LoadedRecipe) -> dict[str, Any]:
    recipe = loaded.recipe
    return {
        "recipe": "mine",
        "task": {"name": recipe.task.name, "protocol": "clean", "source": "generated", "stand_in": False},
        "selection": {"metric": "accuracy", "higher_is_better": True},
        "fractions": ["accuracy"],
        "accuracies": ["accuracy"],
        "backbone": {"name": recipe.backbone.name, "weights": "w", "init": "pretrained", "stand_in": False},
        "encoder": "linear",
        "readout": "last_k",
        "freezing": recipe.freezing.name,
        "parameters": {"total": 100, "trained": 10, "reached": 9},
        "flops_per_step": 1000,
        "majority_accuracy": {},
        "learning_rate": recipe.train.learning_rate,
        "seed": recipe.train.seed,
        "data_fraction": recipe.train.data_fraction,
        "seconds": SECONDS,
        "peak_memory_mib": 300.0,
        "device": "cpu",
        "threads": 1,
        "versions": {"fptkit": "0.1.0", "torch": "2.9"},
    }


def _tensors(folder: Path, manifest: str, stems: list[str], step: int, rng: random.Random) -> None:
    """Files with random bytes instead of tensors, and the JSON with their digests."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for stem in stems:
        data = b"0123456789" + rng.randbytes(200)
        (folder / f"{stem}.safetensors").write_bytes(data)
        digests[f"{stem}.safetensors"] = hashlib.sha256(data).hexdigest()
    _json(folder / manifest, {"format": 1, "files": digests, "step": step})


def _json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
