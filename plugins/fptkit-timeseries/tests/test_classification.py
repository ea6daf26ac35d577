"""The task of classes: fptkit's promises, splits, normalisation, missing values, and a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fptkit_timeseries
import numpy as np
import pytest
import torch
from fptkit_timeseries.classification import TimeSeriesClassification
from fptkit_timeseries.options import ClassificationOptions
from pydantic import ValidationError

from fptkit.errors import DataError, SourceError, UnknownNameError, UsageError
from fptkit.testing import check_options, check_task

SMALL = {"train": 40, "test": 12, "length": [10, 20], "channels": 3}


def task_of(**options: object) -> TimeSeriesClassification:
    options.setdefault("simulated", SMALL)
    return TimeSeriesClassification(ClassificationOptions(**options), seed=0)


def all_of(task: TimeSeriesClassification, split: str):  # type: ignore[no-untyped-def]
    chosen = task.split(split)
    return chosen.batch(range(chosen.size or 0), torch.Generator())


def test_contract() -> None:
    for spec in fptkit_timeseries.fptkit_tasks():
        check_options(spec)
    for normalisation in ("channel", "series", "train", "none"):
        check_task(task_of(normalisation=normalisation))
    check_task(task_of(simulated={**SMALL, "length": [12, 12]}))


def test_simulated_data_are_a_stand_in_and_do_not_depend_on_the_run() -> None:
    task = task_of()
    assert task.stand_in
    assert "simulated" in task.notes[0]
    other = TimeSeriesClassification(ClassificationOptions(simulated=SMALL), seed=5)
    assert torch.equal(all_of(task, "validation").inputs, all_of(other, "validation").inputs)
    changed = task_of(simulated={**SMALL, "seed": 1})
    assert not torch.equal(all_of(task, "test").targets.float().mean(), all_of(changed, "test").inputs.mean())


def test_splits_are_stratified_disjoint_and_fixed(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], [20, 10, 1])
    series = np.arange(31 * 4, dtype=float).reshape(31, 4)
    np.savez(tmp_path / "a.npz", x_train=series, y_train=labels, x_test=series[:5], y_test=labels[:5])
    task = task_of(source=f"path:{tmp_path / 'a.npz'}", normalisation="none")
    train, validation = all_of(task, "train"), all_of(task, "validation")
    assert np.bincount(validation.targets, minlength=3).tolist() == [4, 2, 0]
    firsts = [batch.inputs[:, 0, 0].tolist() for batch in (train, validation)]
    assert sorted(firsts[0] + firsts[1]) == series[:, 0].tolist()
    assert any("1 of 3 classes do not occur in validation" in warning for warning in task.warnings)
    assert task.majority_accuracy["train"] == pytest.approx(16 / 25)
    other = task_of(source=f"path:{tmp_path / 'a.npz'}", normalisation="none", split_seed=1)
    assert all_of(other, "validation").inputs[:, 0, 0].tolist() != firsts[1]
    assert not task.stand_in


def test_normalisation_against_numpy(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    series, labels = chance.normal(3, 7, (10, 6, 2)), np.arange(10) % 2
    np.savez(tmp_path / "a.npz", x_train=series, y_train=labels, x_test=series, y_test=labels)
    test = {
        kind: all_of(task_of(source=f"path:{tmp_path / 'a.npz'}", normalisation=kind), "test").inputs.numpy()
        for kind in ("channel", "series", "none", "train")
    }
    by_channel = (series - series.mean(1, keepdims=True)) / series.std(1, keepdims=True)
    by_series = (series - series.mean((1, 2), keepdims=True)) / series.std((1, 2), keepdims=True)
    np.testing.assert_allclose(test["channel"], by_channel, atol=1e-5)
    np.testing.assert_allclose(test["series"], by_series, atol=1e-5)
    np.testing.assert_allclose(test["none"], series, atol=1e-5)
    raw = all_of(task_of(source=f"path:{tmp_path / 'a.npz'}", normalisation="none"), "train").inputs.numpy()
    expected = (series - raw.mean((0, 1))) / raw.std((0, 1))  # of train alone, not of validation
    np.testing.assert_allclose(test["train"], expected, atol=1e-4)


def test_missing_values(tmp_path: Path) -> None:
    header = "@missing true\n@classLabel true a b\n@data\n"
    rows = "1,?,3,?:a\n0,2,4,6:b\n5,5,5,5:a\n?,1,1,1:b\n"
    for split in ("TRAIN", "TEST"):
        (tmp_path / f"A_{split}.ts").write_text(header + rows)
    source = f"path:{tmp_path}"
    filled = task_of(source=source, normalisation="none", validation_share=0.5)
    test = all_of(filled, "test")
    assert test.lengths is not None
    assert test.lengths.tolist() == [3, 4, 4, 4]
    assert test.inputs[0, :3, 0].tolist() == [1, 2, 3]
    assert test.inputs[3, :, 0].tolist() == [1, 1, 1, 1]
    zeros = all_of(task_of(source=source, missing="zero", validation_share=0.5), "test").inputs
    assert zeros[0, :3, 0].tolist() == pytest.approx([-1, 0, 1])
    assert zeros[2, :, 0].tolist() == [0, 0, 0, 0]  # a constant series is no division by zero
    with pytest.raises(DataError, match="missing values"):
        task_of(source=source, missing="refuse", validation_share=0.5)
    assert any("3 missing values" not in note and "missing values" in note for note in filled.notes)


def test_longer_series_are_cropped() -> None:
    task = task_of(max_length=11)
    assert task.max_tokens == 11
    assert any("cropped" in note for note in task.notes)


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no file or folder"):
        task_of(source=f"path:{tmp_path / 'none.npz'}")
    task = task_of(source=[f"path:{tmp_path / 'none.npz'}", "simulated"])
    assert task.stand_in
    assert "no file or folder" in task.notes[0]
    with pytest.raises(UnknownNameError, match="dev"):
        task.split("dev")
    with pytest.raises(UsageError, match="validation_share"):
        task_of(validation_share=0.01)
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(DataError, match=r"expected a folder, an .npz"):
        task_of(source=f"path:{tmp_path / 'a.xlsx'}")


@pytest.mark.parametrize(
    "options",
    [
        {"source": "ucr"},
        {"source": "path:"},
        {"source": "archive:../x"},
        {"source": []},
        {"validation_share": 1},
        {"simulated": {"length": [20, 10]}},
        {"normalisation": "both"},
    ],
)
def test_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ClassificationOptions(**options)


def test_the_recipe_runs_and_learns(tmp_path: Path) -> None:
    """Two waves of different speed, by a random backbone of one block: better than the majority accuracy."""
    recipe = tmp_path / "waves.yaml"
    recipe.write_text(
        "task: {name: time_series_classification, simulated: {classes: 2, train: 120, test: 60, noise: 0.1,"
        " waves: 1, seed: 1, length: [32, 40]}}\n"
        "encoder: {name: patches1d, patch: 8}\n"
        "backbone: {name: random, blocks: 1, width: 32, heads: 2, dropout: 0.0}\n"
        "head: {readout: mean}\n"
        "train: {learning_rate: 1e-2, batch_size: 32, max_steps: 80, validate_every: 40}\n"
        "threads: 1\n"
    )
    command = [sys.executable, "-m", "fptkit", "run", str(recipe), "--output", str(tmp_path / "run"), "--quiet"]
    subprocess.run(command, check=True, cwd=tmp_path)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metrics"]["test"]["test"]["accuracy"] > 0.75
    assert summary["task"]["stand_in"] is True
