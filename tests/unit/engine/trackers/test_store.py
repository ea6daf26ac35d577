"""Each tracker's own files hold the figures of metrics.jsonl, step by step, read back by its own library."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tracker_stores
from tracked_life import Life
from tracker_stores import figures_of, run_of

from fptkit.registry import load_plugins
from fptkit.specs import ListenerSpec


@pytest.fixture(autouse=True)
def _libraries_may_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def lived(name: str, place: Path, *, study: str = "", stop: str = "", **options: Any) -> Path:
    """A run that is killed or stops between two checkpoints, then resumes; returns its folder."""
    spec = load_plugins(selection="").get(ListenerSpec, name)
    life = Life(place, lambda: spec.resolve()(spec.options_model()(**options), folder=place), study=study)
    life.attempt(8, stop)
    if name == "wandb":
        time.sleep(1.1)  # its folders are named by the second
    life.attempt()
    return place


@pytest.mark.slow
def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder = lived("tensorboard", tmp_path / "run")
    assert run_of(folder, "tensorboard") == str(folder / "tensorboard")
    assert tracker_stores.in_tensorboard(folder / "tensorboard") == figures_of(folder)


def test_tensorboard_files_of_a_study_are_together(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder = tmp_path / "studies" / "runs" / "0123456789abcdef"
    folder.mkdir(parents=True)
    lived("tensorboard", folder, study="mine")
    expected = tmp_path / "studies" / "tensorboard" / "mine" / "fpt_on_bit_xor,_rate_0.001,_seed_0_(012345)"
    assert tracker_stores.in_tensorboard(expected) == figures_of(folder)


def test_two_runs_of_one_name_do_not_share_a_tensorboard_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        lived("tensorboard", tmp_path / place / "run", folder=str(tmp_path / "all"))
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["run", "run-2"]


@pytest.mark.slow
def test_mlflow(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    folder = lived("mlflow", tmp_path / "run", study="mine", uri=uri)
    run = MlflowClient(tracking_uri=uri).get_run(run_of(folder, "mlflow"))
    assert tracker_stores.in_mlflow(uri, run.info.run_id) == figures_of(folder)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"task.name": "bit_xor", "task.bits": "5"}
    assert run.data.tags["best/test/accuracy"] == "0.5"
    assert MlflowClient(tracking_uri=uri).get_experiment(run.info.experiment_id).name == "fptkit/mine"


@pytest.mark.slow
def test_wandb(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    folder = lived("wandb", tmp_path / "run", study="mine", stop="interrupted", mode="offline")
    assert tracker_stores.in_wandb(folder) == figures_of(folder)
    runs = [record.run for record in tracker_stores.wandb_records(folder) if record.HasField("run")]
    assert {(run.run_id, run.run_group, run.project) for run in runs} == {(run_of(folder, "wandb"), "mine", "fptkit")}


@pytest.mark.slow
def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when trackio is imported
    pytest.importorskip("trackio")
    folder = lived("trackio", tmp_path / "run", study="mine", project="p")
    assert tracker_stores.in_trackio("p", run_of(folder, "trackio")) == figures_of(folder)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from fptkit.errors import PluginError

    monkeypatch.delitem(sys.modules, f"fptkit.engine.trackers.{name}", raising=False)
    for module in [known for known in sys.modules if known == "torch.utils.tensorboard" or known == name]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    with pytest.raises(PluginError, match=rf"listener '{name}': .*; it needs: pip install .*{name}") as caught:
        load_plugins(selection="").get(ListenerSpec, name).resolve()
    assert "\n" not in str(caught.value)
