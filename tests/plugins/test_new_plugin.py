"""``fptkit new plugin``: what it writes installs, passes its own tests and runs its recipe, for each kind."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from command_line import process
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import fptkit
from fptkit.cli import new
from fptkit.cli.main import cli
from fptkit.engine.run import RunRequest, run
from fptkit.errors import UsageError
from fptkit.recipe.load import load_recipe

KINDS = ("task", "backbone", "encoder", "policy", "listener")
PARTS = ("head", "loss", "metric", "optimizer", "schedule", "transform")
"""Kinds of a training's parts, whose packages are tried together."""
"""Kinds whose packages have a recipe."""

AROUND = (
    *("weight_source", "data_set", "command", "published"),
    *("control", "search", "launcher", "report_section"),
)
"""Kinds of what surrounds runs."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A package of each kind, written and installed by pip into a folder of its own: (folder, environment)."""
    folder, site = tmp_path_factory.mktemp("new"), tmp_path_factory.mktemp("site")
    for kind in (*KINDS, *AROUND):
        done = CliRunner().invoke(
            cli, ["new", "plugin", f"my_{kind}", "--kind", kind, "--output", str(folder / kind)], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [*pip, "--target", str(site), *(str(folder / kind) for kind in (*KINDS, *AROUND))], check=True, timeout=300
    )
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    environment.pop("FPTKIT_PLUGINS", None)
    return folder, environment


