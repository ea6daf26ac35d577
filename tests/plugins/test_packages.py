"""The packages in ``plugins/``: each is installable on its own, passes its own tests, and is found by every command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import process
from packaging.specifiers import SpecifierSet

from fptkit import __version__
from fptkit.api.packages import Package, published_packages
from fptkit.cli.main import cli
from fptkit.errors import UsageError
from fptkit.registry import load_plugins
from fptkit.specs import NOUNS, RecipeFolderSpec

PLUGINS = Path(__file__).parent.parent.parent / "plugins"
PACKAGES = sorted(path.parent for path in PLUGINS.glob("*/pyproject.toml"))


def test_there_are_packages() -> None:
    names = {path.name for path in PACKAGES}
    known = ("bodies", "minilm", "peft", "smollm2", "spoken-digits", "tabular", "timeseries")
    assert {f"fptkit-{name}" for name in known} <= names
    assert all((path / "README.md").is_file() for path in PACKAGES)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_list_of_packages_is_true(package: Path) -> None:
    """Name, version and components, and tested with this version of fptkit, as the tests below do."""
    (listed,) = [one for one in published_packages() if one.name == package.name]
    project = (package / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{listed.version}"' in project
    assert f'description = "{listed.summary}"' in project
    accepted = SpecifierSet(re.findall(r'"fptkit([<>=][^"]*)"', project)[0])
    assert __version__ in listed.tested_with
    assert all(version in accepted for version in listed.tested_with)
    registry = load_plugins([package / package.name.replace("-", "_") / "__init__.py"], selection="")
    (plugin,) = [plugin for plugin in registry.plugins if plugin.origin == "file"]
    brought = {
        noun.plural: tuple(entry.spec.name for entry in registry.entries(noun.record) if entry.owner is plugin)
        for noun in NOUNS.values()
        if noun.record is not RecipeFolderSpec
    }
    assert {kind: names for kind, names in brought.items() if names} == {
        kind: tuple(sorted(names)) for kind, names in listed.adds.items()
    }


def test_only_packages_that_exist_are_listed() -> None:
    assert {one.name for one in published_packages()} == {package.name for package in PACKAGES}


def test_available_packages_are_printed_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"fptkit-peft": "0.0.9"}
    monkeypatch.setattr(Package, "installed", lambda package: versions.get(package.name, ""))
    printed = CliRunner().invoke(cli, ["plugins", "--available"], catch_exceptions=False).output
    (row,) = [line.split() for line in printed.splitlines() if line.startswith("fptkit-peft")]
    assert row[1:4] == ["0.1.0", "0.0.9", "0.1.0"]
    rows = json.loads(CliRunner().invoke(cli, ["plugins", "--available", "--json"]).stdout)
    assert {row["name"]: row["installed"] for row in rows}["fptkit-minilm"] == ""
    assert rows[0]["install"] == "pip install ./plugins/fptkit-bodies"


@pytest.mark.parametrize("more", [["--check"], ["--verbose"], ["--plugin", "x.py"]])
def test_available_stands_alone(more: list[str]) -> None:
    done = CliRunner().invoke(cli, ["plugins", "--available", *more])
    assert isinstance(done.exception, UsageError)
    assert f"takes no {more[0]}" in str(done.exception)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All packages installed by pip into a folder of their own; the environment in which they are found."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), *map(str, PACKAGES)], check=True, timeout=300)
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    environment.pop("FPTKIT_PLUGINS", None)
    return environment


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_its_own_tests_pass(package: Path, installed: dict[str, str], tmp_path: Path) -> None:
    """In the package's folder, so that its own configuration holds."""
    environment = {name: value for name, value in installed.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "tests")]
    done = subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr


def fptkit(environment: dict[str, str], cwd: Path, *arguments: str) -> str:
    done = process(*arguments, cwd=cwd, environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_package_is_loaded_and_quick(installed: dict[str, str], tmp_path: Path) -> None:
    met = {
        row["version"].rpartition(" ")[0]: row for row in json.loads(fptkit(installed, tmp_path, "plugins", "--json"))
    }
    for package in PACKAGES:
        assert met[package.name]["status"] == "loaded", met[package.name]
        assert float(met[package.name]["seconds"]) < 0.5


@pytest.mark.slow
def test_a_package_is_found_by_every_command(installed: dict[str, str], tmp_path: Path) -> None:
    tasks = [row["name"] for row in json.loads(fptkit(installed, tmp_path, "list", "tasks", "--json"))]
    assert "spoken_digits" in tasks
    shown = fptkit(installed, tmp_path, "show", "task", "spoken_digits")
    assert "tones" in shown
    schema = json.loads(fptkit(installed, tmp_path, "schema"))
    assert "spoken_digits" in schema["$defs"]["section.task"]["properties"]["name"]["enum"]
    asked = {"_FPTKIT_COMPLETE": "bash_complete", "COMP_WORDS": "fptkit run spoken", "COMP_CWORD": "2"}
    assert "plain,spoken_digits" in fptkit({**installed, **asked}, tmp_path).splitlines()


@pytest.mark.slow
def test_its_recipe_runs_by_name(installed: dict[str, str], tmp_path: Path) -> None:
    fptkit(installed, tmp_path, "run", "spoken_digits", "--profile", "smoke", "--output", "out", "--set", "threads=1")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["status"], summary["task"]["stand_in"]) == ("finished", True)
