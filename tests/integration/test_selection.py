"""Runs keep their best step by a metric's own direction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fptkit.engine.run import RunRequest, run
from fptkit.errors import DivergedError, PluginError
from fptkit.recipe.load import load_recipe

PLUGIN = """
from fptkit import Accuracy, MeanSquaredError, TaskSpec, Values, hookimpl
from fptkit.tasks.bits import BitXor
from fptkit.tasks.options import BitXorOptions
import torch


class Wrong(Accuracy):
    higher_is_better = False

    def compute(self):
        return 1 - super().compute()


class ByLoss(BitXor):
    best_metric = "loss"


class ByError(BitXor):
    best_metric = "wrong"

    def metrics(self):
        return {**super().metrics(), "wrong": Wrong()}


class Blunt(ByError):
    def metrics(self):
        metric = Wrong()
        metric.higher_is_better = None
        return {**super().metrics(), "wrong": metric}


class NaN(ByError):
    def metrics(self):
        metric = Wrong()
        metric.compute = lambda: float("nan")
        return {"wrong": metric}


@hookimpl
def fptkit_tasks():
    return [
        TaskSpec(name=kind.__name__.lower(), target=kind, options=BitXorOptions, summary="bits")
        for kind in (ByLoss, ByError, Blunt, NaN)
    ]
"""

RECIPE = """
plugins: [plugin.py]
task: {{name: {task}, bits: 3, validation_size: 40, test_size: 50}}
backbone: {{name: random, blocks: 2, width: 32, heads: 2, size: nano}}
freezing: {{name: fpt}}
train: {{max_steps: 60, validate_every: 5, patience: null, batch_size: 16, learning_rate: 0.03}}
threads: 1
"""


@pytest.fixture
def start(tmp_path: Path) -> Any:
    (tmp_path / "plugin.py").write_text(PLUGIN)

    def started(task: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        path = tmp_path / f"{task}.yaml"
        path.write_text(RECIPE.format(task=task))
        summary = run(RunRequest(load_recipe(str(path)), tmp_path / task))
        lines = [json.loads(line) for line in (tmp_path / task / "metrics.jsonl").read_text().splitlines()]
        return summary, [line for line in lines if line["split"] == "validation"]

    return started


@pytest.mark.parametrize(("task", "metric"), [("byloss", "loss"), ("byerror", "wrong")])
def test_the_lowest_is_kept_where_less_is_better(start: Any, task: str, metric: str) -> None:
    summary, validated = start(task)
    assert summary["selection"] == {"metric": metric, "higher_is_better": False}
    values = {line["step"]: line[metric] for line in validated}
    assert len(set(values.values())) > 2
    assert values[summary["best_step"]] == min(values.values()) < values[5]
    assert summary["metrics"]["validation"][metric] == min(values.values())
    assert summary["fractions"] == ["accuracy", *({metric} - {"loss"})]


def test_a_metric_without_direction_ends_the_run_before_it_starts(start: Any, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="best_metric 'wrong' does not declare its direction"):
        start("blunt")
    assert not (tmp_path / "blunt" / "metrics.jsonl").exists()


def test_a_metric_that_is_nan_ends_the_run(start: Any, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="the validation metric 'wrong' at step 5 is NaN"):
        start("nan")
    summary = json.loads((tmp_path / "nan" / "summary.json").read_text())
    assert summary["status"] == "diverged"
    assert "best_metric of NaN" in summary["reason"]


COSINE = """
import torch
import torchmetrics

import fptkit
from fptkit import GeneratedTask, TaskSpec, Values, Vectors


class Bearing(GeneratedTask):
    input, output, max_tokens, best_metric = Vectors(2), Values(2), 3, "cosine_similarity"

    def draw(self, count, generator):
        steps = torch.randn(count, 3, 2, generator=generator)
        return steps, steps.sum(1)

    def metrics(self):
        return torchmetrics.MetricCollection({"cosine_similarity": torchmetrics.CosineSimilarity(reduction="mean")})


@fptkit.hookimpl
def fptkit_tasks():
    return [TaskSpec(name="bearing", summary="where a walk ends", target=Bearing)]
"""


@pytest.mark.slow
def test_the_highest_cosine_similarity_is_kept(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(COSINE)
    text = RECIPE.format(task="bearing").replace("bits: 3, validation_size: 40, test_size: 50", "")
    (tmp_path / "recipe.yaml").write_text(text.replace("bearing, }", "bearing}"))
    summary = run(RunRequest(load_recipe(str(tmp_path / "recipe.yaml")), tmp_path / "run"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    values = {line["step"]: line["cosine_similarity"] for line in lines if line["split"] == "validation"}
    assert summary["selection"] == {"metric": "cosine_similarity", "higher_is_better": True}
    assert values[summary["best_step"]] == max(values.values()) > min(values.values())
