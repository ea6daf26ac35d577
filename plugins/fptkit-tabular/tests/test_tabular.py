"""The task tabular: fptkit's promises, reading, encoding fitted to training rows, splits, results, a training."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import fptkit_tabular
import numpy as np
import pytest
import torch
from fptkit_tabular.options import TABLES, TabularOptions
from fptkit_tabular.table import read_table
from fptkit_tabular.task import Tabular
from pydantic import ValidationError
from sklearn.datasets import load_breast_cancer, load_diabetes

from fptkit import Classes, Values
from fptkit.errors import DataError, SourceError, UnknownNameError, UsageError
from fptkit.testing import check_options, check_task


def task_of(**options: object) -> Tabular:
    return Tabular(TabularOptions(**options), seed=0)


def all_of(task: Tabular, split: str):  # type: ignore[no-untyped-def]
    chosen = task.split(split)
    return chosen.batch(range(chosen.size or 0), torch.Generator())


def whole(task: Tabular) -> tuple[np.ndarray, np.ndarray]:
    batches = [all_of(task, name) for name in ("train", "validation", "test")]
    return tuple(np.concatenate([getattr(b, part).numpy() for b in batches]) for part in ("inputs", "targets"))


def table(tmp_path: Path, rows: int = 60, **changes: str) -> str:
    """A CSV file with two numeric columns, a categorical one, and a class that follows from the first."""
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "weight", "colour", "kind"])
        for row in range(rows):
            colour = ("red", "green", "blue", "?")[row % 4]
            writer.writerow([row, "NA" if row == 7 else row * 2.5, colour, "ab"[row % 3 == 0]])
    text = path.read_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    path.write_text(text)
    return f"path:{path}"


def test_contract(tmp_path: Path) -> None:
    (spec,) = fptkit_tabular.fptkit_tasks()
    check_options(spec)
    for name in TABLES:
        check_task(task_of(source=f"sklearn:{name}"))
    check_task(task_of(source=table(tmp_path), target="kind", column_identity="positions"))


def test_built_in_tables_hold_what_scikit_learn_does() -> None:
    bunch = load_breast_cancer()
    task = task_of(validation_share=0.2)
    inputs, targets = whole(task)
    assert (task.input.width, task.max_tokens, len(targets)) == (2 + 30, 30, 569)
    # Classes are numbered by their names: benign before malignant, the other way round than in scikit-learn.
    assert np.bincount(targets).tolist() == np.bincount(1 - bunch.target).tolist()
    for column in (0, 29):  # an affine map of the column: the same order of values
        np.testing.assert_allclose(
            np.corrcoef(np.sort(inputs[:, column, 0]), np.sort(bunch.data[:, column]))[0, 1], 1, atol=1e-6
        )


def test_scale_is_learnt_from_training_rows_alone() -> None:
    task = task_of(source="sklearn:diabetes")
    train, validation = all_of(task, "train"), all_of(task, "validation")
    np.testing.assert_allclose(train.inputs[:, :, 0].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(train.inputs[:, :, 0].std(0, unbiased=False), 1, atol=1e-4)
    assert abs(float(validation.inputs[:, :, 0].mean(0).abs().max())) > 0.01
    assert float(train.targets.mean()) == pytest.approx(0, abs=1e-6)
    assert float(train.targets.std(unbiased=False)) == pytest.approx(1, abs=1e-5)
    values = np.concatenate([all_of(task, name).targets[:, 0].numpy() for name in ("train", "validation", "test")])
    correlation = np.corrcoef(np.sort(values), np.sort(load_diabetes().target))[0, 1]
    assert correlation == pytest.approx(1, abs=1e-6)


def test_tokens_hold_value_flag_category_and_column(tmp_path: Path) -> None:
    task = task_of(source=table(tmp_path), target="kind")
    inputs, targets = whole(task)
    assert isinstance(task.output, Classes)
    assert inputs.shape == (60, 3, 2 + 4 + 3)  # value, flag, three colours and the others, three columns
    np.testing.assert_array_equal(inputs[:, :, 6:], np.broadcast_to(np.eye(3), (60, 3, 3)))
    assert inputs[:, 0, 1].sum() == 0
    (hole,) = np.flatnonzero(inputs[:, 1, 1])  # the one missing weight
    assert inputs[hole, 1, 0] == 0
    colours = inputs[:, 2, 1:6]
    assert colours.sum(1).tolist() == [1] * 60
    assert colours.sum(0).tolist()[0] == 15  # missing ones
    assert sorted(colours.sum(0).tolist()) == [0, 15, 15, 15, 15]
    assert (inputs[:, :2, 2:6] == 0).all()
    order = np.argsort(inputs[:, 0, 0])  # back to the file's order
    assert targets[order].tolist() == [int(row % 3 == 0) for row in range(60)]
    assert any("16 missing cells" in note for note in task.notes)


def test_rare_and_unknown_categories_share_a_place(tmp_path: Path) -> None:
    path = tmp_path / "rare.csv"
    rows = ["common"] * 40 + [f"rare{number}" for number in range(20)]
    path.write_text("c,y\n" + "".join(f"{cell},{number % 2}\n" for number, cell in enumerate(rows)))
    task = task_of(source=f"path:{path}", target="y", max_categories=1, column_identity="positions")
    inputs, _ = whole(task)
    assert inputs.shape == (60, 1, 2 + 2)
    assert inputs[:, 0].sum(0).tolist() == [0, 0, 40, 20]
    assert any("are merged into one: c" in note for note in task.notes)


def test_column_identity_by_positions_only(tmp_path: Path) -> None:
    assert task_of(column_identity="positions").input.width == 2
    assert task_of(column_identity="one_hot").input.width == 32


def test_splits_are_stratified_disjoint_and_fixed(tmp_path: Path) -> None:
    source = table(tmp_path)
    first, again = task_of(source=source, target="kind"), Tabular(TabularOptions(source=source, target="kind"), seed=9)
    sizes = {name: np.bincount(all_of(first, name).targets).tolist() for name in ("train", "validation", "test")}
    assert sizes == {"train": [24, 12], "validation": [6, 3], "test": [10, 5]}
    values = np.concatenate([all_of(first, name).inputs[:, 0, 0].numpy() for name in sizes])
    assert len(np.unique(values)) == 60
    assert torch.equal(all_of(first, "test").inputs, all_of(again, "test").inputs)
    other = task_of(source=source, target="kind", split_seed=1)
    assert not torch.equal(all_of(first, "test").inputs, all_of(other, "test").inputs)
    assert first.majority_accuracy["test"] == pytest.approx(2 / 3)


def test_kind_of_problem_and_columns(tmp_path: Path) -> None:
    source = table(tmp_path)
    assert isinstance(task_of(source=source, target="size").output, Values)  # 60 different whole numbers
    by_name = task_of(source=source, target="kind", categorical=["size"], ignore=["weight"])
    assert by_name.max_tokens == 2
    assert "0 numeric and 2 categorical" in " ".join(by_name.notes)
    few = task_of(source="sklearn:wine", target="magnesium", problem="regression")
    assert isinstance(few.output, Values)
    with pytest.raises(UsageError, match="identifier"):
        task_of(source=source, target="size", problem="classification")
    with pytest.raises(DataError, match=":2: column 'kind' has numbers, but here 'b'"):
        task_of(source=source, target="kind", problem="regression")


def test_the_comparison_is_that_of_scikit_learn(tmp_path: Path) -> None:
    """A class that depends on one number: logistic regression finds it, and the note reports it."""
    path = tmp_path / "line.csv"
    chance = np.random.default_rng(0).normal(size=200)
    path.write_text("x,y\n" + "".join(f"{value},{'up' if value > 0 else 'down'}\n" for value in chance))
    (note,) = [note for note in task_of(source=f"path:{path}", target="y").notes if "logistic" in note]
    figures = [float(found) for found in re.findall(r"([\d.]+)%", note)]
    assert len(figures) == 2
    assert min(figures) > 93
    path.write_text("x,y\n" + "".join(f"{value},{3 * value + 1}\n" for value in chance))
    (note,) = [note for note in task_of(source=f"path:{path}", target="y").notes if "ridge" in note]
    assert max(float(found) for found in re.findall(r" (\d\.\d+)", note)) < 1e-3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3\n", ":3: 1 cells"),
        ("a,b\n1,2\n\n3,4,5\n", ":4: 3 cells"),
        ("a,a\n1,2\n", ":1: two columns have the name 'a'"),
        ("a,\n1,2\n", ":1: column 2 has no name"),
        ("a,b\n", "no row"),
        ("", "no row"),
        ('a,b\n1,"2\n', ":2: "),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert words in str(caught.value)


def test_odd_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffname; note\r\n"one;two"; "said ""so"""\r\nx;"two\nlines"\r\n'.encode())
    read = read_table(path, ";")
    assert read.columns == ("name", "note")
    assert read.rows[0][0] == "one;two"
    assert read.lines == (2, 3)
    path.write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_table(path)


