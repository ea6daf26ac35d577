"""Recipes and overrides given as Python values mean what the same YAML and ``--set`` mean."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fptkit.errors import RecipeError, UsageError
from fptkit.recipe.extends import lay_over, read_override
from fptkit.recipe.find import recipe_folders
from fptkit.recipe.given import checked, override_texts, read_given
from fptkit.recipe.load import load_installed, load_recipe
from fptkit.recipe.models import TrainOptions
from fptkit.recipe.tree import Fault, plain


@pytest.mark.parametrize(
    ("value", "means"),
    [
        (1, 1),
        (1e-3, 1e-3),
        (1e-300, 1e-300),
        (True, True),
        (None, None),
        ("yes", "yes"),
        ("1e-3", "1e-3"),
        ('a "quoted" {text}, [x]: #', 'a "quoted" {text}, [x]: #'),
        ("back\\slash\nline\ttab", "back\\slash\nline\ttab"),
        ("ü ☀ 𝄞", "ü ☀ 𝄞"),
        ("", ""),
        ([1, "two", [None, 3.5]], [1, "two", [None, 3.5]]),
        ((0, 1), [0, 1]),
        (range(3), [0, 1, 2]),
        ([{"role": "norm", "blocks": "-2:"}], [{"role": "norm", "blocks": "-2:"}]),
        ({}, {}),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (Path("data/train.csv"), "data/train.csv"),
        (np.float64(0.25), 0.25),
        (np.int32(7), 7),
        (np.bool_(True), True),
        (np.array([1.5, 2.0]), [1.5, 2.0]),
    ],
)
def test_a_value_survives_as_an_override(value: Any, means: Any) -> None:
    (text,) = override_texts({"train": {"x": value}})
    faults: list[Fault] = []
    node = read_override(text, 1, faults)
    assert not faults
    assert node is not None
    found = plain(node)["train"]["x"]
    assert found == means
    assert type(found) is type(means)


def test_nan_survives_too() -> None:
    (text,) = override_texts({"x": math.nan})
    node = read_override(text, 1, [])
    assert node is not None
    assert math.isnan(plain(node)["x"])


def test_nested_and_dotted_keys_are_the_same() -> None:
    assert override_texts({"train": {"seed": 1, "seeds": {"data": 2}}}) == override_texts(
        {"train.seed": 1, "train.seeds.data": 2}
    )
    given = read_given({"train.seed": 1, "train": {"max_steps": 3}, "task": {"name": "bit_xor"}}, [])
    assert given.tree is not None
    assert plain(given.tree) == {"train": {"seed": 1, "max_steps": 3}, "task": {"name": "bit_xor"}}


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"train": {"seed": object()}}, "train.seed: got a value of type object"),
        ({"train": {1: 2}}, "train: the key 1 is not text"),
        ({"x": [{"a": {1, 2}}]}, r"x\[0\].a: got a value of type set"),
        ({"x": b"bytes"}, "x: got a value of type bytes"),
    ],
)
def test_other_values_are_refused(overrides: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        override_texts(overrides)


def test_a_mapping_is_the_recipe_of_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("extends: [base/bit_xor, base/gpt2]\ntrain: {max_steps: 7}\n")
    from_file = load_recipe("mine.yaml", profile="smoke", overrides=["train.seed=3"])
    content = {"extends": ["base/bit_xor", "base/gpt2"], "train": {"max_steps": 7}}
    given = load_recipe(content, profile="smoke", overrides=["train.seed=3"])
    assert given.recipe == from_file.recipe
    assert given.name == "bit_xor_gpt2"
    assert load_recipe({"extends": "mine"}).recipe == load_recipe("mine.yaml").recipe  # bases beside the working folder


def test_a_recipe_has_a_name() -> None:
    folders = recipe_folders(load_installed([]))
    assert read_given({"backbone": {"name": "lstm"}}, folders).path.stem == "lstm"
    assert read_given({}, folders).path.stem == "recipe"
    assert read_given({"task": 3}, folders, "mine").path.stem == "mine"


def test_faults_of_a_mapping_are_reported_together() -> None:
    content = {"task": {"name": "bit_xr"}, "train": {"max_steps": "3", "seed": object()}, 5: 1, "a..b": 2}
    with pytest.raises(RecipeError) as caught:
        load_recipe(content)  # type: ignore[arg-type]
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert {"task.name", "train.max_steps", "train.seed", ""} <= found.keys()
    assert {problem.where for problem in caught.value.problems} == {"the given recipe"}


def test_a_mapping_that_contains_itself_ends() -> None:
    content: dict[str, Any] = {"task": {"name": "bit_xor"}}
    content["train"] = content
    with pytest.raises(RecipeError, match="nested deeper"):
        load_recipe(content)


@pytest.mark.parametrize(
    ("content", "text"),
    [({"arms": {}}, "is a study; use fptkit.study"), ({"kind": "task"}, "is a pretraining recipe; write it to a file")],
)
def test_other_kinds_are_refused(content: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        load_recipe(content)


def test_options_are_checked_by_the_rules_of_recipes() -> None:
    made = checked({"learning_rate": 1, "schedule": {"name": "cosine"}}, TrainOptions, "here")
    assert (made.learning_rate, made.schedule.name) == (1.0, "cosine")
    with pytest.raises(RecipeError) as caught:
        checked({"learning_rate": "1", "max_step": 3}, TrainOptions, "here")
    assert [problem.where for problem in caught.value.problems] == ["here", "here"]


def test_lay_over_takes_the_texts() -> None:
    given = read_given({"backbone": {"name": "gpt2", "dropout": 0.1}}, [])
    tree = lay_over(given.tree, profile=None, overrides=override_texts({"backbone.name": "random"}), faults=[])
    assert tree is not None
    assert plain(tree)["backbone"] == {"name": "random"}
