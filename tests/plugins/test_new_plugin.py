"""``fptkit new plugin``: what it writes installs, passes its own tests and runs its recipe, for each kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import process

from fptkit.cli.main import cli
from fptkit.errors import UsageError

KINDS = ("task", "backbone", "encoder", "policy", "listener")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A package of each kind, written and installed by pip into a folder of its own: (folder, environment)."""
    folder, site = tmp_path_factory.mktemp("new"), tmp_path_factory.mktemp("site")
    for kind in KINDS:
        done = CliRunner().invoke(
            cli, ["new", "plugin", f"my_{kind}", "--kind", kind, "--output", str(folder / kind)], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), *(str(folder / kind) for kind in KINDS)], check=True, timeout=300)
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    environment.pop("FPTKIT_PLUGINS", None)
    return folder, environment


def fptkit(environment: dict[str, str], cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return process(*arguments, cwd=cwd, environment=environment)


@pytest.mark.slow
def test_all_kinds_are_installed_and_named(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    done = fptkit(installed[1], tmp_path, "plugins", "--json")
    plugins = {row["name"]: row for row in json.loads(done.stdout)}
    for kind in KINDS:
        assert plugins[f"my_{kind}"]["status"] == "loaded", plugins[f"my_{kind}"]
        assert plugins[f"my_{kind}"]["version"] == f"fptkit-my-{kind} 0.1.0"
    recipes = {
        row["name"]: row for row in json.loads(fptkit(installed[1], tmp_path, "list", "recipes", "--json").stdout)
    }
    assert all(recipes[f"my_{kind}"]["kind"] == "run" for kind in KINDS)


@pytest.mark.slow
def test_their_own_tests_pass(installed: tuple[Path, dict[str, str]]) -> None:
    folder, environment = installed
    tests = [str(folder / kind / "tests") for kind in KINDS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_recipe_runs_by_its_name(installed: tuple[Path, dict[str, str]], kind: str, tmp_path: Path) -> None:
    done = fptkit(
        installed[1], tmp_path, "run", f"my_{kind}", "--profile", "smoke", "--output", "out", "--set", "threads=1"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["status"] == "finished"
    if kind == "listener":
        assert len((tmp_path / "out" / "losses.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_their_contracts_hold(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    done = fptkit(installed[1], tmp_path, "plugins", "--check", "--json")
    checked = json.loads(done.stdout)
    assert done.returncode == 0, checked
    assert {one["plugin"] for one in checked} >= {f"my_{kind}" for kind in KINDS}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_study_can_be_planned_over_each(installed: tuple[Path, dict[str, str]], kind: str, tmp_path: Path) -> None:
    done = fptkit(installed[1], tmp_path, "study", f"my_{kind}", "--profile", "smoke", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_tidy(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    CliRunner().invoke(cli, ["new", "plugin", "a_b", "--kind", kind, "--output", str(folder)], catch_exceptions=False)
    texts = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert not [path for path, text in texts.items() if "$" in text], "a placeholder was left"
    ruff = [Path(sys.executable).with_name("ruff")]
    for check in (["check", "--select", "E,F,I,B,UP"], ["format", "--check"]):
        command = [*ruff, *check, "--isolated", "--line-length", "120", "--no-cache", "."]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


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
