"""The task of forecasts: fptkit's promises, windows without leakage, scale, baselines, and a training."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fptkit_timeseries.forecasting import TimeSeriesForecasting
from fptkit_timeseries.options import ForecastingOptions, SimulatedTrendOptions
from fptkit_timeseries.simulate import simulate_trends
from pydantic import ValidationError
from torch import nn

from fptkit.errors import DataError, SourceError, UnknownNameError, UsageError
from fptkit.tasks.series.baselines import fit_linear, last_season, last_value
from fptkit.testing import check_task

SMALL = {"context": 8, "horizon": 3, "simulated": {"length": 120, "series": 2, "period": 6}}


def task_of(**options: object) -> TimeSeriesForecasting:
    return TimeSeriesForecasting(ForecastingOptions(**{**SMALL, **options}), seed=0)


def all_of(task: TimeSeriesForecasting, split: str) -> tuple[np.ndarray, np.ndarray]:
    chosen = task.split(split)
    batch = chosen.batch(range(chosen.size or 0), torch.Generator())
    return batch.inputs.numpy(), batch.targets.numpy()


def steps(tmp_path: Path, length: int = 100, columns: int = 1) -> str:
    """A file whose value at step t is t, in column c plus 1,000 c."""
    path = tmp_path / "steps.npz"
    np.savez(path, series=np.arange(length)[:, None] + 1000 * np.arange(columns))
    return f"path:{path}"


def test_contract() -> None:
    for normalisation in ("window", "train", "none"):
        check_task(task_of(normalisation=normalisation))
    check_task(task_of(channels="together", horizon=1))


def test_no_target_is_in_two_splits_and_time_goes_on(tmp_path: Path) -> None:
    task = task_of(source=steps(tmp_path), normalisation="none", validation_share=0.2, test_share=0.2)
    targets = {name: all_of(task, name)[1] for name in ("train", "validation", "test")}
    assert (targets["train"].min(), targets["train"].max()) == (8, 59)
    assert (targets["validation"].min(), targets["validation"].max()) == (60, 79)
    assert (targets["test"].min(), targets["test"].max()) == (80, 99)
    for name in targets:
        inputs, following = all_of(task, name)
        np.testing.assert_array_equal(following[:, 0], inputs[:, -1, 0] + 1)
    assert all_of(task, "train")[0].max() < 60


def test_stride_and_channels(tmp_path: Path) -> None:
    source = steps(tmp_path, columns=2)
    alone = task_of(source=source, normalisation="none", stride=5)
    together = task_of(source=source, normalisation="none", stride=5, channels="together")
    assert alone.split("train").size == 2 * (together.split("train").size or 0)
    assert np.diff(all_of(together, "train")[0][:, 0, 0]).tolist() == [5.0] * ((together.split("train").size or 0) - 1)
    inputs, targets = all_of(together, "train")
    assert inputs.shape[2] == 2
    assert targets[0].tolist() == [8, 1008, 9, 1009, 10, 1010]  # step after step, channels within
    (tmp_path / "steps.csv").write_text("c0,c1\n" + "".join(f"{step},{step + 1000}\n" for step in range(100)))
    chosen = task_of(source=f"path:{tmp_path / 'steps.csv'}", columns=["c1"], normalisation="none")
    assert all_of(chosen, "train")[0].min() == 1000


def test_targets_have_the_scale_of_their_context(tmp_path: Path) -> None:
    source = steps(tmp_path)
    raw_inputs, raw_targets = all_of(task_of(source=source, normalisation="none"), "test")
    inputs, targets = all_of(task_of(source=source), "test")
    mean, deviation = raw_inputs[:, :, 0].mean(1, keepdims=True), raw_inputs[:, :, 0].std(1, keepdims=True)
    np.testing.assert_allclose(inputs[:, :, 0], (raw_inputs[:, :, 0] - mean) / deviation, atol=1e-5)
    np.testing.assert_allclose(targets, (raw_targets - mean) / deviation, atol=1e-5)
    scaled, _ = all_of(task_of(source=source, normalisation="train"), "train")
    train = np.arange(70.0)
    np.testing.assert_allclose(scaled[0, :, 0], (np.arange(8) - train.mean()) / train.std(), atol=1e-5)


def test_a_jump_after_a_standstill_stays_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, series=np.concatenate([np.sin(np.arange(70.0)), np.zeros(20), np.ones(10)]))
    _, targets = all_of(task_of(source=f"path:{path}"), "test")
    assert np.isfinite(targets).all()
    assert 10 < np.abs(targets).max() < 200


def test_missing_values_are_filled_forward_and_never_targets(tmp_path: Path) -> None:
    series = np.arange(100.0)
    series[[0, 30, 31]] = np.nan
    np.savez(tmp_path / "a.npz", series=series)
    task = task_of(source=f"path:{tmp_path / 'a.npz'}", normalisation="none")
    inputs, targets = all_of(task, "train")
    assert inputs.min() == 1  # no window begins before the first known value
    assert not {30.0, 31.0} & set(targets.flatten().tolist())
    window = inputs[[32.0 in row for row in inputs[:, -1]]][0, :, 0]
    assert window.tolist() == [25, 26, 27, 28, 29, 29, 29, 32]
    assert any("3 missing values" in note for note in task.notes)


def test_several_series_of_different_length(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_text("@data\n" + ",".join(map(str, range(100))) + "\n" + ",".join("5" * 60) + "\n")
    assert task_of(source=f"path:{tmp_path / 'a.ts'}").split("train").size == 70 - 10 + 42 - 10


def test_baselines_against_hand_made_ones() -> None:
    context = np.arange(6.0).reshape(1, 6, 1)
    assert last_value(context, 3)[0, :, 0].tolist() == [5, 5, 5]
    assert last_season(context, 5, 3)[0, :, 0].tolist() == [3, 4, 5, 3, 4]
    task = task_of()
    errors = {}
    inputs, targets = (part.astype(float) for part in all_of(task, "test"))
    errors["last value"] = ((inputs[:, -1:, 0] - targets) ** 2).mean()
    errors["last season of 6"] = ((inputs[:, 2:5, 0] - targets) ** 2).mean()
    (note,) = [note for note in task.notes if note.startswith("test,")]
    told = {name: float(value) for name, value in re.findall(r"(last value|last season of 6) ([\d.]+)", note)}
    assert told == pytest.approx(errors, abs=1e-4)


def test_the_linear_map_finds_a_linear_rule() -> None:
    """Without noise, sines obey a linear recurrence: the map must be much better than the last value."""
    task = task_of(simulated={"length": 300, "noise": 0.0, "trend": 0.0, "period": 6}, context=20)
    train, test = task.split("train"), task.split("test")
    context, future = test.windows(np.arange(test.size))  # type: ignore[attr-defined]
    error = ((fit_linear(train)(context) - future) ** 2).mean()  # type: ignore[arg-type]
    assert error < 0.01 * ((last_value(context, 3) - future) ** 2).mean()


def test_simulated_noise_is_autoregressive() -> None:
    options = {"length": 20_000, "series": 1, "trend": 0.0, "noise": 3.0, "autoregression": 0.8}
    noisy = simulate_trends(SimulatedTrendOptions(**options))
    quiet = simulate_trends(SimulatedTrendOptions(**{**options, "noise": 0.0}))
    noise = (noisy - quiet)[:, 0]
    assert noise.std() == pytest.approx(3, rel=0.1)
    assert np.corrcoef(noise[1:], noise[:-1])[0, 1] == pytest.approx(0.8, abs=0.03)


def test_metrics_and_a_training() -> None:
    """A linear layer trained by the task's own loss beats the last value: targets and inputs belong together."""
    task = task_of(simulated={"length": 400, "series": 2, "period": 6})
    torch.manual_seed(0)
    model = nn.Linear(8, 3)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    train = task.split("train")
    chance = torch.Generator().manual_seed(0)
    for _ in range(300):
        indices = torch.randint(0, train.size or 0, (32,), generator=chance).tolist()
        batch = train.batch(indices, chance)
        optimiser.zero_grad()
        task.loss(model(batch.inputs[:, :, 0]), batch).backward()
        optimiser.step()
    inputs, targets = (torch.from_numpy(part) for part in all_of(task, "test"))
    metrics = task.metrics()
    with torch.no_grad():
        metrics.update(model(inputs[:, :, 0]), targets)
    found = {name: float(value) for name, value in metrics.compute().items()}
    with torch.no_grad():
        assert found["mean_absolute_error"] == pytest.approx(
            float((model(inputs[:, :, 0]) - targets).abs().mean()), rel=1e-4
        )
    assert found["mean_squared_error"] < 0.7 * float(((inputs[:, -1:, 0] - targets) ** 2).mean())
    assert task.selection() == ("mean_squared_error", False)


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file"):
        task_of(source=f"path:{tmp_path / 'none.csv'}")
    with pytest.raises(UsageError, match="no window"):
        task_of(source=steps(tmp_path, length=12))
    np.savez(tmp_path / "a.npz", other=np.zeros(3))
    with pytest.raises(DataError, match="no array 'series'"):
        task_of(source=f"path:{tmp_path / 'a.npz'}")
    with pytest.raises(UsageError, match="columns is for CSV"):
        task_of(source=f"path:{tmp_path / 'a.npz'}", columns=["a"])
    np.savez(tmp_path / "b.npz", series=np.stack([np.arange(90.0), np.full(90, np.nan)], axis=1))
    with pytest.raises(DataError, match="without any value"):
        task_of(source=f"path:{tmp_path / 'b.npz'}")
    with pytest.raises(UnknownNameError, match="dev"):
        task_of().split("dev")
    with pytest.raises(ValidationError, match="above context"):
        task_of(season=9)
    with pytest.raises(ValidationError, match="must be below 1"):
        task_of(validation_share=0.5, test_share=0.5)
