"""``fptkit new recipe --data``: what it chooses, writes and refuses."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import Done
from command_line import fptkit as called

from fptkit.recipe.load import load_recipe


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "cache"))


def write_table(path: str, count: int = 120) -> None:
    rows = [f"{number * 7 % 31},{'ab'[number % 2]},{number % 5 * 0.5}" for number in range(count)]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("size,label,weight\n" + "\n".join(rows) + "\n", encoding="utf-8")


def new_recipe(*arguments: str) -> Done:
    return called("new", "recipe", *arguments)


def test_the_recipe_is_ready_with_its_control() -> None:
    write_table("birds.csv")
    done = new_recipe("--data", "birds.csv")
    assert done.returncode == 0, done.stderr
    shown = done.stdout
    assert "target label: 2 classes: 'a' 60, 'b' 60" in shown
    assert "fptkit run birds.yaml --profile control" in shown
    for profile in (None, "control"):
        recipe = load_recipe("birds.yaml", profile=profile).recipe
        assert recipe.task.name == "table"
        assert recipe.task.options.model_dump()["target"] == ("label",)


@pytest.mark.parametrize("name", ["a b.csv", "[x]/y*.csv", "ü/ö #1.csv", 'it\'s: "so".csv', "-x.csv", "a\tb.csv"])
def test_any_name(name: str, tmp_path: Path) -> None:
    write_table(name)
    done = new_recipe("r.yaml", "--data", f"./{name}")
    assert done.returncode == 0, done.stderr
    assert load_recipe("r.yaml").recipe.task.options.model_dump(mode="json")["source"] == f"path:{tmp_path / name}"


def test_a_comment_cannot_become_part_of_the_recipe() -> None:
    Path("x.csv").write_text(
        '"evil\nseed: 7","a\u2028b"\n' + "\n".join(f"{n * 7 % 13},{n % 2}" for n in range(60)) + "\n"
    )
    done = new_recipe("r", "--data", "x.csv", "--labels", "a\u2028b")
    assert done.returncode == 0, done.stderr
    assert load_recipe("r.yaml").recipe.task.options.model_dump()["target"] == ("a\u2028b",)
    assert set(yaml.safe_load(Path("r.yaml").read_text(encoding="utf-8"))) == {
        "task",
        "backbone",
        "head",
        "train",
        "profiles",
    }


def test_nothing_is_overwritten_without_force() -> None:
    write_table("birds.csv")
    Path("birds.yaml").write_text("mine")
    done = new_recipe("--data", "birds.csv")
    assert done.returncode == 2, done.stderr
    assert "already exists" in done.stderr
    assert Path("birds.yaml").read_text() == "mine"
    done = new_recipe("--data", "birds.csv", "--force")
    assert done.returncode == 0, done.stderr
    assert Path("birds.yaml").read_text() != "mine"


def test_not_sure_which_column() -> None:
    Path("x.csv").write_text("a,b\n" + "\n".join(f"{n / 7:.3f},{n / 3:.3f}" for n in range(60)) + "\n")
    done = new_recipe("--data", "x.csv")
    assert done.returncode == 2, done.stderr
    said = done.stderr
    assert "--labels COLUMN, of a (number, 60 values), b (number, 60 values)" in said
    assert not Path("x.yaml").exists()
    done = new_recipe("--data", "x.csv", "--labels", "b")
    assert done.returncode == 0, done.stderr
    assert load_recipe("x.yaml").recipe.task.options.model_dump()["target"] == ("b",)


def test_an_unknown_column_names_those_there_are() -> None:
    write_table("birds.csv")
    done = new_recipe("--data", "birds.csv", "--labels", "nope")
    assert done.returncode == 3, done.stderr
    assert "it has size, label, weight" in done.stderr


def test_a_choice_is_said_with_the_line_to_change() -> None:
    rows = "\n".join(f"{n},{'xyz'[n % 3]},{['no', 'yes'][n % 2]}" for n in range(90))
    Path("x.csv").write_text(f"n,colour,bought\n{rows}\n")
    done = new_recipe("--data", "x.csv")
    assert done.returncode == 0, done.stderr
    assert "target: bought   (no column has a usual name; it may be another: colour" in done.stdout
    assert "target: bought   # no column has a usual name" in Path("x.yaml").read_text()


def test_another_task() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(90) % 2
    np.savez("x.npz", x=np.sin(np.arange(40) * (0.2 + 0.5 * label)[:, None]) + 0.1 * rng.normal(size=(90, 40)), y=label)
    done = new_recipe("--data", "x.npz")
    assert done.returncode == 0, done.stderr
    assert "task: series; or --task arrays" in done.stdout
    done = new_recipe("--data", "x.npz", "--task", "arrays", "--force")
    assert done.returncode == 0, done.stderr
    assert load_recipe("x.yaml").recipe.task.name == "arrays"
    done = new_recipe("--data", "x.npz", "--task", "mnist", "--force")
    assert done.returncode == 2, done.stderr


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("x.csv", b"", 3, "no rows"),
        ("x.csv", b"a,label\n1,2\n3\n", 3, "x.csv:3: 1 cells"),
        ("x.csv", b"caf\xe9,label\n1,2\n", 3, "not UTF-8"),
        ("x.csv", b"a,label\n" + b"1,k\n2,k\n" * 30, 3, "one class"),
        ("x.xyz", b"\0\1", 2, "no task reads files like these"),
        ("x.npz", b"PK\x03\x04", 3, "x.npz"),
        ("x.jsonl", b'{"a": 1, "b": 2}\n', 2, "write them as CSV"),
        ("x.fasta", b">a\nACGT\n>b\nAC\n", 2, "no labels in the headers"),
        ("x.png", b"no picture", 2, "name the folder"),
    ],
)
def test_bad_data(name: str, content: bytes, code: int, said: str) -> None:
    Path(name).write_bytes(content)
    done = new_recipe("r", "--data", name)
    assert done.returncode == code, done.stderr
    error = done.stderr
    assert said in error
    assert "Traceback" not in error
    assert not Path("r.yaml").exists()


def test_neither_file_nor_folder() -> None:
    os.mkfifo("pipe.csv")
    Path("empty").mkdir()
    for name, said in (("pipe.csv", "neither a file"), ("empty", "empty"), ("nothing", "there is no such")):
        done = new_recipe("--data", name)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr


def test_a_strange_cell_is_an_error_and_not_a_column_left_out() -> None:
    rows = [f"{n * 1.37:.2f},{'ab'[n % 2]}" for n in range(60)]
    rows[20] = "unknwn,a"
    Path("x.csv").write_text("price,label\n" + "\n".join(rows) + "\n")
    done = new_recipe("--data", "x.csv")
    assert done.returncode == 3, done.stderr
    assert "x.csv:22: column 'price' has numbers, but here 'unknwn'" in done.stderr


def test_splits_that_a_column_names() -> None:
    parts = ["train"] * 60 + ["valid"] * 30 + ["test"] * 30
    rows = [f"some text number {n} of many,{n % 2},{part}" for n, part in enumerate(parts)]
    Path("x.csv").write_text("text,label,split\n" + "\n".join(rows) + "\n")
    done = new_recipe("--data", "x.csv")
    assert done.returncode == 0, done.stderr
    assert "examples: train 60, validation 30, test 30; splits of column 'split'" in done.stdout


def test_folders_that_name_splits() -> None:
    for part, count in (("train", 60), ("val", 30), ("test", 30)):
        write_table(f"birds/{part}.csv", count)
    done = new_recipe("--data", "birds/")
    assert done.returncode == 0, done.stderr
    assert "examples: train 60, validation 30, test 30; all splits are the source's own" in done.stdout
    assert Path("birds.yaml").is_file()
