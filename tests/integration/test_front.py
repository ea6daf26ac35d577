"""Runs with positions and a prefix at the input: resumed, cached, estimated, and deep models that train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from whole_runs import Recorder, assert_same, start

from fptkit.errors import Interrupted
from fptkit.lab.benchmarking.estimate import estimate
from fptkit.recipe.load import load_recipe

RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone:
  name: huggingface
  weights: random
  config:
    {model_type: llama, hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 32,
     vocab_size: 5, attention_dropout: 0.1}
  prefix: {kind: learned, tokens: 2}
train: {batch_size: 8, max_steps: 12, validate_every: 6, log_every: 2, patience: null, learning_rate: 1e-2}
threads: 1
"""

CACHED = """
task: {name: listops, length: [10, 30], train_size: 40, validation_size: 24, test_size: 24, max_depth: 4}
encoder: {name: symbols}
backbone:
  name: huggingface
  weights: random
  config:
    {model_type: llama, hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 32,
     vocab_size: 5}
  prefix: {kind: bos}
freezing: {name: output_only}
train: {batch_size: 8, max_steps: 20, validate_every: 10, evaluation_batch_size: 16, patience: null}
precision: float32
threads: 1
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    recipe = write(tmp_path, RECIPE)
    start(recipe, tmp_path / "whole")
    with pytest.raises(Interrupted):
        start(recipe, tmp_path / "parts", listener=Recorder(8))
    start(recipe, tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    ("positions", "prefix", "trained"),
    [("auto", "none", 6 * 16), ("auto", "bos", 6 * 16), ("auto", "learned", 8 * 16), ("none", "learned", 2 * 16)],
)
def test_counts_and_estimates_include_what_is_added_to_the_tokens(
    tmp_path: Path, positions: str, prefix: str, trained: int
) -> None:
    overrides = [f"backbone.positions.kind={positions}", f"backbone.prefix.kind={prefix}"]
    if prefix != "learned":
        overrides.append("backbone.prefix.tokens=1")
    recipe = write(tmp_path, RECIPE)
    summary = start(recipe, tmp_path / "run", *overrides)
    estimated = estimate(load_recipe(str(recipe), overrides=overrides))
    without = estimate(
        load_recipe(
            str(recipe),
            overrides=["backbone.positions.kind=none", "backbone.prefix.kind=none", "backbone.prefix.tokens=1"],
        )
    )
    assert summary["parameters"]["trained"] == estimated.trained == without.trained + trained
    assert summary["parameters"]["total"] == estimated.parameters
    assert summary["parameters"]["reached"] == estimated.trained
    assert summary["flops_per_step"] == estimated.flops_per_step
    assert estimated.tokens == 6 + {"none": 0, "bos": 1, "learned": 2}[prefix]
    assert estimated.max_tokens == estimated.tokens
    assert estimated.activation_bytes >= without.activation_bytes
    assert (estimated.flops_per_step > without.flops_per_step) == (prefix != "none")


def test_cached_features_give_the_results_of_a_run_without_a_cache(tmp_path: Path) -> None:
    recipe = write(tmp_path, CACHED)
    cached = start(recipe, tmp_path / "cached")
    fresh = start(recipe, tmp_path / "fresh", "train.feature_cache=never")
    assert any("feature cache: 40 training" in note for note in cached["notes"])
    for split, values in fresh["metrics"]["test"].items():
        assert cached["metrics"]["test"][split] == pytest.approx(values, rel=1e-4)
    other = start(recipe, tmp_path / "other", "backbone.prefix.kind=none")
    assert not any("begins" in note or "prefix" in note for note in other["notes"])
    assert other["metrics"]["validation"]["loss"] != cached["metrics"]["validation"]["loss"]


def test_a_prefix_may_not_make_the_task_longer_than_the_table(tmp_path: Path) -> None:
    from fptkit.errors import ShapeError

    text = RECIPE.split("backbone:")[0] + "backbone: {name: gpt2, weights: 'builtin:gpt2_nano', PREFIX}\n"
    recipe = write(tmp_path, text.replace("PREFIX", "prefix: {kind: learned, tokens: 1019}") + "threads: 1\n")
    with pytest.raises(ShapeError, match=r"up to 1025 tokens.*backbone\.prefix adds 1019 to the task's 6 tokens"):
        start(recipe, tmp_path / "run", "train.max_steps=1")


DEEP: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 30,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 9,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_a_deep_model_without_a_table_trains_on_zeros_and_ones(tmp_path: Path, kind: str) -> None:
    """As deep as SmolLM2-135M. Without positions its first gradient is not finite."""
    sizes = DEEP if kind == "llama" else {"hidden_size": 32, "n_layer": 30, "n_head": 4, "vocab_size": 9}
    text = f"""
task: {{name: bit_xor, validation_size: 64, test_size: 64}}
backbone: {{name: huggingface, weights: random, config: {json.dumps({"model_type": kind, **sizes})}}}
train: {{batch_size: 32, max_steps: 40, validate_every: 20, patience: null, learning_rate: 3e-3}}
threads: 1
"""
    summary = start(write(tmp_path, text), tmp_path / "run")
    assert summary["status"] == "finished"
    assert summary["metrics"]["validation"]["loss"] < 0.8
