"""The task ``series`` as a whole: splits, scaling, missing values, prediction from the preparation alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fptkit.errors import DataError, FptkitError, UsageError
from fptkit.tasks.series.options import SeriesOptions
from fptkit.tasks.series.preparation import SeriesPreparation
from fptkit.tasks.series.task import make_series

GENERATOR = torch.Generator()


def waves(count: int = 60, steps: int = 20) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    labels = np.arange(count) % 3
    speed = np.array([0.2, 0.6, 1.2])[labels]
    x = np.sin(speed[:, None] * np.arange(steps) + chance.uniform(0, 6, (count, 1))) + chance.normal(
        size=(count, steps)
    )
    return np.stack([x, 5 + 2 * x], axis=2), labels


def task_of(**options: Any) -> Any:
    return make_series(SeriesOptions(**options), seed=0)


def npz(tmp_path: Path, name: str = "x.npz", **arrays: Any) -> str:
    np.savez(tmp_path / name, **arrays)
    return f"path:{tmp_path / name}"


def whole(task: Any, split: str) -> Any:
    found = task.split(split)
    return found.batch(range(found.size), GENERATOR)


def test_train_scaling_is_that_of_the_training_steps(tmp_path: Path) -> None:
    x, y = waves()
    task = task_of(source=npz(tmp_path, x_train=x[:40], y_train=y[:40], x_test=x[40:] + 100, y_test=y[40:]))
    train = whole(task, "train").inputs.reshape(-1, 2).double()
    torch.testing.assert_close(train.mean(0), torch.zeros(2, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std(0, correction=0), torch.ones(2, dtype=torch.float64), atol=1e-5, rtol=0)
    assert whole(task, "test").inputs.mean() > 10
    assert task.majority_accuracy["test"] == pytest.approx((y[40:] == np.bincount(y[:40]).argmax()).mean(), abs=0.1)


@pytest.mark.parametrize("normalisation", ["train", "channel", "series"])
@pytest.mark.parametrize("unit", [1e-9, 1e-13, 1e12])
def test_the_unit_does_not_matter(tmp_path: Path, normalisation: str, unit: float) -> None:
    x, y = waves()
    one = task_of(source=npz(tmp_path, "a.npz", x=x, y=y), normalisation=normalisation)
    other = task_of(source=npz(tmp_path, "b.npz", x=x * unit, y=y), normalisation=normalisation)
    torch.testing.assert_close(whole(one, "train").inputs, whole(other, "train").inputs, atol=1e-5, rtol=1e-5)


def test_a_channel_far_from_zero_that_is_constant_is_zeros(tmp_path: Path) -> None:
    x, y = waves()
    x[..., 1] = 1e9 + 0.1
    task = task_of(source=npz(tmp_path, x=x, y=y))
    assert not whole(task, "train").inputs[..., 1].any()
    assert "constant in the training data: channel 2" in task.notes


def test_missing_values(tmp_path: Path) -> None:
    x, y = waves()
    x[::2, 3, 0] = np.nan
    source = npz(tmp_path, x=x, y=y)
    filled, masked = task_of(source=source), task_of(source=source, fill="mask")
    assert masked.input.width == 4
    one, two = whole(filled, "train").inputs, whole(masked, "train").inputs
    assert torch.equal(two[..., :2], one)
    holes = two[:, 3, 2] == 1
    assert holes.any()
    assert two[..., 2].sum() == holes.sum()
    torch.testing.assert_close(one[holes, 3, 0], (one[holes, 2, 0] + one[holes, 4, 0]) / 2)
    assert "30 of 2,400 values are missing (option fill: interpolate)" in filled.notes
    with pytest.raises(DataError, match=r"x\.npz, x\[\d+\]: step 4 has a missing value"):
        task_of(source=source, fill="refuse")


@pytest.mark.parametrize("labels", ["classes", "numbers"])
def test_prediction_needs_the_preparation_alone(tmp_path: Path, labels: str) -> None:
    x, y = waves()
    lines = "@targetLabel true" if labels == "numbers" else "@classLabel true 0 1 2"
    rows = [
        ":".join(",".join(map(repr, channel[: 20 - row % 5].tolist())) for channel in each.T) + f":{label}"
        for row, (each, label) in enumerate(zip(x, y + 0.5 if labels == "numbers" else y, strict=True))
    ]
    (tmp_path / "a.ts").write_text("\n".join(["@problemName A", lines, "@data", *rows]))
    task = task_of(source=f"path:{tmp_path / 'a.ts'}")
    saved = task.preparation.model_dump_json()
    (tmp_path / "a.ts").unlink()
    (tmp_path / "new.ts").write_text("\n".join(["@problemName A", lines, "@data", *rows]))
    read_back = SeriesPreparation.model_validate_json(saved)
    assert read_back == task.preparation
    batch = read_back.prepare(read_back.read([f"path:{tmp_path / 'new.ts'}"]))
    train = whole(task, "train")
    for inputs, length, target in zip(train.inputs, train.lengths, train.targets, strict=True):
        same = [(batch.inputs[n, :length] == inputs[:length]).all() for n in range(60)]
        assert torch.equal(batch.targets[same.index(True)], target)
    unlabelled = [row.rsplit(":", 1)[0] for row in rows]
    (tmp_path / "new.ts").write_text("\n".join(["@problemName A", "@classLabel false", "@data", *unlabelled]))
    assert torch.equal(read_back.prepare(read_back.read([f"path:{tmp_path / 'new.ts'}"])).inputs, batch.inputs)


def test_forecast_windows_and_prediction(tmp_path: Path) -> None:
    values = np.cumsum(np.random.default_rng(0).normal(size=(300, 2)), axis=0)
    for normalisation in ("train", "window", "none"):
        source = npz(tmp_path, series=values)
        task = task_of(source=source, horizon=4, history=10, target="channel 2", normalisation=normalisation)
        test = whole(task, "test")
        mean, deviation = values[:210].mean(0), values[:210].std(0)
        assert task.preparation.mean == pytest.approx(mean)
        answers = task.preparation.answers(test.targets[-1:], None)
        examples = task.preparation.read([npz(tmp_path, "new.npz", series=values[:-4])])
        assert torch.equal(task.preparation.prepare(examples).inputs[0], test.inputs[-1])
        answers = task.preparation.answers(test.targets[-1:], examples)
        assert list(answers[0]) == [f"channel 2 +{step}" for step in (1, 2, 3, 4)]
        assert list(answers[0].values()) == pytest.approx(values[-4:, 1], rel=1e-4)
        if normalisation == "train":
            expected = (values[-4:, 1] - mean[1]) / deviation[1]
            assert test.targets[-1].numpy() == pytest.approx(expected, rel=1e-4)


def test_no_target_is_in_two_splits_and_shares_hold(tmp_path: Path) -> None:
    source = npz(tmp_path, series=np.arange(100.0) + np.random.default_rng(0).normal(size=100) / 1e3)
    task = task_of(source=source, horizon=2, history=5, normalisation="none", split={"validation": 0.2, "test": 0.3})
    targets = {name: whole(task, name).targets.round().long() for name in ("train", "validation", "test")}
    assert [(int(each.min()), int(each.max())) for each in targets.values()] == [(5, 49), (50, 69), (70, 99)]
    less = task_of(
        source=source, horizon=2, history=5, normalisation="none", split={"validation": 0.2, "test": 0.3, "train": 0.2}
    )
    assert int(whole(less, "train").inputs.min().round()) == 30


def test_own_splits_of_a_forecast(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=200)
    for name, part in (("train", values[:120]), ("test", values[120:])):
        (tmp_path / f"{name}.csv").write_text("v\n" + "\n".join(map(repr, part.tolist())))
    task = task_of(source=f"path:{tmp_path}", horizon=2, history=8)
    assert task.split("test").size == 80 - 9
    assert task.split("validation").size == 18 - 1
    assert task.preparation.mean == pytest.approx([values[:102].mean()])
    assert "test as in the source" in task.notes[0]


def test_forecast_baselines_against_a_loop(tmp_path: Path) -> None:
    values = np.sin(np.arange(200) / 12 * 2 * np.pi) + np.random.default_rng(0).normal(size=200) / 5
    task = task_of(source=npz(tmp_path, series=values), horizon=3, history=12, season=12)
    scaled = (values - values[:140].mean()) / values[:140].std()
    wrong = [(scaled[t - 12 + step] - scaled[t + step]) ** 2 for t in range(170, 198) for step in range(3)]
    note = next(note for note in task.notes if note.startswith("test: squared"))
    assert f"last season of 12 {np.mean(wrong):.4f} (" in note


def test_metrics_of_a_forecast_are_in_the_unit_of_the_data(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(200, 2)) * [10, 1]
    task = task_of(source=npz(tmp_path, series=values), horizon=3, history=8)
    metrics, batch = task.metrics(), whole(task, "test")
    for name in ("mean_absolute_error_channel 1", "mean_absolute_error_channel 2"):
        metrics[name].update(torch.zeros_like(batch.targets), batch.targets)
    targets = batch.targets.reshape(-1, 3, 2).double().numpy() * task.preparation.deviation
    assert metrics["mean_absolute_error_channel 1"].compute() == pytest.approx(np.abs(targets[..., 0]).mean(), rel=1e-5)
    assert metrics["mean_absolute_error_channel 2"].compute() == pytest.approx(np.abs(targets[..., 1]).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 2, "problem": "regression"}, "horizon is for forecasting"),
        ({"problem": "forecasting"}, "forecasting needs horizon"),
        ({"horizon": 2, "normalisation": "channel"}, "would see the future"),
        ({"normalisation": "window"}, "is for forecasting"),
        ({"horizon": 2, "split": {"group": "who"}}, "leave split.group out"),
        ({"horizon": 2, "layout": "rows"}, "layout rows"),
        ({"layout": "columns"}, "layout columns"),
        ({"horizon": 2, "history": 8, "season": 9}, "season 9 is above history 8"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SeriesOptions(source="path:x", **options)


def test_faults_of_the_data(tmp_path: Path) -> None:
    x, y = waves()
    with pytest.raises(
        UsageError, match=r"task.target: .*x\[0\] has no label; name the column to predict, or set horizon"
    ):
        task_of(source=npz(tmp_path, x=x))
    with pytest.raises(DataError, match="every channel has the same value"):
        task_of(source=npz(tmp_path, x=np.ones((30, 5)), y=np.arange(30) % 2))
    with pytest.raises(UsageError, match="leaves no window of history 96 and horizon 4"):
        task_of(source=npz(tmp_path, series=np.arange(50.0)), horizon=4)
    with pytest.raises(DataError, match="nothing to forecast"):
        task_of(source=npz(tmp_path, series=np.ones(500)), horizon=4)
    with pytest.raises(UsageError, match="no channel 'OT'; it has channel 1"):
        task_of(source=npz(tmp_path, series=np.arange(500.0)), horizon=4, target="OT")
    task = task_of(source=npz(tmp_path, x=x, y=y))
    with pytest.raises(DataError, match=r"1 channels, but the training data have 2|no channel 'channel 2'"):
        task.preparation.read([npz(tmp_path, "one.npz", x=x[..., :1])])
    with pytest.raises(DataError, match=r"cannot be scaled"):
        task.preparation.prepare(task.preparation.read([npz(tmp_path, "far.npz", x=x * 1e300)]))


@pytest.mark.parametrize("name", ["x.ts", "x.tsv", "x.txt", "x.npz", "x.csv", "x.parquet", "x.tab"])
@pytest.mark.parametrize("content", [b"", b"\0\1\2\3" * 50, b"\xff\xfe\xfd text \x80", b"label,a\n1,2\n", b"\n\n\n"])
@pytest.mark.parametrize("horizon", [None, 2])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes, horizon: int | None) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FptkitError) as caught:
        task_of(source=f"path:{tmp_path / name}", horizon=horizon, history=8)
    assert caught.value.exit_code in (2, 3)
    assert len(str(caught.value).splitlines()) <= 3


def test_of_a_folder_one_format_is_read_and_the_others_are_counted(tmp_path: Path) -> None:
    head = "@classLabel true a b\n@data\n"
    rows = "".join(f"{n % 7},{n % 5},{n % 3}:{'ab'[n % 2]}\n" for n in range(40))
    (tmp_path / "X_TRAIN.ts").write_text(head + rows)
    (tmp_path / "X_TEST.ts").write_text(head + rows)
    for name in ("X_TRAIN.txt", "X_TEST.txt", "X_TRAIN.arff", "X.md"):
        (tmp_path / name).write_text("something else")
    task = task_of(source=f"path:{tmp_path}")
    assert (task.split("test").size, task.split("train").size) == (40, 34)
    assert "4 files passed over: .txt 2, .arff 1, .md 1" in task.notes
    shutil.rmtree(tmp_path)
