"""Tiny runs on users' files that other libraries write: one for each format, trained for a few steps."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fptkit.engine.build import build
from fptkit.engine.run import RunRequest, run
from fptkit.recipe.load import load_recipe

BACKBONE = "{name: random, size: nano, blocks: 1, width: 16, heads: 2}"

REST = """
train: {batch_size: 8, max_steps: 6, validate_every: 3, patience: null, learning_rate: 1e-2}
precision: float32
threads: 1
"""
"""What all of them share."""


def train(folder: Path, task: str, backbone: str = BACKBONE) -> Path:
    """Train on files in a folder; returns the run folder, ``folder / "run"``.

    Args:
        folder: has the files, to which ``source`` is relative.
        task: section ``task`` of the recipe, in YAML.
        backbone: section ``backbone``.
    """
    before = Path.cwd()
    os.chdir(folder)
    try:
        (folder / "mine.yaml").write_text(f"task: {task}\nbackbone: {backbone}\n{REST}", encoding="utf-8")
        run(RunRequest(load_recipe("mine.yaml"), folder / "run"))
    finally:
        os.chdir(before)
    return folder / "run"


def reference(folder: Path) -> torch.nn.Module:
    """The model of a run, from its recipe, training data and tensors, without what loads runs."""
    from safetensors.torch import load_file

    before = Path.cwd()
    os.chdir(folder.parent)
    try:
        loaded = load_recipe(str(folder / "recipe.yaml"))
        model = build(loaded.recipe, loaded.registry, torch.device("cpu")).model
    finally:
        os.chdir(before)
    tensors = load_file(folder / "model.safetensors")
    left = model.load_state_dict(tensors, strict=False)
    assert not left.unexpected_keys
    return model.eval()


def logits(model: torch.nn.Module, inputs: Any, lengths: Any = None) -> np.ndarray:
    """What a model gives, float64."""
    with torch.no_grad():
        return model(inputs, lengths).double().numpy()


def softmax(values: np.ndarray) -> np.ndarray:
    """Probabilities over the last dimension."""
    raised = np.exp(values - values.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
