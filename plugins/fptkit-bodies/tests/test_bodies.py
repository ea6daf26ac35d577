"""The bodies: their recipes differ in the data alone, a body is found by its name, and make.py fills the package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import fptkit_bodies
import pytest
from click.testing import CliRunner
from fptkit_bodies import find

from fptkit.errors import RecipeError
from fptkit.lab.pretraining.options import PretrainRecipe, SyntheticRecipe
from fptkit.lab.pretraining.recipes import load_pretraining
from fptkit.sources import Unavailable

RECIPES = Path(fptkit_bodies.__file__).parent / "recipes"


def body_recipe(name: str, *, profile: str | None = None) -> PretrainRecipe | SyntheticRecipe:
    _, loaded = load_pretraining(str(RECIPES / f"body_{name}.yaml"), profile=profile)
    assert isinstance(loaded, (PretrainRecipe, SyntheticRecipe))
    return loaded


@pytest.fixture(name="make")
def _make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_bodies", Path(__file__).parents[1] / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["make_bodies"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_a_recipe_for_each_body_and_no_other() -> None:
    assert {path.stem.removeprefix("body_") for path in RECIPES.glob("*.yaml")} == set(find.BODIES)


def test_recipes_differ_in_the_data_alone() -> None:
    recipes = [body_recipe(name) for name in find.BODIES]
    assert {recipe.train.model_dump_json() for recipe in recipes} == {recipes[0].train.model_dump_json()}
    assert {recipe.model.model_dump_json() for recipe in recipes} == {recipes[0].model.model_dump_json()}
    assert recipes[0].train.max_seconds is None, "equal steps, whatever the machine"
    sources = {recipe.data.model_dump_json() for recipe in recipes}
    assert len(sources) == len(recipes)


@pytest.mark.parametrize("name", find.BODIES)
def test_a_body_is_no_larger_than_nine_megabytes(name: str) -> None:
    recipe = body_recipe(name)
    vocabulary = recipe.tokenizer.vocabulary if isinstance(recipe, PretrainRecipe) else 256
    sizes = recipe.model
    numbers = 12 * sizes.blocks * (sizes.width**2 + sizes.width) + (sizes.positions + vocabulary) * sizes.width
    assert 2 * numbers < 9e6, "bfloat16"


def test_a_body_is_a_source_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "WEIGHTS", tmp_path)
    with pytest.raises(Unavailable, match=r"bodies:stack: .*fptkit pretrain body_stack --output DIR"):
        find.open_body("stack")
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "model.safetensors").touch()
    (tmp_path / "stack" / "config.json").write_text('{"model_type": "gpt2"}', "utf-8")
    assert find.open_body("stack") == tmp_path / "stack"
    assert find.body_config("stack") == {"model_type": "gpt2"}
    assert {entry: status for entry, _, status in find.known_bodies()}["bodies:stack"] == "in the package"
    with pytest.raises(ValueError, match=r"unknown body 'stac'\nknown: english, brackets"):
        find.check_body("stac")


def test_a_recipe_names_a_body_that_does_not_exist(tmp_path: Path) -> None:
    from fptkit.recipe.load import load_recipe

    (tmp_path / "mine.yaml").write_text(
        "extends: [base/bit_xor, base/gpt2]\nbackbone: {weights: bodies:bracket}\n", "utf-8"
    )
    with pytest.raises(RecipeError, match=r"mine.yaml:2 .*\n?.*unknown body 'bracket'"):
        load_recipe(str(tmp_path / "mine.yaml"))


def test_make_trains_and_installs_a_body(make: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, started = tmp_path / "text.txt", []
    text.write_text("words", "utf-8")
    monkeypatch.setattr(find, "WEIGHTS", tmp_path / "package" / "weights")

    class Ended:
        returncode = 0

    def run(command: list[str], **_: object) -> Ended:
        started.append(command[3:])
        folder = Path(command[command.index("--output") + 1])
        folder.mkdir(parents=True)
        for file in find.FILES:
            (folder / file).write_text(f"{file}\nfptkit pretrain recipe.json\n", "utf-8")
        return Ended()

    monkeypatch.setattr(make.subprocess, "run", run)
    given = ["--text", str(text), "--output", str(tmp_path / "runs"), "english", "stack"]
    said = CliRunner().invoke(make.main, given, catch_exceptions=False)
    assert said.output == "english: finished\nstack: finished\n"
    assert f"data.path={text}" in started[0]
    assert not any("data.path" in part for part in started[1])
    assert make.is_made("stack")
    assert (find.WEIGHTS / "stack" / "config.json").read_text("utf-8").startswith("config.json")
    card = (find.WEIGHTS / "stack" / "README.md").read_text("utf-8")
    assert card == "README.md\nfptkit pretrain body_stack --output stack\n", "the card names the package's recipe"
    said = CliRunner().invoke(make.main, given, catch_exceptions=False)
    assert (said.output, len(started)) == ("english: made\nstack: made\n", 2), "nothing is made twice"


def test_make_stops_at_a_failure_and_shows_how_far_it_came(
    make: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("words", "utf-8")
    monkeypatch.setattr(find, "WEIGHTS", tmp_path / "package" / "weights")

    class Ended:
        returncode = 130

    monkeypatch.setattr(make.subprocess, "run", lambda *_, **__: Ended())
    given = ["--text", str(text), "--output", str(tmp_path / "runs")]
    assert CliRunner().invoke(make.main, given).exit_code == 130
    (tmp_path / "runs" / "recall").mkdir(parents=True)
    (tmp_path / "runs" / "recall" / "metrics.jsonl").write_text('{"step": 1250}\n{"st', "utf-8")
    said = CliRunner().invoke(make.main, [*given, "--status"]).output.splitlines()
    assert said[4] == "recall: step 1,250"
    assert said[0] == "english: not started"
