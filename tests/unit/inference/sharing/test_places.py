"""Paths of what is shared are cut to their last part; nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fptkit.inference.sharing.places import (
    paths_in,
    recipe_content,
    recipe_text,
    traces_of_machine,
    without_folders,
    without_known,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path:/home/jane/data/birds.csv", "path:birds.csv"),
        ("path:/home/jane/My Data/birds.csv", "path:birds.csv"),
        ("path:../../jane/birds", "path:birds"),
        ("path:C:\\Users\\jane\\birds.csv", "path:birds.csv"),
        ("/home/jane/mine.py", "mine.py"),
        ("~/models/gpt2", "gpt2"),
        ("C:\\Users\\jane\\mine.py", "mine.py"),
        ("train path:/tmp/a/train.csv, validation path:/tmp/a/b.csv", "train path:train.csv, validation path:b.csv"),
        ("/home/jane/x.csv:12: empty cell (see '/home/jane/y.csv')", "x.csv:12: empty cell (see 'y.csv')"),
        ("copied from ~/x/y", "copied from y"),
        ("hub:owner/name@v1", "hub:owner/name@v1"),
        ("https://example.org/a/b.html", "https://example.org/a/b.html"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("train/validation/test", "train/validation/test"),
        ("and/or, 1/2/3, 3 / 4 / 5", "and/or, 1/2/3, 3 / 4 / 5"),
        ("/", "/"),
        ("//", "//"),
        ("a\\b", "a\\b"),
        ("builtin:gpt2_nano", "builtin:gpt2_nano"),
        ("", ""),
    ],
)
def test_texts(text: str, expected: str) -> None:
    assert without_folders(text) == expected


def test_nested_data_keep_their_form() -> None:
    content = {"source": {"train": ["path:/a/b/c.csv", "path:d.csv"]}, "/a/b/c.csv": 3, "n": [1, None, True, 0.5]}
    assert without_folders(content) == {
        "source": {"train": ["path:c.csv", "path:d.csv"]},
        "c.csv": 3,
        "n": [1, None, True, 0.5],
    }


def test_known_paths_may_have_spaces_inside_of_texts() -> None:
    note = "read /home/jane/My Data/birds.csv; 3 rows of My Data/birds.csv left out"
    known = ["/home/jane/My Data/birds.csv", "My Data/birds.csv"]
    assert without_folders(note, known) == "read birds.csv; 3 rows of birds.csv left out"


def test_data_that_look_like_paths_stay() -> None:
    names = ["/usr/bin", "path:x", "/home/jane/a.csv"]
    assert without_known({"names": names}, ["/home/jane/a.csv"]) == {"names": ["/usr/bin", "path:x", "a.csv"]}


def test_paths_are_found() -> None:
    recipe = {"task": {"source": {"train": "path:a/b.csv"}, "n": 3}, "plugins": ["/home/jane/p.py"], "x": "hub:a/b"}
    assert paths_in(recipe) == ["a/b.csv", "/home/jane/p.py"]


def test_a_recipe_keeps_its_content_and_comments(tmp_path: Path) -> None:
    from fptkit.recipe.load import load_recipe

    path = tmp_path / "r.yaml"
    path.write_text("# first\n# second\ntask: {name: bit_xor, bits: 3}\nbackbone: {name: random}\n")
    text = recipe_text(recipe_content(path), path)
    assert text.startswith("# first\n# second\n")
    (tmp_path / "again.yaml").write_text(text)
    assert load_recipe(str(tmp_path / "again.yaml")).recipe == load_recipe(str(path)).recipe


def test_traces_of_this_machine_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "jane")
    monkeypatch.setenv("HOME", "/home/jane.doe")
    monkeypatch.chdir(tmp_path)
    assert traces_of_machine("a jane of all trades") == []
    assert traces_of_machine("at /data/jane/x") == ["jane"]
    assert traces_of_machine("at /home/jane.doe/x") == ["/home/jane.doe"]
    assert traces_of_machine(f"in {tmp_path}/x") == [str(tmp_path)]
