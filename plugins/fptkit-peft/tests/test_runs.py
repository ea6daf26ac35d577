"""Whole runs in this process: adapters in checkpoints and in the model's file, and a stopped run resumes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import fptkit_peft
import pytest
import torch
from safetensors.torch import load_file

from fptkit.engine.build import build
from fptkit.engine.checkpoint import restore_trained
from fptkit.engine.events import Event, StepsDone
from fptkit.engine.run import RunRequest, run
from fptkit.errors import CheckpointError, FreezingError, Interrupted, RecipeError
from fptkit.recipe.load import LoadedRecipe, load_recipe
from fptkit.registry import load_plugins

RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, blocks: 2, width: 32, heads: 2, size: nano, dropout: 0.1}
freezing: FREEZING
train: {batch_size: 8, max_steps: 20, validate_every: 10, log_every: 4, patience: null, learning_rate: 1e-2}
threads: 1
"""
POLICIES = {
    "lora": "{name: lora, rank: 2, adapter_dropout: 0.1}",
    "dora": "{name: dora, rank: 2}",
    "ia3": "{name: ia3}",
    "ln_tuning": "{name: ln_tuning}",
}
ADDED = {
    # Two blocks of matrices 32 x 96, 32 x 32, 32 x 128 and 128 x 32.
    "lora": 2 * 2 * (128 + 64 + 160 + 160),
    "dora": 2 * (2 * (128 + 64 + 160 + 160) + 96 + 32 + 128 + 32),
    "ia3": 2 * (96 + 32 + 128),
    "ln_tuning": 5 * 64,
}


def registry(_: object = ()) -> Any:
    """The built-in components and those of this package, installed or not."""
    return load_plugins([Path(fptkit_peft.__file__)], selection="")


def recipe(folder: Path, policy: str, *overrides: str) -> LoadedRecipe:
    path = folder / f"{policy}.yaml"
    path.write_text(RECIPE.replace("FREEZING", POLICIES[policy]))
    return load_recipe(str(path), overrides=overrides, registry_loader=registry)


class Stop:
    """Interrupts the run at a step, as Ctrl-C does."""

    def handle(self, event: Event) -> None:
        if isinstance(event, StepsDone) and event.step == 12:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(policy: str, tmp_path: Path) -> None:
    loaded = recipe(tmp_path, policy)
    summary = run(RunRequest(loaded, tmp_path / "whole"))
    with pytest.raises(Interrupted):
        run(RunRequest(loaded, tmp_path / "parts", listeners=[Stop()]))
    stopped = load_file(tmp_path / "parts" / "checkpoints" / "step-00000012" / "trained.safetensors")
    again = run(RunRequest(loaded, tmp_path / "parts", resume=True))
    assert again["metrics"] == summary["metrics"]
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() == stopped.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
    assert any(not torch.equal(value, stopped[name]) for name, value in whole.items())  # it did go on
    # Input 64, output 66, positions 6 x 32, norms 5 x 64, which ln_tuning trains as its adapters; nothing frozen.
    around = 64 + 66 + 192 + (0 if policy == "ln_tuning" else 320)
    assert sum(value.numel() for value in whole.values()) == summary["parameters"]["trained"] == around + ADDED[policy]
    assert all(value.dtype == torch.float32 for value in whole.values())
    assert not [name for name in whole if "base_layer" in name]
    given = {"rank": 2, "adapter_dropout": 0.1} if policy == "lora" else {"rank": 2} if policy == "dora" else {}
    assert summary["freezing_options"] == given


@pytest.mark.slow
def test_a_checkpoint_of_another_rank_is_refused(tmp_path: Path) -> None:
    run(RunRequest(recipe(tmp_path, "lora", "train.max_steps=4", "train.validate_every=4"), tmp_path / "run"))
    other = build(recipe(tmp_path, "lora", "freezing.rank=3").recipe, registry(), torch.device("cpu"))
    tensors = load_file(tmp_path / "run" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lora_A.* has shape \(2, 32\), the model's \(3, 32\)"):
        restore_trained(other.model, tensors, origin=tmp_path)


def test_a_rank_of_nothing_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"freezing.rank"):
        recipe(tmp_path, "lora", "freezing.rank=0")
    with pytest.raises(RecipeError, match=r"freezing.rank"):
        recipe(tmp_path, "ia3", "freezing.rank=4")


def test_a_backbone_without_the_role_is_refused_as_a_wrong_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recurrent.yaml"
    path.write_text("task: {name: bit_xor}\nbackbone: {name: random, like: lstm, size: nano}\nfreezing: {name: lora}\n")
    loaded = load_recipe(str(path), registry_loader=registry)
    with pytest.raises(FreezingError, match="no matrix of role 'attention' to adapt") as caught:
        build(loaded.recipe, registry(), torch.device("cpu"))
    assert caught.value.exit_code == 2


@pytest.mark.slow
def test_the_shipped_recipe_runs_in_its_smoke_profile(tmp_path: Path) -> None:
    (folder,) = fptkit_peft.fptkit_recipes()
    loaded = load_recipe(
        str(Path(folder.folder) / "lora_bit_xor.yaml"),
        profile="smoke",
        overrides=["threads=1"],
        registry_loader=registry,
    )
    summary = run(RunRequest(loaded, tmp_path / "run"))
    assert summary["status"] == "finished"
    assert summary["freezing"] == "lora"
    assert summary["backbone"]["weights"] == "builtin:gpt2_nano"
