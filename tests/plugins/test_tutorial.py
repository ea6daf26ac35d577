"""``docs/plugins/tutorial.md``, followed word by word: its files make a wheel that is found, passes its own tests and
runs; its commands print what the page shows."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from fptkit.cli.main import cli

PAGE = (Path(__file__).parent.parent.parent / "docs" / "plugins" / "tutorial.md").read_text(encoding="utf-8")
FILES = {
    found[1]: found[3]
    for found in re.finditer(r"^`([\w/.-]+)`:\n\n(`{3,})\w+\n(.*?)^\2$", PAGE, re.MULTILINE | re.DOTALL)
}
COMMANDS = [
    line
    for block in re.findall(r"(?:\A|\n\n)```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The page's package, and an environment that has its wheel: (folder, environment)."""
    from hatchling.builders.wheel import WheelBuilder

    folder, site = tmp_path_factory.mktemp("walk"), tmp_path_factory.mktemp("site")
    (new,) = [shlex.split(line)[1:] for line in COMMANDS if line.startswith("fptkit new")]
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert CliRunner().invoke(cli, new, catch_exceptions=False).exit_code == 0
        for name, text in FILES.items():
            Path(name).write_text(text, encoding="utf-8")  # no folder is made: the template's are enough
        (wheel,) = WheelBuilder(str(folder / "fptkit-tones")).build(directory=str(site), versions=["standard"])
    finally:
        os.chdir(before)
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "FPTKIT_DATA": str(folder / "none")}
    environment.pop("FPTKIT_PLUGINS", None)
    return folder, environment


def run(walked: tuple[Path, dict[str, str]], line: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the page."""
    folder, environment = walked
    command = [sys.executable, "-m", *shlex.split(line), *more]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_every_file_is_shown() -> None:
    names = {name.removeprefix("fptkit-tones/") for name in FILES}
    template = {"options.py", "task.py", "__init__.py", "recipes/tones.yaml"}
    assert {f"fptkit_tones/{name}" for name in template} | {"pyproject.toml", "README.md"} <= names
    assert "tests/test_contract.py" in names


def test_each_command_comes_once_its_files_are_there() -> None:
    """The tutorial's order: the package is written first; nothing runs between the options and the recipe."""
    options, recipe = PAGE.index("fptkit_tones/options.py`:"), PAGE.index("recipes/tones.yaml`:")
    assert PAGE.index("fptkit new plugin tones") < options
    assert "```sh" not in PAGE[options:recipe]


def test_what_is_shown_is_tidy(walked: tuple[Path, dict[str, str]]) -> None:
    ruff = [Path(sys.executable).with_name("ruff")]
    for check in (["check", "--select", "E,F,I,B,UP"], ["format", "--check"]):
        command = [*ruff, *check, "--isolated", "--line-length", "120", "--no-cache", "."]
        done = subprocess.run(command, cwd=walked[0] / "fptkit-tones", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_names_what_it_imports() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 brings it")
    declared = tomllib.loads(FILES["fptkit-tones/pyproject.toml"])["project"]["dependencies"]
    named = {re.split(r"[<>=]", name)[0] for name in declared}
    sources = "".join(text for name, text in FILES.items() if name.startswith("fptkit-tones/fptkit_tones/"))
    imported = {name.split(".")[0] for name in re.findall(r"^(?:from|import) (\S+)", sources, re.MULTILINE)}
    assert imported - {*sys.stdlib_module_names, "fptkit_tones"} == named


@pytest.mark.slow
def test_its_own_tests_pass(walked: tuple[Path, dict[str, str]]) -> None:
    assert "pytest fptkit-tones" in COMMANDS
    done = run(walked, "pytest fptkit-tones", "-q", "-p", "no:cacheprovider", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout


@pytest.mark.slow
def test_it_is_found_and_shown(walked: tuple[Path, dict[str, str]]) -> None:
    assert {"fptkit plugins", "fptkit show task tones", "fptkit validate tones"} <= set(COMMANDS)
    rows = {row["name"]: row for row in json.loads(run(walked, "fptkit plugins", "--json").stdout)}
    assert (rows["tones"]["status"], rows["tones"]["version"]) == ("loaded", "fptkit-tones 0.1.0")
    assert "amplitude is 1" in run(walked, "fptkit show task tones").stdout
    validated = run(walked, "fptkit validate tones")
    assert validated.returncode == 0
    assert "ok, with profiles control, smoke" in validated.stdout


@pytest.mark.slow
def test_the_error_is_the_one_shown(walked: tuple[Path, dict[str, str]]) -> None:
    (line,) = [line for line in COMMANDS if "nosie" in line]
    done = run(walked, line)
    (shown,) = [text for text in re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "nosie" in text]
    assert done.returncode == 2
    assert done.stderr == shown


@pytest.mark.slow
def test_the_recipe_runs_and_says_stand_in(walked: tuple[Path, dict[str, str]]) -> None:
    line = "fptkit run tones --profile smoke"
    assert COMMANDS.count(line) == 2
    done = run(walked, line, "--output", "out", "--set", "threads=1")
    assert done.returncode == 0, done.stderr
    summary = json.loads((walked[0] / "out" / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert "STAND-IN: fallback data (generated)" in done.stdout + done.stderr
