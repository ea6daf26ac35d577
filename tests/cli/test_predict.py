"""``fptkit predict`` and ``fptkit embed`` as a user types them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("pandas")

import numpy as np
from command_line import Done, fptkit, process
from new_files import SPECIES, table
from tiny_runs import lines

from fptkit.inference.trained import load


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and ``new.csv``."""
    folder = tmp_path_factory.mktemp("birds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPTKIT_DATA", str(folder / "cache"))
        table(folder)
    return folder


def predict(birds: Path, *more: str | Path) -> Done:
    return fptkit("predict", "run", "new.csv", *more, cwd=birds)


def test_a_pipe_gets_csv(birds: Path) -> None:
    done = predict(birds, "--batch-size", "32")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
    assert len(rows) == 80
    assert list(rows[0]) == ["example", "class", "probability"]
    assert rows[0]["example"] == "new.csv:2"
    assert [row["class"] for row in rows] == load(birds / "run").predict(birds / "new.csv", batch_size=32).tolist()


def test_a_terminal_gets_a_table(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fptkit.cli import predict as command

    monkeypatch.setattr(command, "SHOWN", 10)
    monkeypatch.setattr(command, "_is_terminal", lambda: True)
    done = predict(birds)
    assert done.returncode == 0, done.stderr
    assert "the first 10 of 80; write all of them with --output FILE" in done.stdout
    assert "new.csv:2" in done.stdout
    assert "new.csv:13" not in done.stdout


def test_output_equals_what_python_gives(birds: Path, tmp_path: Path) -> None:
    assert predict(birds, "--output", tmp_path / "p.jsonl", "--probabilities").returncode == 0
    rows = lines(tmp_path / "p.jsonl")
    chances = load(birds / "run").predict_proba(birds / "new.csv")
    for place, name in enumerate(sorted(SPECIES)):
        assert [row[f"probability_{name}"] for row in rows] == chances[:, place].tolist()


def test_several_inputs_and_patterns(birds: Path, tmp_path: Path) -> None:
    for name in ("one.csv", "two.csv"):
        shutil.copy(birds / "new.csv", tmp_path / name)
    done = fptkit(
        "predict", birds / "run", f"path:{tmp_path}/*.csv", birds / "new.csv", "--output", tmp_path / "p.jsonl"
    )
    assert done.returncode == 0, done.stderr
    assert len(lines(tmp_path / "p.jsonl")) == 240
    assert "240 predictions are in" in done.stderr


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("new.csv", "is an input, too"),
        ("./run/../new.csv", "is an input, too"),
        ("p.xlsx", "unknown ending '.xlsx'"),
        ("nowhere/p.csv", "create it first"),
        ("run", "unknown ending"),
    ],
)
def test_outputs_that_are_refused(birds: Path, output: str, message: str) -> None:
    before = (birds / "new.csv").read_bytes()
    done = predict(birds, "--output", output)
    assert done.returncode == 2
    assert message in done.stderr
    assert (birds / "new.csv").read_bytes() == before


def test_runs_that_cannot_be_used(birds: Path, tmp_path: Path) -> None:
    shutil.copytree(birds / "run", tmp_path / "run")
    tensors = tmp_path / "run" / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-9])
    for run, status, message in (
        (tmp_path / "nowhere", 2, "there is no such folder"),
        (tmp_path, 2, "holds no run"),
        (tmp_path / "run", 3, "truncated or was altered"),
    ):
        done = fptkit("predict", run, birds / "new.csv")
        assert (done.returncode, len(done.stderr.splitlines())) == (status, 1)
        assert message in done.stderr


def test_numbers_have_no_probabilities(tmp_path: Path) -> None:
    from new_files import table_numbers

    case = table_numbers(tmp_path)
    done = fptkit("predict", case.run, case.new, "--probabilities", "--output", tmp_path / "p.csv")
    assert done.returncode == 2
    assert "predicts numbers, which have no probabilities" in done.stderr
    assert not (tmp_path / "p.csv").exists()


def test_embeddings(birds: Path, tmp_path: Path) -> None:
    done = fptkit("embed", birds / "run", birds / "new.csv", "--output", tmp_path / "e.npz")
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "e.npz")
    model = load(birds / "run")
    np.testing.assert_array_equal(found["embeddings"], model.embed(birds / "new.csv"))
    assert found["names"][0].endswith("new.csv:2")
    assert fptkit("embed", birds / "run", birds / "new.csv").returncode == 2
    assert fptkit("embed", birds / "run", birds / "new.csv", "--output", tmp_path / "e.jsonl").returncode == 2


def test_a_finished_run_prints_how_to_predict(tmp_path: Path) -> None:
    from tiny_runs import BACKBONE, REST

    (tmp_path / "t.csv").write_text("a,b,kind\n" + "".join(f"{n},{n % 3},{'xy'[n % 2]}\n" for n in range(60)))
    (tmp_path / "r.yaml").write_text(
        f"task: {{name: table, source: path:t.csv, target: kind}}\nbackbone: {BACKBONE}{REST}"
    )
    done = fptkit("run", "r.yaml", "--output", "my run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "to predict for new files:\n  fptkit predict 'my run' FILE\n" in done.stdout


@pytest.mark.slow
def test_the_progress_bar_is_gone_from_a_pipe(birds: Path) -> None:
    done = process("predict", birds / "run", birds / "new.csv", environment={**os.environ, "FPTKIT_DATA": str(birds)})
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 81


def test_commands_know_their_options() -> None:
    for command in ("predict", "evaluate", "embed"):
        done = fptkit(command, "--help")
        assert done.returncode == 0
        assert "--device" in done.stdout


def test_json_of_an_evaluation_of_numbers(tmp_path: Path) -> None:
    from new_files import table_numbers

    case = table_numbers(tmp_path)
    done = fptkit("evaluate", case.run, "--source", tmp_path / "test.csv", "--json")
    [part] = json.loads(done.stdout)["parts"].values()
    assert part["in_unit"] is True
    assert [row["name"] for row in part["numbers"]] == ["eggs", "weight"]
    done = fptkit("evaluate", case.run, "--source", tmp_path / "test.csv")
    assert "errors, in the unit of the data" in done.stdout
    assert "opened 2 times" in done.stdout
