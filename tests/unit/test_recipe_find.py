"""Listing recipes is quick to read and never fails on a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fptkit.plugins import Plugin
from fptkit.recipe.find import RecipeFile, find_file, find_recipe, list_recipes, recipe_folders
from fptkit.registry import Registry
from fptkit.specs import RecipeFolderSpec

FILES = {
    "described.yaml": "# comment\ndescription: what  it\ntask: {name: x}\nprofiles: {smoke: {}, paper: {}}\n",
    "commented.yml": "\n#\n#   fptkit run commented   # minutes\n# more\ntask: {name: no}\n",
    "pretrain_nano.yaml": "model: {}\ntokenizer: {}\n",
    "other.yaml": "a: 1\n",
    "odd.yaml": "description: [1]\ntask: 3\nprofiles: 3\n",
    "broken.yaml": "# a comment\ntask: [\n",
    "empty.yaml": "",
    "notes.txt": "no recipe",
}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    folder = tmp_path / "recipes"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "binary.yaml").write_bytes(b"\xff\xff")
    (folder / "folder.yaml").mkdir()
    made = Registry()
    for name, where in (("mine", folder), ("none", tmp_path / "missing")):
        spec = RecipeFolderSpec(name=name, summary="recipes", folder=where)
        made.add([spec], Plugin(name, "distribution", "package", "1.0"))
    return made


def test_every_file_is_listed_and_none_stops_the_others(registry: Registry) -> None:
    listed = {recipe.name: recipe for recipe in list_recipes(registry)}
    assert list(listed) == sorted(listed)
    assert {name: recipe.kind for name, recipe in listed.items()} == {
        "binary": "other",
        "broken": "other",
        "commented": "run",
        "described": "run",
        "empty": "other",
        "folder": "other",
        "odd": "run",
        "other": "other",
        "pretrain_nano": "pretrain",
    }
    problems = {name for name, recipe in listed.items() if recipe.problem}
    # `name: no` is refused, but the file is still known as a run.
    assert problems == {"binary", "broken", "commented", "empty", "folder"}
    assert listed["empty"].problem == "the file is empty"
    assert listed["odd"] == RecipeFile("odd", listed["odd"].path, "mine (package 1.0)", kind="run")


def test_what_a_listing_says(registry: Registry) -> None:
    listed = {recipe.name: recipe for recipe in list_recipes(registry)}
    described = listed["described"]
    assert (described.description, described.profiles) == ("what it", ("smoke", "paper"))
    assert described.owner == "mine (package 1.0)"
    assert described.path.name == "described.yaml"
    assert listed["commented"].description == "fptkit run commented   # minutes"
    assert listed["broken"].description == "a comment"
    assert listed["other"].description == ""


def test_folders_and_files(registry: Registry, tmp_path: Path) -> None:
    folders = recipe_folders(registry)
    assert folders == [tmp_path / "recipes", tmp_path / "missing"]
    assert find_recipe("commented", folders) == tmp_path / "recipes" / "commented.yml"
    assert find_file(str(tmp_path / "recipes" / "other")) == tmp_path / "recipes" / "other.yaml"
    assert find_file(str(tmp_path)) is None
    assert find_file("") is None
