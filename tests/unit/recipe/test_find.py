"""Listing recipes is quick to read and never fails on a broken one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fptkit.errors import UnknownNameError, UsageError
from fptkit.recipe.find import (
    RecipeFile,
    find_file,
    find_recipe,
    find_study,
    list_recipes,
    list_studies,
    read_recipe_file,
    recipe_folders,
)
from fptkit.registry import Plugin, Registry
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
    assert [recipe.kind for recipe in listed.values()] == ["run"] * 3 + ["pretrain"] + ["other"] * 5
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


def test_a_folder_is_no_recipe(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = recipe_folders(registry)
    with pytest.raises(UsageError, match=r"recipes is a folder, not a recipe$"):
        find_recipe(str(tmp_path / "recipes"), folders)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("task: {name: x}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"run is a folder, not a recipe; did you mean run.recipe\.yaml\?"):
        find_recipe("run", folders)
    (tmp_path / "described").mkdir()  # such as the output of an earlier run
    assert find_recipe("described", folders).name == "described.yaml"


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_a_name_no_file_can_have_is_unknown(registry: Registry, name: str) -> None:
    with pytest.raises(UnknownNameError):
        find_recipe(name, recipe_folders(registry))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("task: {name: x}\nmodel: {}\n", "run"),
        ("model: {}\n", "pretrain"),
        ("kind: language\ndata: {path: x}\ntrain: {}\n", "pretrain"),
        ("data: {path: x}\ntrain: {}\n", "pretrain"),
        ("encoder: {name: linear}\nmodel: gpt2\n", "other"),
        ("train: {}\n", "other"),
        ("arms: {a: {extends: x}}\n", "study"),
        ("tasks: {a: {}}\nlearning_rates: []\n", "study"),
        ("task: {name: x}\ntasks: {}\n", "run"),
        ("profiles: {a: {task: {name: x}}}\n", "other"),
        ("a: [", "other"),
    ],
)
def test_kinds_of_files(tmp_path: Path, text: str, kind: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert read_recipe_file(path).kind == kind
    assert read_recipe_file(tmp_path).kind == "other"


def with_studies(tmp_path: Path) -> Registry:
    """A plugin's folder of recipes with two studies in it, one of them broken."""
    folder = tmp_path / "theirs"
    (folder / "studies").mkdir(parents=True)
    (folder / "studies" / "wide.yaml").write_text(
        "description: all of it\narms: {a: {extends: x}}\nprofiles: {smoke: {seeds: 1}}\n"
    )
    (folder / "studies" / "broken.yaml").write_text("arms: [\n")
    (folder / "plain.yaml").write_text("task: {name: bit_xor}\n")
    registry = Registry()
    registry.add(
        [RecipeFolderSpec(name="theirs", summary="s", folder=folder)], Plugin("mine", "distribution", "p", "1")
    )
    return registry


def test_studies_are_listed_apart_from_recipes(tmp_path: Path) -> None:
    registry = with_studies(tmp_path)
    assert [recipe.name for recipe in list_recipes(registry)] == ["plain"]
    broken, wide = list_studies(registry)
    assert (wide.name, wide.kind, wide.description, wide.profiles, wide.owner) == (
        "wide",
        "study",
        "all of it",
        ("smoke",),
        "mine (p 1)",
    )
    assert broken.problem.startswith("not valid YAML")


def test_a_study_is_found_by_path_then_among_studies_then_among_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = recipe_folders(with_studies(tmp_path))
    assert find_study("wide", folders) == folders[0] / "studies" / "wide.yaml"
    assert find_study("plain", folders) == folders[0] / "plain.yaml"
    (folders[0] / "wide.yaml").write_text("task: {name: bit_xor}\n")
    assert find_study("wide", folders) == folders[0] / "studies" / "wide.yaml"
    (tmp_path / "wide.yaml").write_text("arms: {}\n")
    assert find_study("wide", folders) == Path("wide.yaml")
    with pytest.raises(UnknownNameError) as caught:
        find_study("wdie", folders)
    assert (caught.value.kind, caught.value.suggestion) == ("study or recipe", "wide")
    assert "fptkit list studies" in caught.value.note
    with pytest.raises(UsageError, match="in several folders"):
        find_study("plain", [folders[0], folders[0]])


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ("recipes/mine.yaml", "fptkit run mine"),
        ("./elsewhere/mine", "fptkit run mine"),
        ("recipes\\mine.yml", "fptkit run mine"),
        ("recipes/words.yaml", "fptkit pretrain words"),
    ],
)
def test_the_path_of_a_shipped_recipe_that_is_not_there(tmp_path: Path, given: str, command: str) -> None:
    (tmp_path / "mine.yaml").write_text("task: {name: bit_xor}\n")
    (tmp_path / "words.yaml").write_text("data: {path: x}\n")
    with pytest.raises(UsageError, match=re.escape(f"{given} does not exist")) as caught:
        find_recipe(given, [tmp_path])
    assert f"'{command}'" in str(caught.value)


def test_the_path_of_a_shipped_study_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "both.yaml").write_text("tasks: {}\narms: {}\n")
    (tmp_path / "mine.yaml").write_text("task: {name: bit_xor}\n")
    with pytest.raises(UsageError, match="'fptkit study both'"):
        find_study("recipes/studies/both.yaml", [tmp_path])
    with pytest.raises(UsageError, match="'fptkit run mine'"):
        find_study("recipes/mine.yaml", [tmp_path])
    with pytest.raises(UnknownNameError):  # a misspelt name is still corrected
        find_study("recipes/mien.yaml", [tmp_path])
