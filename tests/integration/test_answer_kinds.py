"""A task of every kind of answers, from training to predictions: those of ``docs/plugins/examples``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fptkit
from fptkit.cli.report import report
from fptkit.engine.build import build_task
from fptkit.engine.run import RunRequest, run
from fptkit.errors import DataError, ExportError, ShapeError, UsageError
from fptkit.inference.exports.write import export
from fptkit.inference.trained import TrainedModel
from fptkit.interfaces import Batch, Task
from fptkit.recipe.load import LoadedRecipe, load_recipe
from fptkit.testing import check_task

EXAMPLES = Path(__file__).parents[2] / "docs" / "plugins" / "examples"

RECIPE = """
plugins: [{folder}/{name}.py]
task: {{name: {name}}}
backbone: {{name: random, size: nano, blocks: 1, width: 32, heads: 2}}
freezing: {{name: full}}
train: {{batch_size: 64, max_steps: 30, validate_every: 15, patience: null, learning_rate: 1e-2}}
precision: float32
threads: 1
"""

# The metric that chooses the best step, a value that guessing does not reach, and whether more is better.
TASKS: dict[str, tuple[str, float, bool]] = {
    "motifs": ("f1", 0.4, True),
    "masks": ("accuracy", 0.6, True),
    "level": ("mean_squared_error", 0.05, False),
    "heavier": ("pair_accuracy", 0.75, True),
    "chain": ("bits_per_symbol", 1.8, False),
    "grades": ("accuracy", 0.6, True),
}


def loaded(folder: Path, name: str, *overrides: str) -> LoadedRecipe:
    file = folder / f"{name}.yaml"
    file.write_text(RECIPE.format(folder=EXAMPLES, name=name), encoding="utf-8")
    return load_recipe(str(file), overrides=overrides)


def trained(folder: Path, name: str, *overrides: str) -> dict[str, Any]:
    out = folder / f"out{len(overrides)}"
    run(RunRequest(loaded(folder, name, *overrides), out))
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return summary


def task_of(folder: Path, name: str) -> Task:
    made = loaded(folder, name)
    return build_task(made.recipe, made.registry)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_from_training_to_predictions(name: str, tmp_path: Path) -> None:
    task = task_of(tmp_path, name)
    check_task(task)
    summary, (metric, level, more) = trained(tmp_path, name), TASKS[name]
    value = summary["metrics"]["test"]["test"][metric]
    assert value > level if more else value < level
    assert (summary["selection"]["metric"], summary["chance_accuracy"]) == (metric, task.output.chance())
    report.main([str(tmp_path / "out0")], standalone_mode=False)
    page = (tmp_path / "out0" / "report.html").read_text(encoding="utf-8")
    assert metric.replace("_", " ") in page
    model = fptkit.load(tmp_path / "out0")
    assert model.task.output == task.output
    assert model.evaluate("validation").metrics[metric] == pytest.approx(summary["metrics"]["validation"][metric])
    _check_predictions(model, task.split("test").batch([0, 1, 2], torch.Generator()))


def _check_predictions(model: TrainedModel, batch: Batch) -> None:
    """Predictions of three examples, whatever the kind: alone they are those in the batch, and tables are complete."""
    output, found = model.task.output, model.predict(batch)
    assert len(found) == 3
    logits = model.logits(batch)
    for row in range(3):
        length = None if batch.lengths is None else batch.lengths[row]
        alone = Batch(model.task.input.example(batch.inputs, row, length), batch.targets[row : row + 1])
        if output.each_token and length is not None:
            alone = Batch(alone.inputs, alone.targets[:, : int(length)])
        np.testing.assert_allclose(model.logits(alone)[0], logits[row], atol=1e-4)
    (table,) = model.tables(batch)
    assert len(table) > 1
    assert all(len(cells) == 3 for cells in table.values())
    of_tokens = output.each_token or output.tokens > 1
    assert [len(row) for row in model.embed(batch)] == ([len(row) for row in logits] if of_tokens else [32] * 3)
    assert len(list(model.answers(batch))) == 3
    if output.has_probabilities:
        chances = model.predict_proba(batch)
        assert all(0 <= float(chance) <= 1 for row in chances for chance in np.ravel(row))
    else:
        with pytest.raises(UsageError, match="which have no probabilities"):
            model.predict_proba(batch)


@pytest.mark.slow
def test_cached_features_change_nothing(tmp_path: Path) -> None:
    """Of inputs with several parts that vary, whose lengths have several columns."""
    head = "freezing.name=output_only"
    cached = trained(tmp_path, "heavier", head)
    computed = trained(tmp_path, "heavier", head, "train.feature_cache=never")
    assert cached["metrics"]["test"]["test"] == pytest.approx(computed["metrics"]["test"]["test"], rel=1e-5)
    model = fptkit.load(tmp_path / "out1")
    batch = task_of(tmp_path, "heavier").split("test").batch([0, 1, 2], torch.Generator())
    arrays = {**{name: part.numpy() for name, part in batch.inputs.items()}, "targets": batch.targets.numpy()}
    np.savez(tmp_path / "new.npz", **arrays, lengths=batch.lengths)
    np.testing.assert_array_equal(model.predict(tmp_path / "new.npz"), model.predict(batch))
    del arrays["right"]
    np.savez(tmp_path / "new.npz", **arrays)
    with pytest.raises(DataError, match=r"new\.npz: it has no array 'right', but left, targets"):
        model.predict(tmp_path / "new.npz")
    with pytest.raises(DataError, match="the inputs have several parts; give a mapping"):
        model.predict(batch.inputs["left"])
    with pytest.raises(ExportError, match="the parts left, right of the inputs vary in length"):
        export(model, "torch-export", tmp_path / "exported")


LOOKS_AHEAD = """
from torch import nn
from fptkit import Backbone, BackboneSpec, EncoderSpec, ParameterRole, hookimpl, keep_tokens


class Both(nn.Embedding):
    def __init__(self, options, *, input, width):
        super().__init__(input.count, width)

    def forward(self, inputs):
        tokens = super().forward(inputs)
        return tokens + tokens.mean(1, keepdim=True)


class Mean(Backbone):
    width, causal, blocks = 8, False, 1

    def __init__(self, options, *, positions, seed, pinned):
        super().__init__()
        self.norm = nn.LayerNorm(self.width)

    def forward(self, tokens, lengths=None, keep=None):
        return keep_tokens(self.norm(tokens + tokens.mean(1, keepdim=True)), keep)

    def parameter_roles(self):
        return {name: ParameterRole("norm", block=0) for name, _ in self.named_parameters()}


@hookimpl
def fptkit_encoders():
    return [EncoderSpec(name="both", summary="sees all tokens", target=Both, accepts=("symbols",))]


@hookimpl
def fptkit_backbones():
    return [BackboneSpec(name="mean", summary="sees all tokens", target=Mean)]
"""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("backbone={name: mean}", "backbone 'mean' is not causal: a token sees those after it"),
        ("encoder={name: both}", "encoder 'both': a token sees those after it, which the task asks for"),
        ("head.readout=mean", "does not read every token"),
        ("shuffle_tokens=true", "the task has an answer at every token"),
    ],
)
def test_the_next_symbol_is_not_shown(override: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "ahead.py").write_text(LOOKS_AHEAD, encoding="utf-8")
    made = loaded(tmp_path, "chain", f"plugins=[{EXAMPLES}/chain.py, {tmp_path}/ahead.py]", override)
    with pytest.raises(ShapeError, match=message):
        run(RunRequest(made, tmp_path / "out"))
