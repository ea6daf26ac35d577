"""A loss or gradient that is not finite: the error names step, tensor and only what can help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from whole_runs import RECIPE, Recorder, start

from fptkit.engine.build import build_task
from fptkit.engine.setup import training_batches
from fptkit.errors import DivergedError
from fptkit.recipe.load import load_recipe

DEEP = """
task: {name: bit_xor, validation_size: 40, test_size: 50}
backbone:
  name: huggingface
  weights: random
  config:
    {model_type: llama, hidden_size: 32, num_hidden_layers: 30, num_attention_heads: 4, intermediate_size: 64,
     vocab_size: 5}
  positions: {kind: none}
train: {batch_size: 8, max_steps: 6, validate_every: 6, log_every: 2, patience: null, learning_rate: 1e-3}
precision: float32
threads: 1
"""

BAD_TASK = '''
import torch
from fptkit import ArraySplit, Classes, Options, Task, TaskSpec, Values, Vectors, hookimpl


class Bad(Task):
    """Numbers and their sums; one training example is bad."""

    input, output, max_tokens, test_splits = Vectors(2), Values(1), 3, ("test",)

    def __init__(self, options, *, seed, pinned=None):
        self.what = options.what

    def split(self, name):
        return Numbers(self.what, name)


class Numbers:
    def __init__(self, what, name):
        self.what, self.size, self.token_counts, self.name = what, 48, None, name

    def batch(self, indices, generator):
        from fptkit import Batch
        inputs = torch.stack([torch.full((3, 2), float(index % 5 - 2)) for index in indices])
        targets = inputs.sum((1, 2))[:, None]
        for row, index in enumerate(indices):
            if self.name == "train" and index == 13:
                if self.what == "inputs":
                    inputs[row] = 1e30
                if self.what == "targets":
                    targets[row] = 1e30
        if self.what == self.name:
            inputs = inputs + 1e38
        return Batch(inputs, targets)


class BadOptions(Options):
    what: str


@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="bad", summary="bad numbers", target=f"{__name__}:Bad", options=f"{__name__}:BadOptions")]
'''


def diverged(recipe: Path, folder: Path, *overrides: str, **how: object) -> str:
    with pytest.raises(DivergedError) as caught:
        start(recipe, folder, *overrides, **how)  # type: ignore[arg-type]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "diverged"
    assert summary["reason"] == f"DivergedError: {caught.value}"
    return str(caught.value)


def test_zero_tokens_are_named_and_no_learning_rate_is_suggested(tmp_path: Path) -> None:
    recipe = tmp_path / "deep.yaml"
    recipe.write_text(DEEP)
    said = diverged(recipe, tmp_path / "run")
    assert said.startswith("the loss or gradient of step 1 is not finite: the first tensor that is not finite is the ")
    assert "gradient of the input of backbone.model.layers." in said
    assert "backbone.positions.kind: learned" in said
    assert "learning_rate" not in said
    assert "precision" not in said
    start(recipe, tmp_path / "learned", "backbone.positions.kind=learned")


@pytest.mark.parametrize("clip", ["null", "1.0"])
@pytest.mark.parametrize("log_every", [1, 7])
def test_a_learning_rate_that_is_too_high_is_named_with_the_step(
    recipe: Path, tmp_path: Path, clip: str, log_every: int
) -> None:
    """Found again in the steps since the last checkpoint, however rarely the loss is looked at."""
    recorder = Recorder()
    overrides = ("train.learning_rate=1e38", f"train.clip_norm={clip}", f"train.log_every={log_every}")
    said = diverged(recipe, tmp_path / "run", *overrides, listener=recorder)
    assert "of step 2 is not finite: the first tensor that is not finite is the parameter encoder.map.0." in said
    assert "Lower train.learning_rate (now 1e+38)" in said
    assert ("set train.clip_norm" in said) == (clip == "null")
    assert "zeros" not in said
    assert len(recorder.notes) == 1
    assert "step 2 is not finite; the steps since the last checkpoint are taken again" in recorder.notes[0].text


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("what", "remedy"),
    [
        ("inputs", "standardise the data: their largest number is 1e+30"),
        ("targets", "Check the task's loss, and the size of its targets. The best"),
    ],
)
def test_numbers_of_another_scale_are_named_with_the_step(
    tmp_path: Path, what: str, remedy: str, accumulate: int
) -> None:
    recipe, plugin = _bad_task(tmp_path, what)
    said = diverged(recipe, tmp_path / "run", f"train.accumulate={accumulate}", plugins=[plugin])
    assert _bad_steps(recipe, plugin)[0] == _step(said)
    assert remedy in said
    place = "the gradient of the predictions" if what == "targets" else "in the forward pass"
    assert place in said


def _step(said: str) -> int:
    return int(said.removeprefix("the loss or gradient of step ").partition(" ")[0])


def _bad_steps(recipe: Path, plugin: Path) -> list[int]:
    """The steps, from 1, whose batch has the bad example."""
    loaded = load_recipe(str(recipe), plugin_files=[plugin])
    task = build_task(loaded.recipe, loaded.registry)
    batches, _ = training_batches(loaded.recipe, task, task.split("train"))
    given = [(step, batches.batch(step - 1)) for step in range(1, 13)]
    return [step for step, batch in given if not float(batch.inputs.abs().sum() + batch.targets.abs().sum()) < 1e9]


def _bad_task(folder: Path, what: str) -> tuple[Path, Path]:
    """A recipe of the task, and the file of the task."""
    plugin, recipe = folder / "bad_task.py", folder / "bad.yaml"
    plugin.write_text(BAD_TASK)
    backbone = RECIPE.partition("\nbackbone:")[2].partition("\n")[0]
    recipe.write_text(
        f"task: {{name: bad, what: {what}}}\nbackbone:{backbone}\n"
        "train: {batch_size: 4, max_steps: 12, validate_every: 6, log_every: 3, patience: null}\nthreads: 1\n"
    )
    return recipe, plugin


def test_zero_tokens_are_not_blamed_if_the_body_moves_them(recipe: Path, tmp_path: Path) -> None:
    """GPT-2 adds its table to the zeros of Bit XOR."""
    said = diverged(recipe, tmp_path / "run", "train.learning_rate=1e15", "train.clip_norm=null")
    assert "zeros" not in said
    assert "Lower train.learning_rate" in said


def test_a_validation_that_is_not_finite_names_the_tensor(tmp_path: Path) -> None:
    recipe, plugin = _bad_task(tmp_path, "validation")
    said = diverged(recipe, tmp_path / "run", plugins=[plugin])
    assert said.startswith("the validation loss at step 6 is nan: the first tensor that is not finite is the ")
    assert "in the forward pass. " in said
    assert "standardise the data: their largest number is 1e+38" in said