def test_faults_of_cells_have_a_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"table.csv:14: column 'weight' has numbers, but here 'heavy'"):
        task_of(source=table(tmp_path, **{",30.0": ",heavy"}), target="kind")
    with pytest.raises(DataError, match=r"table.csv:9: the target 'weight' is missing"):
        task_of(source=table(tmp_path), target="weight")
    task_of(source=table(tmp_path, **{",30.0": ",heavy"}), target="kind", missing=["", "?", "NA", "heavy"])


def test_faults_of_use(tmp_path: Path) -> None:
    source = table(tmp_path)
    with pytest.raises(SourceError, match="there is no file"):
        task_of(source=f"path:{tmp_path / 'none.csv'}", target="kind")
    with pytest.raises(UsageError, match="has no column 'colur'; it has"):
        task_of(source=source, target="kind", categorical=["colur"])
    with pytest.raises(UsageError, match=r"target: .* has no column 'target'"):
        task_of(source=source)
    with pytest.raises(UsageError, match="no columns other than the target"):
        task_of(source=source, target="kind", ignore=["size", "weight", "colour"])
    with pytest.raises(UsageError, match="in every row"):
        task_of(source=table(tmp_path, **{",b": ",a"}), target="kind")
    with pytest.raises(UsageError, match="leave none for"):
        task_of(source=table(tmp_path, rows=6), target="kind", validation_share=0.01)
    with pytest.raises(UnknownNameError, match="dev"):
        task_of().split("dev")
    fallback = task_of(source=[f"path:{tmp_path / 'none.csv'}", "sklearn:wine"])
    assert fallback.stand_in
    assert "no file" in fallback.notes[0]


@pytest.mark.parametrize(
    "options",
    [
        {"source": "sklearn:boston"},
        {"source": "path:"},
        {"source": []},
        {"delimiter": ";;"},
        {"validation_share": 0.5, "test_share": 0.5},
        {"numeric": ["a"], "categorical": ["a"]},
        {"ignore": ["target"]},
        {"max_categories": 0},
    ],
)
def test_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TabularOptions(**options)


def test_a_recipe_runs_and_learns(tmp_path: Path) -> None:
    """A random backbone of one block on the wine table: far above the majority accuracy, by the command line."""
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "task: {name: tabular, source: sklearn:wine}\n"
        "backbone: {name: random, blocks: 1, width: 32, heads: 2, dropout: 0.0}\n"
        "head: {readout: mean}\n"
        "train: {learning_rate: 1e-2, batch_size: 32, max_steps: 60, validate_every: 30}\n"
        "threads: 1\n"
    )
    command = [sys.executable, "-m", "fptkit", "run", str(recipe), "--output", str(tmp_path / "run"), "--quiet"]
    subprocess.run(command, check=True, cwd=tmp_path)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metrics"]["test"]["test"]["accuracy"] > 0.75
    assert summary["task"]["source"] == "sklearn:wine"
