"""What is shipped: a wheel holds the recipes, the weights with their card, and no tests."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    assert path.stat().st_size < 26_000_000  # four sets of weights of 5 to 9 MB
    return set(zipfile.ZipFile(path).namelist())


@pytest.mark.slow
def test_recipes_are_inside(wheel: set[str]) -> None:
    recipes = ROOT / "recipes"
    assert {f"fptkit/recipes/{path.relative_to(recipes)}" for path in recipes.rglob("*.yaml")} <= wheel
    assert "fptkit/templates/task/recipe.yaml.template" in wheel
    assert {
        f"fptkit/lab/published/{name}.yaml" for name in ("fpt2021", "lra2020", "rothermel2021", "tape2019")
    } <= wheel


@pytest.mark.slow
def test_weights_and_their_card_are_inside(wheel: set[str]) -> None:
    for name in ("bit_memory_nano", "synthetic_nano", "vit_nano"):
        assert {f"fptkit/weights/{name}/{file}" for file in ("model.safetensors", "config.json", "README.md")} <= wheel
    assert (ROOT / "fptkit/weights/vit_nano/model.safetensors").stat().st_size <= 6_000_000
    folder = "fptkit/weights/gpt2_nano"
    names = ("model.safetensors", "config.json", "tokenizer.json", "README.md")
    assert {f"{folder}/{name}" for name in names} <= wheel
    assert (ROOT / folder / "model.safetensors").stat().st_size <= 10_000_000


@pytest.mark.slow
def test_nothing_else_is_inside(wheel: set[str]) -> None:
    assert all(name.startswith(("fptkit/", "fptkit-")) for name in wheel)
    assert "fptkit/py.typed" in wheel
    assert not any("__pycache__" in name for name in wheel)
