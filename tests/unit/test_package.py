"""What is shipped: a wheel holds the recipes, the weights with their card, and no tests."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

import fptkit
from fptkit.lab.studies.options import StudySettings
from fptkit.specs import FPT_PAPER

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
    assert path.stat().st_size < 25_000_000  # four sets of weights of 5 to 9 MB
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


def test_the_dockerfile_copies_what_there_is_and_has_both_targets() -> None:
    text = (ROOT / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", text, re.MULTILINE)
    assert {name for _, name in stages} >= {"cpu", "cuda"}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    assert copied
    assert all((ROOT / name).exists() for names in copied for name in names.split())


def test_the_citation_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # required by the schema of CFF 1.2.0
    assert FPT_PAPER.rpartition(" ")[2] in citation["references"][0]["url"]


def test_workflows_and_hooks_run_what_ci_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in steps
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    ci = (ROOT / ".ci" / "run").read_text()
    for tool in ("ruff check", "ruff format", "mypy", "bandit"):
        assert f".venv/bin/{tool}" in ci
        assert any(hook["entry"].startswith(f".venv/bin/{tool}") for hook in hooks), tool


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python, without the tracker, whose package is installed by its first cell."""
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.read(ROOT / "docs" / "colab.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert cells[0].startswith("%pip install")
    first = next(cell for cell in cells if "fptkit.run(" in cell).replace(', listeners=["tensorboard"]', ", quiet=True")
    found: dict[str, Any] = {}
    exec(first, found)
    assert found["result"].metrics["test"]
    study = next(cell for cell in cells if "fptkit.study(" in cell)
    assert set(re.findall(r"(\w+)=", study)) <= {
        *inspect.signature(fptkit.study).parameters,
        *StudySettings.model_fields,
    }
