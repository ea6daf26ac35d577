"""Every error of the command line begins with ``error:``, on stderr alone, and keeps its exit status and its places."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import fptkit as called

from fptkit.errors import Problem, RecipeError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.yaml").write_text("task: {name: bit_xr}\nthreads: 0\n")
    Path("good.yaml").write_text("task: {name: bit_xor}\n")
    Path("broken.py").write_text("raise RuntimeError('no')")


def after_reading(err: str) -> list[str]:
    """Lines of an error, without the one that says what a run began to read."""
    lines = err.splitlines()
    return lines[1:] if lines[0].startswith("reading recipe ") else lines


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["rnu"], "error: No such command 'rnu'. Did you mean 'run'?"),
        (["run"], "error: Missing argument 'RECIPE'."),
        (["run", "good.yaml", "--stpes", "3"], "error: No such option"),
        (["list", "tsks"], "error: Invalid value for '"),
        (["bench", "good.yaml", "--steps", "none"], "error: Invalid value for '--steps'"),
        (["new", "plugin"], "error: Missing argument 'NAME'."),
        (["--wrong"], "error: No such option"),
        (["show", "task", "bit_xr"], "error: unknown task 'bit_xr'. Did you mean 'bit_xor'?"),
        (["run", "nothing.yaml"], "error: unknown recipe 'nothing'."),
        (["run", "two.yaml"], "error: 2 problems in two.yaml; nothing was run"),
        (["validate", "two.yaml"], "error: 2 problems in two.yaml; nothing was run"),
        (["validate", "nothing"], "error: unknown study or recipe 'nothing'."),
        (["run", "good.yaml", "--plugin", "broken.py"], "error: plugin "),
        (["study", "two.yaml", "--dry-run"], "error: 2 problems in two.yaml; nothing was run"),
        (["report", "nothing"], "error: unknown study 'nothing'."),
        (["run", "good.yaml", "--resume"], "error: --resume needs --output"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_error_begins_the_same(arguments: list[str], first: str) -> None:
    code, out, err = called(*arguments)
    assert (code, out) == (2, "")
    assert after_reading(err)[0].startswith(first), err
    assert not re.search(r"^Error", err, re.MULTILINE)


def test_wrong_usage_says_how_the_command_is_used() -> None:
    _, _, err = called("copy", "--wrong")
    assert err.splitlines()[1:] == [
        "Usage: fptkit copy [OPTIONS] RECIPE [DESTINATION]",
        "Try 'fptkit copy -h' for help.",
    ]


def test_the_command_alone_prints_its_help() -> None:
    _, out, err = called()
    assert "Usage: fptkit [OPTIONS] COMMAND" in out + err
    assert "error:" not in out + err


def test_the_places_of_problems_can_be_searched_for() -> None:
    _, _, err = called("run", "two.yaml", "--set", "train.seed=-1")
    first, *lines = after_reading(err)
    assert first == "error: 3 problems in two.yaml and elsewhere; nothing was run"
    places = [line for line in lines if not line.startswith(" ")]
    assert [line.split("  ")[0] for line in places] == ["two.yaml:1", "two.yaml:2", "--set train.seed=-1"]


def test_several_files_are_several_errors() -> None:
    code, out, err = called("validate", "two.yaml", "good.yaml", "nothing")
    assert (code, out) == (2, "good.yaml: ok\n")
    starts = [line for line in err.splitlines() if line.startswith("error:")]
    assert starts == ["error: 2 problems in two.yaml; nothing was run", "error: unknown study or recipe 'nothing'."]


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (["x.yaml:3"], "1 problem in x.yaml; nothing was run"),
        (["x.yaml:3", "x.yaml:10"], "2 problems in x.yaml; nothing was run"),
        (["x.yaml:3", "base/y.yaml:1"], "2 problems in x.yaml and elsewhere; nothing was run"),
        (["x.yaml"], "1 problem in x.yaml; nothing was run"),
        (["--set train.seed=a:1"], "1 problem in --set train.seed=a:1; nothing was run"),
    ],
)
def test_where_the_problems_are(places: list[str], said: str) -> None:
    error = RecipeError([Problem(place, "", "wrong") for place in places])
    assert str(error).splitlines() == [said, *(f"{place.ljust(max(map(len, places)))}  wrong" for place in places)]
