"""The recipe of a pretraining on a task: what it may say, its faults, and that checking it loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pretraining_recipes import TASK as TINY
from pretraining_recipes import load_task_recipe as load
from pretraining_recipes import write_task_recipe as write_recipe

from fptkit.errors import RecipeError, UsageError


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe") / "tiny.yaml")


def test_checking_a_recipe_loads_nothing_heavy(recipe: Path) -> None:
    heavy = ("torch", "numpy", "transformers", "timm")
    code = (
        "import sys\nfrom fptkit.lab.pretraining.recipes import load_pretraining\nload_pretraining(sys.argv[1])\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(recipe)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_everything_trains_unless_the_recipe_says_so_itself(recipe: Path, tmp_path: Path) -> None:
    assert load(recipe).run.recipe.freezing.name == "full"
    assert load(recipe).save_dtype == "bfloat16"
    said = write_recipe(tmp_path / "said.yaml", freezing={"name": "full"}, save_dtype="float32")
    assert load(said).save_dtype == "float32"


@pytest.mark.parametrize(
    ("sections", "line", "message"),
    [
        ({"kind": "tsk"}, 1, "kind: expected language, synthetic or task, got 'tsk'"),
        ({"task": {"name": "bit_xr"}}, 3, "unknown task 'bit_xr'. Did you mean 'bit_xor'?"),
        ({"task": {"name": "bit_xor", "bitts": 2}}, 4, "unknown key 'bitts'. Did you mean 'bits'?"),
        ({"backbone": {"name": "bert"}}, 8, "backbone.name: weights of 'bert' cannot be exported\n"),
        ({"backbone": {"name": "random", "like": "bert"}}, 9, "backbone.like: weights of 'bert' cannot be exported\n"),
        ({"train": {"max_step": 3}}, 15, "unknown key 'max_step'. Did you mean 'max_steps'?"),
        ({"freezing": {"name": "fpt"}}, 24, "freezing.name: a pretraining trains all weights, got 'fpt'"),
        ({"save_dtype": "int8"}, 23, "save_dtype: expected one of bfloat16, float32, got 'int8'"),
        ({"model": {"blocks": 2}}, 23, "unknown key 'model'"),
        ({"plugins": ["gone.py"]}, 24, "plugin file"),
    ],
)
def test_faults_have_their_line(tmp_path: Path, sections: dict[str, Any], line: int, message: str) -> None:
    path = write_recipe(tmp_path / "x.yaml", **sections)
    with pytest.raises(RecipeError) as caught:
        load(path)
    assert f"x.yaml:{line} " in str(caught.value)
    assert message in str(caught.value).replace("\n" + " " * 100, " ")


def test_all_faults_at_once(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "x.yaml", task={"name": "nothing"}, backbone={"name": "bert"}, trian={}, train={})
    with pytest.raises(RecipeError, match="3 problems in"):
        load(path, overrides=["train.seed=0"])


def test_a_recipe_for_run_is_refused(tmp_path: Path) -> None:
    content = {key: value for key, value in TINY.items() if key != "kind"}
    with pytest.raises(UsageError, match="this is a recipe for fptkit run; use: fptkit run"):
        load(write_recipe(tmp_path / "x.yaml", content))


def test_a_pretraining_can_extend_the_recipe_of_a_run(tmp_path: Path) -> None:
    write_recipe(tmp_path / "base.yaml", {key: value for key, value in TINY.items() if key != "kind"})
    loaded = load(write_recipe(tmp_path / "x.yaml", {"kind": "task", "extends": "base", "train": {"max_steps": 3}}))
    assert (loaded.run.recipe.train.max_steps, loaded.run.recipe.train.batch_size) == (3, 16)


PLUGIN = """
import fptkit
from fptkit.tasks.bits import BitXor

@fptkit.hookimpl
def fptkit_tasks():
    return [fptkit.TaskSpec(name="mine", summary="x", target="fptkit.tasks.bits:BitXor",
                            options="fptkit.tasks.options:BitXorOptions")]
"""


def test_a_task_of_a_plugin_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN, "utf-8")
    path = write_recipe(tmp_path / "x.yaml", task={"name": "mine", "bits": 2}, plugins=["mine.py"])
    assert load(path).run.recipe.plugins == (str(tmp_path / "mine.py"),)
    (tmp_path / "mine.py").write_text("raise OSError('broken')", "utf-8")
    with pytest.raises(RecipeError, match="broken"):
        load(path)
