"""The protocol ``fpt2021`` against the batches that the official data sets give, made by ``make_protocol.py``.

Both codes draw the order of the examples; ours is given the order that the official one drew, round by round.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fptkit.engine import batches
from fptkit.engine.batches import TrainingBatches, evaluation_batches
from fptkit.interfaces import Batch, Split, Task
from fptkit.recipe.models import TrainOptions
from fptkit.tasks.homology.options import RemoteHomologyOptions
from fptkit.tasks.homology.records import Record, write_records
from fptkit.tasks.homology.task import RemoteHomology
from fptkit.tasks.images.options import MnistOptions
from fptkit.tasks.images.task import Mnist

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("protocol.json").read_text())
COUNT, SIZE, TRAINED = GOLDEN["count"], GOLDEN["batch"], GOLDEN["trained"]


def in_order(monkeypatch: pytest.MonkeyPatch, rounds: list[list[list[int]]]) -> None:
    """Cut each new round through a split as the official code did; the first one is also used to look ahead."""
    given = iter(rounds)
    monkeypatch.setattr(batches, "_shuffled_batches", lambda *_: [np.array(batch) for batch in next(given)])


def train(task: Task, split: Split, monkeypatch: pytest.MonkeyPatch, rounds: list[list[list[int]]]) -> list[Batch]:
    in_order(monkeypatch, rounds)
    made = TrainingBatches(task, split, SIZE, seed=0)
    return [made.batch(step) for step in range(TRAINED * len(GOLDEN["mnist"]["evaluations"]))]


def evaluations(
    task: Task, split: Split, monkeypatch: pytest.MonkeyPatch, rounds: list[list[list[int]]]
) -> Iterator[list[Batch]]:
    """The batches of each evaluation, after every ``TRAINED`` steps."""
    assert task.sampled_evaluation is not None
    task.sampled_evaluation = replace(task.sampled_evaluation, batches=GOLDEN["batches"])
    options = TrainOptions(batch_size=SIZE, validate_every=TRAINED)
    for number in itertools.count(1):
        in_order(monkeypatch, rounds)  # an evaluation does not know what the one before it drew
        yield list(evaluation_batches(task, "validation", split, options, number * TRAINED))


def cut(orders: list[list[int]]) -> list[list[list[int]]]:
    """Rounds of examples as rounds of batches, the incomplete one included."""
    return [[order[start : start + SIZE] for start in range(0, COUNT, SIZE)] for order in orders]


def test_images_come_as_from_the_official_loaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D19, D20: training leaves out incomplete batches, and evaluations continue through the test images."""
    images, labels = np.arange(COUNT)[:, None, None].repeat(28, 1).repeat(28, 2).astype(np.uint8), np.arange(COUNT)
    np.savez(tmp_path / "m.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    task = Mnist(MnistOptions(source=f"path:{tmp_path / 'm.npz'}", protocol="fpt2021"), seed=0)
    golden = GOLDEN["mnist"]
    drawn = train(task, task.split("train"), monkeypatch, cut(golden["orders"]["train"]))
    assert [batch.targets.tolist() for batch in drawn] == golden["train"]
    assert {len(batch) for batch in drawn} == {SIZE}
    made = evaluations(task, task.split("validation"), monkeypatch, cut(golden["orders"]["test"]))
    for theirs, ours in zip(golden["evaluations"], made, strict=False):
        assert [batch.targets.tolist() for batch in ours] == theirs


def test_proteins_come_as_from_the_official_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D8, D9, D20, D22: skipped batches, unmasked padding, continued evaluations with incomplete batches, symbols."""
    golden = GOLDEN["remote_homology"]
    for split in ("train", "valid", "test_fold_holdout"):
        records = [Record(*one) for one in golden["proteins"].get(split, golden["proteins"]["valid"])]
        write_records(tmp_path / f"remote_homology_{split}.json.gz", records)
    options = RemoteHomologyOptions(source=f"path:{tmp_path}", protocol="fpt2021", max_length=GOLDEN["longest"])
    task = RemoteHomology(options, seed=0)

    def same(ours: list[Batch], theirs: list[dict[str, Any]]) -> None:
        assert [batch.targets.tolist() for batch in ours] == [batch["targets"] for batch in theirs]
        assert [batch.inputs.tolist() for batch in ours] == [batch["inputs"] for batch in theirs]
        assert all(batch.lengths is None for batch in ours)

    rounds = golden["orders"]["train"]
    drawn = train(task, task.split("train"), monkeypatch, rounds)
    same(drawn, golden["train"])
    assert len(drawn) < sum(map(len, rounds)), "none was skipped, so the order says nothing"
    sizes = set()
    made = evaluations(task, task.split("validation"), monkeypatch, golden["orders"]["valid"])
    for theirs, ours in zip(golden["evaluations"], made, strict=False):
        same(ours, theirs)
        sizes |= set(map(len, ours))
    assert sizes == {8, 7}
