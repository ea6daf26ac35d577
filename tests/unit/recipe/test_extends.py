"""``extends``: the order of merging, where bases are found, and faults in several files."""

from __future__ import annotations

from pathlib import Path

import pytest
import written_files
from written_files import builtins

from fptkit.errors import RecipeError
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.find import list_recipes, read_recipe_file, recipe_texts
from fptkit.recipe.load import LoadedRecipe, load_recipe

TASK = """
description: of the task
task: {name: bit_xor, bits: 7}
train: {batch_size: 8, max_steps: 50}
profiles:
  smoke: {task: {bits: 3}, train: {max_steps: 2}}
  long: {train: {max_steps: 1000}}
"""
ARM = """
backbone: {name: random, size: nano, dropout: 0.0}
freezing: {name: full}
train: {learning_rate: 1e-4}
profiles:
  smoke: {backbone: {blocks: 1}}
"""
OWN = """
extends: [base/task, base/arm]
description: own
train: {batch_size: 4}
profiles:
  smoke: {train: {batch_size: 2}}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(TASK, "base/task.yaml")
    write(ARM, "base/arm.yml")


def write(text: str, name: str = "x.yaml") -> str:
    return written_files.write(text, name)


def load(text: str, *overrides: str, profile: str | None = None) -> LoadedRecipe:
    return load_recipe(write(text), profile=profile, overrides=overrides, registry_loader=builtins)


def problems(text: str, *overrides: str) -> list[tuple[str, str, str]]:
    with pytest.raises(RecipeError) as caught:
        load(text, *overrides)
    return [(problem.where, problem.path, problem.message.splitlines()[0]) for problem in caught.value.problems]


def test_the_upper_file_holds_and_the_rest_comes_from_below() -> None:
    recipe = load(OWN).recipe
    assert recipe.description == "own"
    assert (recipe.task.name, recipe.task.options.bits) == ("bit_xor", 7)  # type: ignore[attr-defined]
    assert (recipe.backbone.name, recipe.freezing.name) == ("random", "full")
    assert (recipe.train.batch_size, recipe.train.max_steps, recipe.train.learning_rate) == (4, 50, 1e-4)


def test_profiles_are_laid_over_each_other_and_above_every_base() -> None:
    recipe = load(OWN, profile="smoke").recipe
    assert recipe.task.options.bits == 3  # type: ignore[attr-defined]
    assert recipe.backbone.options.blocks == 1  # type: ignore[attr-defined]
    assert (recipe.train.max_steps, recipe.train.batch_size) == (2, 2)
    assert load(OWN, profile="long").recipe.train.max_steps == 1000
    assert load(OWN, "train.max_steps=3", profile="long").recipe.train.max_steps == 3


def test_the_last_of_several_bases_holds() -> None:
    write("train: {learning_rate: 1e-2, max_steps: 9}", "base/third.yaml")
    train = load("extends: [base/task, base/arm, base/third]").recipe.train
    assert (train.learning_rate, train.max_steps, train.batch_size) == (1e-2, 9, 8)
    train = load("extends: [base/third, base/arm, base/task]").recipe.train
    assert (train.learning_rate, train.max_steps) == (1e-4, 50)


def test_another_component_starts_afresh() -> None:
    recipe = load("extends: base/task\ntask: {name: bit_memory}\nbackbone: {name: random, size: nano}").recipe
    assert recipe.task.options.bits == 1000  # type: ignore[attr-defined]


def test_a_base_has_bases_itself_found_beside_it() -> None:
    write("extends: [task, arm]\nthreads: 1", "base/both.yaml")
    recipe = load("extends: ./base/both.yaml").recipe
    assert (recipe.task.name, recipe.backbone.name, recipe.threads) == ("bit_xor", "random", 1)


def test_the_same_base_by_two_ways_is_no_circle() -> None:
    write("extends: task\nthreads: 1", "base/left.yaml")
    write("extends: task", "base/right.yaml")
    assert load("extends: [base/left, base/right, base/arm]").recipe.threads == 1


def test_a_copy_elsewhere_finds_the_shipped_bases() -> None:
    shipped = next(recipe for recipe in list_recipes(builtins()) if recipe.name == "bit_xor_gpt2")
    write(shipped.path.read_text(encoding="utf-8"), "deep/down/mine.yaml")
    assert "extends" in Path("deep/down/mine.yaml").read_text(encoding="utf-8")
    mine = load_recipe("deep/down/mine.yaml", registry_loader=builtins).recipe
    assert mine == load_recipe(str(shipped.path), registry_loader=builtins).recipe


def test_plugins_of_a_base_are_relative_to_it() -> None:
    write(
        "from fptkit import hookimpl\n\n@hookimpl\ndef fptkit_tasks():\n    return []\n",
        "base/plug.py",
    )
    write("plugins: [plug.py]", "base/with_plugin.yaml")
    recipe = load("extends: [base/task, base/arm, base/with_plugin]").recipe
    assert recipe.plugins == (str(Path("base/plug.py").resolve()),)


def test_a_resolved_recipe_needs_no_base(tmp_path: Path) -> None:
    recipe = load(OWN, profile="smoke").recipe
    written = dump_recipe(recipe)
    assert "extends" not in written
    assert load_recipe(write(written, str(tmp_path / "alone" / "r.yaml")), registry_loader=builtins).recipe == recipe


def test_faults_name_their_own_file() -> None:
    write(TASK.replace("bits: 7", "bitz: 7"), "base/task.yaml")
    found = problems(OWN.replace("batch_size: 4", "batch_size: 0"), "train.seed=-1")
    assert [(where, path) for where, path, _ in found] == [
        ("base/task.yaml:3", "task"),
        ("x.yaml:4", "train.batch_size"),
        ("--set train.seed=-1", "train.seed"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: base/tusk", "recipe 'base/tusk' was not found next to this file or in a recipe folder"),
        ("extends: 3", "expected the name of a recipe file, or a list of names"),
        ("extends: []", "expected the name of a recipe file, or a list of names"),
        ("extends: [base/task, 3]", "expected the name of a recipe file, or a list of names"),
        ("extends: {a: 1}", "expected the name of a recipe file, or a list of names"),
        ("extends: x", "'x' extends this file in turn; remove one of the two"),
        ("extends: " + "y" * 300, "was not found"),
    ],
)
def test_bases_that_are_none(text: str, message: str) -> None:
    found = problems(text + "\ntask: {name: bit_xor}\n")
    assert [(where, path) for where, path, _ in found] == [("x.yaml:1", "extends")]
    assert message in found[0][2]


def test_a_longer_circle_is_found() -> None:
    write("extends: ../x", "base/task.yaml")
    assert problems(OWN)[0][:2] == ("base/task.yaml:1", "extends")


def test_a_base_that_is_no_yaml() -> None:
    write("task: [", "base/task.yaml")
    assert problems(OWN)[0][0].startswith("base/task")
    Path("base/task.yaml").write_bytes(b"\xff")
    assert "is not UTF-8 text" in problems(OWN)[0][2]


def test_listings_see_through_it() -> None:
    path = Path(write(OWN))
    assert read_recipe_file(path).kind == "run"
    texts = recipe_texts(path, builtins())
    assert [file.name for file, _ in texts] == ["x.yaml", "task.yaml", "arm.yml"]
    listed = {recipe.name: recipe for recipe in list_recipes(builtins())}["bit_xor_gpt2"]
    assert (listed.task, listed.backbone, listed.freezing) == ("bit_xor", "gpt2", "fpt")
    assert set(listed.profiles) >= {"smoke", "paper"}
