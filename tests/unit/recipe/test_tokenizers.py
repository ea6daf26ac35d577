"""The tokenizer of a task is that of the recipe's backbone, unless it names one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fptkit.recipe.load import load_recipe
from fptkit.recipe.tokenizers import with_tokenizer

RECIPE = """
task: {name: text, source: path:a.csv}
backbone: {name: gpt2, weights: [path:a, builtin:gpt2_nano, random]}
"""


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], ("path:a", "builtin:gpt2_nano")),
        (["task.tokenizer=path:t"], ("path:t",)),
        (["backbone.weights=random"], None),
        (["backbone.name=random", "backbone.weights=random"], None),
    ],
)
def test_entries(tmp_path: Path, overrides: list[str], expected: Any) -> None:
    text = RECIPE if "backbone.name=random" not in overrides else RECIPE.replace("gpt2, weights", "lstm, weights")
    (tmp_path / "r.yaml").write_text(text)
    kept = [each for each in overrides if not each.startswith("backbone.name")]
    recipe = load_recipe(tmp_path / "r.yaml", overrides=kept).recipe
    assert with_tokenizer(recipe.task.options, recipe).tokenizer == expected  # type: ignore[attr-defined]


def test_the_weights_of_an_earlier_run_come_first(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "r.yaml").recipe
    pinned = recipe.model_copy(update={"pinned": recipe.pinned.model_copy(update={"weights": "builtin:gpt2_nano"})})
    assert with_tokenizer(recipe.task.options, pinned).tokenizer == ("builtin:gpt2_nano",)  # type: ignore[attr-defined]


def test_other_tasks_are_unchanged(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("task: {name: bit_xor}\nbackbone: {name: gpt2, weights: builtin:gpt2_nano}\n")
    recipe = load_recipe(tmp_path / "r.yaml").recipe
    assert with_tokenizer(recipe.task.options, recipe) is recipe.task.options
