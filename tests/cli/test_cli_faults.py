"""What the command line says to odd input: one plain message, the right exit code, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from command_line import fptkit

from fptkit.cli.main import cli, main
from fptkit.errors import UsageError


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


PRETRAINING = """
data: {path: corpus.txt}
train: {max_steps: 10}
profiles: {small: {model: {width: 32}}}
"""


def test_every_shipped_recipe_is_valid_as_what_it_is() -> None:
    recipes = json.loads(fptkit("list", "recipes", "--json").stdout)
    assert {recipe["kind"] for recipe in recipes} == {"run", "pretrain"}
    done = fptkit("validate", *(recipe["name"] for recipe in recipes))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(recipes)
    assert "pretrain_language.yaml: ok, with profiles smoke\n" in done.stdout


def test_the_list_of_recipes_says_which_command_takes_each() -> None:
    header, *rows = fptkit("list", "recipes").stdout.splitlines()
    assert header.split()[:2] == ["group", "name"]
    groups = {row.split()[1]: row.split()[0] for row in rows}
    assert (groups["bit_xor_gpt2"], groups["pretrain_language"]) == ("bit_xor", "pretraining")
    kinds = {row["name"]: row["kind"] for row in json.loads(fptkit("list", "recipes", "--json").stdout)}
    assert (kinds["bit_xor_gpt2"], kinds["pretrain_bit_memory"]) == ("run", "pretrain")


def test_a_pretraining_recipe_is_validated_with_its_profiles() -> None:
    path = Path("mine.yaml")
    path.write_text(PRETRAINING)
    assert fptkit("validate", path).stdout == "mine.yaml: ok, with profiles small\n"
    assert fptkit("validate", path, "--profile", "small").stdout == "mine.yaml: ok\n"
    path.write_text(PRETRAINING.replace("width: 32", "width: 33"))
    done = fptkit("validate", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "width 33 is not a multiple of heads 4" in done.stderr


def test_a_pretraining_recipe_must_say_where_its_text_is() -> None:
    path = Path("mine.yaml")
    path.write_text(PRETRAINING.replace("{path: corpus.txt}", "{}"))
    done = fptkit("validate", path)
    assert done.returncode == 2
    assert "mine.yaml:2  data.path: required: text" in done.stderr
    assert fptkit("validate", path, "--set", "data.path=corpus.txt").returncode == 0


def test_running_a_pretraining_recipe_names_the_command() -> None:
    done = fptkit("run", "pretrain_language", "--quiet")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "pretraining recipe; use: fptkit pretrain pretrain_language" in done.stderr


def test_a_folder_is_no_recipe() -> None:
    Path("somewhere").mkdir()
    for command in (["run"], ["validate"], ["copy"], ["show", "recipe"]):
        done = fptkit(*command, "somewhere")
        assert done.returncode == 2
        assert "somewhere is a folder, not a recipe" in done.stderr


def test_showing_a_recipe_that_is_no_text() -> None:
    Path("binary.yaml").write_bytes(b"\xff\xfe")
    done = fptkit("show", "recipe", "binary.yaml")
    assert done.returncode == 2
    assert "binary.yaml cannot be read" in done.stderr


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("a: " + "[" * 600 + "]" * 600, [], "not usable: nested deeper than 50 levels"),
        ("task:\n\tname: bit_xor\n", [], "(YAML takes no tabs)"),
        ("task: {name: bit_xor}\n", ["--set", "description=\udcff"], "--set description=\\udcff  is not UTF-8 text"),
        ("task: {name: bit_xor}\n", ["--set", "profiles.smoke.x=1"], "profiles cannot be set by --set"),
    ],
    ids=["deep", "tab", "bytes", "profiles"],
)
def test_odd_recipes_are_one_problem(text: str, arguments: list[str], said: str) -> None:
    Path("odd.yaml").write_text(text)
    done = fptkit("validate", "odd.yaml", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.startswith("error: 1 problem in ")
    assert done.stderr.splitlines()[0].endswith("; nothing was run")


def test_bytes_that_are_no_text_in_a_real_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fptkit", "validate", "bit_xor_gpt2", "--set", b"description=\xff"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 2
    assert b"--set description=\\udcff  is not UTF-8 text" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--debug", "run", "x", "--resume"], ["run", "--debug", "x", "--resume"], ["run", "x", "--debug"]]
)
def test_debug_may_stand_after_the_command(arguments: list[str]) -> None:
    Path("x").mkdir()
    with pytest.raises(UsageError):
        main(arguments)


def test_debug_after_two_dashes_is_an_argument() -> None:
    done = fptkit("validate", "--", "--debug")
    assert done.returncode == 2
    assert "unknown study or recipe '--debug'" in done.stderr


@pytest.mark.parametrize("raised", [KeyboardInterrupt, click.Abort])
def test_ctrl_c_outside_a_run(monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]) -> None:
    def interrupted(context: click.Context) -> None:
        raise raised

    monkeypatch.setattr(cli, "invoke", interrupted)
    done = fptkit("list", "tasks")
    assert (done.returncode, done.stderr.strip()) == (130, "interrupted; what was saved before is kept")


@pytest.mark.parametrize("arguments", [["list", "recipes"], ["list", "tasks", "--json"], ["--help"]], ids=" ".join)
def test_a_reader_that_went_away_gets_no_traceback(tmp_path: Path, arguments: list[str]) -> None:
    """As ``| head -1`` does when it has read enough: nothing is said, and the status is click's 1."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "fptkit", *arguments]
        done = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
