"""From files to splits, with a small format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fptkit.errors import SourceError, UnknownNameError, UsageError
from fptkit.interfaces import Batch, Examples, Vectors
from fptkit.tasks.own_data.target import Target, TargetPreparation
from fptkit.tasks.own_data.task import OwnDataTask
from fptkit.tasks.reading.options import TargetOptions
from fptkit.tasks.reading.paths import SourceFiles
from fptkit.tasks.reading.text import lines_of
from fptkit.testing import check_task


class Mean(TargetPreparation):
    """A word becomes its length, centred by the training words."""

    mean: float

    @property
    def input(self) -> Vectors:
        return Vectors(1)

    @property
    def max_tokens(self) -> int:
        return 1

    def prepare(self, examples: Examples) -> Batch:
        lengths = torch.tensor([[[len(word) - self.mean]] for word in examples.content])
        return Batch(lengths, self.target.encode(examples))


class Words(OwnDataTask):
    """Lines of word, label, group, day."""

    name, endings = "words", (".words",)

    def read_split(self, files: SourceFiles, split: str, options: TargetOptions) -> Examples:
        rows = [(f"{path}:{n}", line.split(",")) for path in files.splits[split] for n, line in lines_of(path)]
        columns = {name: [cells[place] for _, cells in rows] for place, name in ((2, "group"), (3, "day"), (4, "fold"))}
        return Examples(
            [cells[0] for _, cells in rows], [name for name, _ in rows], {"label": [c[1] for _, c in rows]}, columns
        )

    def fit(self, examples: Examples, train: NDArray[np.int64], target: Target, options: TargetOptions) -> Mean:
        return Mean(mean=float(np.mean([len(examples.content[row]) for row in train])), target=target)


def write(path: Path, count: int = 100, start: int = 0, label: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    folds = ["train"] * 6 + ["dev"] * 2 + ["test"] * 2
    lines = [
        f"{'x' * (1 + n % 9)}{n},{label or 'ab'[n % 2]},g{n // 5},2020-01-{1 + n % 28:02d},{folds[n % 10]}"
        for n in range(start, start + count)
    ]
    path.write_text("\n".join(lines))
    return path


def task_of(source: object, **options: object) -> Words:
    return Words(TargetOptions.model_validate({"source": source, **options}), seed=0)


def sizes(task: Words) -> dict[str, int | None]:
    return {name: task.split(name).size for name in ("train", "validation", *task.test_splits)}


def words(task: Words, split: str) -> set[float]:
    found = task.split(split)
    return set(found.batch(range(found.size or 0), torch.Generator()).inputs.flatten().tolist())


def test_a_file_becomes_a_task(tmp_path: Path) -> None:
    task = task_of(f"path:{write(tmp_path / 'a.words')}")
    check_task(task)
    assert sizes(task) == {"train": 70, "validation": 15, "test": 15}
    assert task.source == f"path:{tmp_path / 'a.words'}"
    assert not task.stand_in
    assert task.output.names == ("a", "b")
    assert task.majority_accuracy["train"] == pytest.approx(0.5, abs=0.02)
    assert task.notes[0].startswith("examples: train 70, validation 15, test 15; validation and test drawn at random")
    assert any("validation has only 15" in warning for warning in task.warnings)
    with pytest.raises(UnknownNameError, match="dev"):
        task.split("dev")


def test_scaling_knows_only_training_rows(tmp_path: Path) -> None:
    task = task_of(f"path:{write(tmp_path / 'a.words')}")
    train = task.split("train").batch(range(70), torch.Generator()).inputs
    assert train.mean().item() == pytest.approx(0, abs=1e-5)


def test_own_splits_of_the_source(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "val", "test")):
        write(tmp_path / f"d/{name}.words", 30, 100 * number)
    task = task_of(f"path:{tmp_path / 'd'}")
    assert sizes(task) == {"train": 30, "validation": 30, "test": 30}
    assert "all splits are the source's own" in task.notes[0]
    pooled = task_of(f"path:{tmp_path / 'd'}", split={"own": False})
    assert sizes(pooled) == {"train": 63, "validation": 13, "test": 14}


def test_named_and_several_test_splits_and_a_drawn_validation(tmp_path: Path) -> None:
    files = {name: f"path:{write(tmp_path / f'{name}.words', 40, 50 * n)}" for n, name in enumerate("abc")}
    task = task_of({"train": files["a"], "test_near": files["b"], "test_far": files["c"]})
    assert sizes(task) == {"train": 34, "validation": 6, "test_near": 40, "test_far": 40}
    assert "validation drawn at random" in task.notes[0]
    assert "test_near, test_far as in the source" in task.notes[0]


def test_a_list_of_files_is_read_completely(tmp_path: Path) -> None:
    files = [f"path:{write(tmp_path / f'{n}.words', 30, 50 * n)}" for n in range(2)]
    assert sum(size or 0 for size in sizes(task_of(files)).values()) == 60
    assert task_of(files).source == ", ".join(files)


def test_a_class_that_only_test_has_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "d/train.words", 40)
    write(tmp_path / "d/test.words", 40, 100, label="c")
    task = task_of(f"path:{tmp_path / 'd'}")
    assert task.output.names == ("a", "b", "c")
    assert "1 of 3 classes do not occur in train and cannot be learnt: c" in task.warnings


def test_by_group_time_and_column(tmp_path: Path) -> None:
    source = f"path:{write(tmp_path / 'a.words')}"
    assert "by group (group)" in task_of(source, split={"group": "group"}).notes[0]
    assert "by time (day)" in task_of(source, split={"time": "day"}).notes[0]
    assert sizes(task_of(source, split={"column": "fold"})) == {"train": 60, "validation": 20, "test": 20}
    with pytest.raises(UsageError, match=r"split.group: the data have no column 'patient'; their columns are group"):
        task_of(source, split={"group": "patient"})
    with pytest.raises(UsageError, match="neither numbers nor dates"):
        task_of(source, split={"time": "group"})


def test_examples_of_train_in_test_are_noted(tmp_path: Path) -> None:
    write(tmp_path / "d/train.words", 40)
    write(tmp_path / "d/test.words", 40, 30)
    notes = task_of(f"path:{tmp_path / 'd'}").notes
    assert any("of 40 examples of test have the same content as one of train" in note for note in notes)


def test_files_passed_over_are_noted(tmp_path: Path) -> None:
    write(tmp_path / "d/a.words")
    (tmp_path / "d/readme.md").write_text("x")
    assert "1 files passed over: .md 1" in task_of(f"path:{tmp_path / 'd'}").notes
    with pytest.raises(SourceError, match="no file or folder"):
        task_of(f"path:{tmp_path / 'absent'}")
