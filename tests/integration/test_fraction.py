"""Runs on a share of the training data, and their metrics on a sample of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from whole_runs import start

from fptkit.engine.build import build
from fptkit.engine.checkpoint import read_model_files, restore_trained
from fptkit.engine.fraction import SplitFraction, training_fraction, training_sample
from fptkit.engine.run import RunRequest, run
from fptkit.errors import UsageError
from fptkit.interfaces import Split
from fptkit.recipe.load import load_recipe

RECIPE = """
task: {name: mnist, source: [digits]}
backbone: {name: random, blocks: 1, width: 16, heads: 2, size: nano}
train: {batch_size: 8, max_steps: 6, validate_every: 3, log_every: 2, patience: null, learning_rate: 1e-2}
threads: 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("open_test", [False, True])
@pytest.mark.parametrize(("fraction", "count"), [(1.0, 40), (0.02, 10_000)])
def test_the_best_steps_metrics_on_what_it_was_trained_on(
    recipe: Path, tmp_path: Path, fraction: float, count: int, open_test: bool
) -> None:
    """Against a loop of its own over the stored images, with the tensors the run left."""
    overrides = (f"train.data_fraction={fraction}", f"train.training_sample={count}", "task.augment=true")
    summary = start(recipe, tmp_path / "run", *overrides, open_test=open_test)
    assert list(summary["metrics"]) == ["validation", "test", "train"]
    loaded = load_recipe(str(tmp_path / "run" / "recipe.yaml"))
    assert loaded.recipe.train.data_fraction == fraction
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    restore_trained(built.model, read_model_files(tmp_path / "run", "model.json")[1]["model"], origin=tmp_path)
    built.model.eval()
    stored = build_plain_train_split(recipe)
    whole = built.task.split("train")
    sample = training_sample(built.task, training_fraction(built.task, whole, fraction, 0), count, 0)
    assert sample.size == min(count, max(1, round(fraction * (whole.size or 0))))
    batch = stored.batch(numbers(sample), torch.Generator())
    with torch.no_grad():
        logits = built.model(batch.inputs)
    loss = torch.nn.functional.cross_entropy(logits, batch.targets).item()
    accuracy = (logits.argmax(-1) == batch.targets).float().mean().item()
    assert summary["metrics"]["train"] == pytest.approx({"loss": loss, "accuracy": accuracy}, abs=1e-4)
    assert any("of the training split, drawn by the seed" in note for note in summary["notes"]) == (fraction < 1)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["split"] for line in lines if "accuracy" in line] == ["validation"] * 2 + ["test"] * open_test


def numbers(split: Split) -> list[int]:
    """Numbers, in the task's own split, of the examples of a share, or of a sample of one."""
    assert isinstance(split, SplitFraction)
    if not isinstance(split.whole, SplitFraction):
        return split.members.tolist()
    return [numbers(split.whole)[index] for index in split.members]


def build_plain_train_split(recipe: Path) -> Split:
    """The training images of a task that never moves them."""
    loaded = load_recipe(str(recipe), overrides=["task.augment=false"])
    return build(loaded.recipe, loaded.registry, torch.device("cpu")).task.split("train")


def test_a_sample_changes_nothing_of_the_training(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "without")
    start(recipe, tmp_path / "with", "train.training_sample=20")
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("without", "with"))
    assert one == other


def test_another_share_is_another_run(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "run", "train.data_fraction=0.05")
    with pytest.raises(UsageError, match=r"it differs in train\.data_fraction"):
        start(recipe, tmp_path / "run", "train.data_fraction=0.1", resume=True)


def test_a_share_of_drawn_examples_is_told_before_training(tmp_path: Path) -> None:
    path = tmp_path / "drawn.yaml"
    path.write_text(
        "task: {name: bit_xor, bits: 3}\nbackbone: {name: random, blocks: 1, width: 16, heads: 2, size: nano}\n"
    )
    with pytest.raises(UsageError, match=r"BitXor draws its training examples endlessly") as caught:
        run(RunRequest(load_recipe(str(path), overrides=["train.data_fraction=0.1"]), tmp_path / "run"))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()