def command_line(environment: dict[str, str], cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return process(*arguments, cwd=cwd, environment=environment)


@pytest.mark.slow
def test_all_kinds_are_installed_and_named(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    done = command_line(installed[1], tmp_path, "plugins", "--json")
    plugins = {row["name"]: row for row in json.loads(done.stdout)}
    for kind in (*KINDS, *AROUND):
        assert plugins[f"my_{kind}"]["status"] == "loaded", plugins[f"my_{kind}"]
        assert plugins[f"my_{kind}"]["version"] == f"fptkit-my-{kind.replace('_', '-')} 0.1.0"
    recipes = {
        row["name"]: row for row in json.loads(command_line(installed[1], tmp_path, "list", "recipes", "--json").stdout)
    }
    assert all(recipes[f"my_{kind}"]["kind"] == "run" for kind in KINDS)


@pytest.mark.slow
def test_their_own_tests_pass(installed: tuple[Path, dict[str, str]]) -> None:
    folder, environment = installed
    tests = [str(folder / kind / "tests") for kind in (*KINDS, *AROUND)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_recipe_runs_by_its_name(installed: tuple[Path, dict[str, str]], kind: str, tmp_path: Path) -> None:
    done = command_line(
        installed[1], tmp_path, "run", f"my_{kind}", "--profile", "smoke", "--output", "out", "--set", "threads=1"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["status"] == "finished"
    if kind == "listener":
        assert len((tmp_path / "out" / "losses.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_their_contracts_hold(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    done = command_line(installed[1], tmp_path, "plugins", "--check", "--json")
    checked = json.loads(done.stdout)
    assert done.returncode == 0, checked
    assert {one["plugin"] for one in checked} >= {f"my_{kind}" for kind in (*KINDS, *AROUND)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_study_can_be_planned_over_each(installed: tuple[Path, dict[str, str]], kind: str, tmp_path: Path) -> None:
    done = command_line(installed[1], tmp_path, "study", f"my_{kind}", "--profile", "smoke", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"] > 0


@pytest.mark.slow
def test_the_command_of_a_package_is_a_command(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"best_step": 40}')
    done = command_line(installed[1], tmp_path, "my_command", ".")
    assert done.stdout.split() == [".", "40"], done.stderr
    assert "my_command" in command_line(installed[1], tmp_path, "--help").stdout


def written(folder: Path, kind: str) -> Path:
    """The package of a kind, called ``my_KIND``."""
    command = ["new", "plugin", f"my_{kind}", "--kind", kind, "--output", str(folder / kind)]
    assert CliRunner().invoke(cli, command, catch_exceptions=False).exit_code == 0
    return folder / kind


def test_parts_of_a_training_run_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = []
    for kind in PARTS:
        package = written(tmp_path, kind)
        monkeypatch.syspath_prepend(str(package))
        files.append(package / f"fptkit_my_{kind}" / "__init__.py")
        for profile in ("smoke", "control"):
            recipe_file = files[-1].parent / "recipes" / f"my_{kind}.yaml"
            load_recipe(str(recipe_file), profile=profile, plugin_files=[files[-1]])
    recipe = {
        "task": {"name": "mnist", "source": "digits", "train_size": 40},
        "backbone": {"name": "random", "size": "nano", "blocks": 1, "width": 16, "heads": 2},
        "head": {"readout": {"name": "my_head"}},
        **{kind: f"my_{kind}" for kind in ("loss", "optimizer", "schedule")},
        "metrics": ["my_metric"],
        "transforms": ["my_transform"],
        "train": {"max_steps": 2, "validate_every": 1, "batch_size": 8},
    }
    loaded = load_recipe(recipe, plugin_files=files)
    summary = run(RunRequest(loaded, tmp_path / "run"))
    assert set(summary["training_parts"]) == {"head", "loss", "optimizer", "schedule", "metrics", "transforms"}
    assert len(summary["plugins"]) == len(PARTS)


@pytest.mark.parametrize("kind", PARTS)
def test_the_tests_of_a_part_of_training_pass(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which is quicker than installing each package."""
    package = written(tmp_path, kind)
    monkeypatch.syspath_prepend(str(package))
    tests = runpy.run_path(str(package / "tests" / "test_contract.py"))
    names = [name for name in tests if name.startswith("test_")]
    assert len(names) == 2
    for name in names:
        tests[name]()


@pytest.mark.parametrize("kind", [*KINDS, *PARTS, *AROUND])
def test_what_is_written_is_tidy(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    CliRunner().invoke(cli, ["new", "plugin", "a_b", "--kind", kind, "--output", str(folder)], catch_exceptions=False)
    texts = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert not [path for path, text in texts.items() if re.search(r"\$(?!\{\{)", text)], "a placeholder was left"
    ruff = [Path(sys.executable).with_name("ruff")]
    for check in (["check", "--select", "E,F,I,B,UP"], ["format", "--check"]):
        command = [*ruff, *check, "--isolated", "--line-length", "120", "--no-cache", "."]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["0.1.0", "0.3.7rc1", "1.2.0", fptkit.__version__])
def test_the_range_of_versions_holds_this_one_and_not_the_next(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new, "__version__", version)
    allowed = SpecifierSet(new._versions(), prereleases=True)
    major, minor = Version(version).release[:2]
    assert version.partition("rc")[0] in allowed
    assert f"{major}.{minor}.99" in allowed
    assert (f"{major}.{minor + 1}.0" in allowed) == (major > 0)
    assert f"{major + 1}.0" not in allowed


@pytest.mark.parametrize("kind", new.KINDS)
def test_a_package_for_others(kind: str) -> None:
    files = new._files("a_b", kind)
    assert files["LICENSE"].startswith("MIT License")
    for needed in ('license = "MIT"', f'"fptkit{new._versions()}"', "strict = true"):
        assert needed in files["pyproject.toml"]
    sources = "".join(text for path, text in files.items() if path.startswith("fptkit_a_b/"))
    for module in ("torch", "pydantic", "click"):
        used = re.search(rf"^(import|from) {module}\b", sources, re.MULTILINE) is not None
        assert used == (f'"{module}>=' in files["pyproject.toml"]), module
    (job,) = yaml.safe_load(files[".github/workflows/test.yml"])["jobs"].values()
    steps = [step.get("run", "") for step in job["steps"]]
    assert [step.split()[0] for step in steps if step] == ["pip", "ruff", "mypy", "pytest", "fptkit"]
    assert steps[-1] == "fptkit plugins --check a_b"


@pytest.mark.parametrize("kind", [*KINDS, *PARTS])
def test_the_recipe_of_a_package_has_its_control(kind: str) -> None:
    recipe = yaml.safe_load(new._files("a_b", kind)["fptkit_a_b/recipes/a_b.yaml"])
    assert set(recipe["profiles"]) == {"control", "smoke"}
    (section,) = recipe["profiles"]["control"]
    assert recipe["profiles"]["control"][section] != recipe[section]


@pytest.mark.parametrize("name", ["", "Moons", "2moons", "my-task", "my__task", "_a", "class", "a b", "a/../b"])
def test_names_that_cannot_be_used(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["new", "plugin", "--", name])
    assert isinstance(done.exception, UsageError), done.output
    assert "use lower-case letters" in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_names_that_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["new", "plugin", "bit_xor"])
    assert str(done.exception) == "fptkit already has a task 'bit_xor'; choose another name"
    assert CliRunner().invoke(cli, ["new", "plugin", "bit_xor", "--kind", "policy"]).exit_code == 0


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    done = CliRunner().invoke(cli, ["new", "plugin", "moons", "--output", str(tmp_path)])
    assert "already exists and is not an empty folder" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert CliRunner().invoke(cli, ["new", "plugin", "moons", "--output", str(tmp_path / "empty")]).exit_code == 0
