"""Run folders as crashes, full disks and users leave them; components that break in the middle of a run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from whole_runs import start

from fptkit.engine.events import Event, SplitTested, StepsDone, Validated
from fptkit.engine.folder import failed_file, resume_command
from fptkit.errors import CheckpointError, DataError, FptkitError, PluginError, ShapeError, TrainingError, UsageError

RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, blocks: 1, width: 16, heads: 2, size: nano}
train: {batch_size: 8, max_steps: 20, validate_every: 10, log_every: 5, patience: null}
threads: 1
"""


@pytest.fixture
def finished(recipe: Path, tmp_path: Path) -> Path:
    start(recipe, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("content", ["{", "{}", "[]", ""])
def test_a_broken_summary_is_made_again(recipe: Path, finished: Path, content: str) -> None:
    before = json.loads((finished / "summary.json").read_text())
    (finished / "summary.json").write_text(content)
    after = start(recipe, finished, resume=True)
    assert after["metrics"] == before["metrics"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.update(steps=19), "was altered"),
        (lambda content: content.pop("own_digest") and content.update(steps="many"), "is damaged: steps: "),
    ],
)
def test_an_altered_summary_is_named(
    recipe: Path, finished: Path, change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    path = finished / "summary.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"summary\.json {problem}"):
        start(recipe, finished, resume=True)


def test_altered_metrics_are_noticed(recipe: Path, finished: Path) -> None:
    path = finished / "metrics.jsonl"
    path.write_text(path.read_text().replace('"step": 5', '"step": 6', 1))
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl was altered"):
        start(recipe, finished, "train.max_steps=30", resume=True)


def test_a_checkpoint_without_digest_is_taken_with_a_note(recipe: Path, finished: Path) -> None:
    path = finished / "checkpoints" / "step-00000020" / "state.json"
    content = json.loads(path.read_text())
    del content["own_digest"], content["records"], content["optimizer_tensors"]
    path.write_text(json.dumps(content))
    after = start(recipe, finished, "train.max_steps=30", resume=True)
    assert after["steps"] == 30
    assert any("wrote no digest of its state" in note for note in after["notes"])


@pytest.mark.parametrize("at", [StepsDone, Validated, SplitTested])
@pytest.mark.parametrize("name", ["recipe.yaml", "environment.json", "metrics.jsonl"])
def test_files_removed_during_a_run_are_noticed(recipe: Path, tmp_path: Path, name: str, at: type[Event]) -> None:
    class Removes:
        def handle(self, event: Event) -> None:
            if isinstance(event, at):
                (tmp_path / "run" / name).unlink(missing_ok=True)

    with pytest.raises(TrainingError, match=f"run: {re.escape(name)} was removed during the run, which can no longer"):
        start(recipe, tmp_path / "run", listener=Removes())
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("removed", "problem"),
    [
        (["metrics.jsonl"], "metrics.jsonl was removed during the run"),
        (["recipe.yaml", "environment.json"], "recipe.yaml, environment.json were removed during the run"),
        ([], "No space left on device. The last complete checkpoint, step-00000020, is kept; --resume continues"),
    ],
)
def test_a_failed_file_of_a_folder_that_is_being_removed(finished: Path, removed: list[str], problem: str) -> None:
    for name in removed:
        (finished / name).unlink()
    assert problem in str(failed_file(finished, OSError("No space left on device")))


@pytest.mark.parametrize("keep", [0, 100])
def test_lost_lines_of_metrics_are_noticed(recipe: Path, finished: Path, keep: int) -> None:
    path = finished / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl holds . lines, but the checkpoint counts 6"):
        start(recipe, finished, "train.max_steps=30", resume=True)


def test_missing_metrics_are_noticed(recipe: Path, finished: Path) -> None:
    (finished / "metrics.jsonl").unlink()
    with pytest.raises(CheckpointError, match="lines were lost"):
        start(recipe, finished, "train.max_steps=30", resume=True)


def test_checkpoints_without_a_recipe_are_not_taken_for_an_empty_folder(recipe: Path, finished: Path) -> None:
    (finished / "recipe.yaml").unlink()
    before = sorted((finished / "checkpoints").iterdir())
    with pytest.raises(UsageError, match="holds a run already"):
        start(recipe, finished)
    with pytest.raises(UsageError, match=r"checkpoints but no recipe\.yaml"):
        start(recipe, finished, resume=True)
    assert sorted((finished / "checkpoints").iterdir()) == before


def test_a_folder_beside_the_checkpoints_is_let_alone(recipe: Path, finished: Path) -> None:
    (finished / "checkpoints" / "step-backup").mkdir()
    start(recipe, finished, "train.max_steps=30", resume=True)
    assert (finished / "checkpoints" / "step-backup").is_dir()


def test_a_state_of_another_version_is_refused(recipe: Path, finished: Path) -> None:
    path = finished / "checkpoints" / "step-00000020" / "state.json"
    content = json.loads(path.read_text())
    content["state"]["momentum"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="was altered"):
        start(recipe, finished, "train.max_steps=30", resume=True)
    del content["own_digest"]
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="another version"):
        start(recipe, finished, "train.max_steps=30", resume=True)


def test_the_summary_counts_how_often_the_test_was_opened(recipe: Path, finished: Path) -> None:
    assert json.loads((finished / "summary.json").read_text())["times_tested"] == 1
    assert start(recipe, finished, "train.max_steps=30", resume=True)["times_tested"] == 2


def test_more_patience_trains_on(recipe: Path, tmp_path: Path) -> None:
    short = ["train.learning_rate=1e-12", "train.max_steps=100", "train.validate_every=5"]
    first = start(recipe, tmp_path / "run", *short, "train.patience=1")
    assert (first["ended_by"], first["steps"]) == ("patience", 10)
    assert start(recipe, tmp_path / "run", *short, "train.patience=1", resume=True) == first
    assert start(recipe, tmp_path / "run", *short, "train.patience=null", resume=True)["steps"] == 100


def test_a_failed_build_leaves_no_folder(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ShapeError) as caught:
        start(recipe, tmp_path / "run", "task.bits=2000", "backbone.positions=100")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_told_and_the_checkpoint_kept(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fptkit.engine import checkpoint

    original = checkpoint.write_bytes

    def full(path: Path, data: bytes, *, flush: bool) -> None:
        if "step-00000020" in str(path):
            raise OSError(28, "No space left on device")
        original(path, data, flush=flush)

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    with pytest.raises(TrainingError, match="No space left on device"):
        start(recipe, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"
    monkeypatch.setattr(checkpoint, "write_bytes", original)
    assert start(recipe, tmp_path / "run", resume=True)["status"] == "finished"


def test_an_error_of_another_kind_is_in_the_summary(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", fail)
    with pytest.raises(RuntimeError):
        start(recipe, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["reason"]) == ("failed", "RuntimeError: out of memory")


def test_the_resume_command_can_be_pasted() -> None:
    import shlex

    words = shlex.split(resume_command(Path("my runs/a b")))
    assert words == ["fptkit", "run", "my runs/a b/recipe.yaml", "--output", "my runs/a b", "--resume"]


PLUGIN = """
import torch
from fptkit import *

class Norm(torch.nn.Module):
    def __init__(self, options, *, input, width):
        super().__init__()
        self.map, self.norm = torch.nn.Linear(input.width, width), torch.nn.BatchNorm1d(width)
    def forward(self, inputs):
        return self.norm(self.map(inputs).transpose(1, 2)).transpose(1, 2)

class Fails:
    def __init__(self, options, *, folder): pass
    def handle(self, event): raise RuntimeError("no network")

class Narrow(Norm):
    def forward(self, inputs): return super().forward(inputs)[..., :-1]

class NoSize(GeneratedTask):
    input, output, max_tokens = Vectors(1), Classes(2), 2
    def draw(self, count, generator):
        bits = torch.randint(0, 2, (count, 2), generator=generator)
        return bits[..., None].float(), bits[:, 0]
    def split(self, name):
        return super().split("train")

@hookimpl
def fptkit_encoders():
    return [EncoderSpec(name=name, summary="x", target=target, accepts=("vectors",))
            for name, target in dict(norm=Norm, narrow=Narrow, nothing=lambda *a, **k: None).items()]

@hookimpl
def fptkit_backbones():
    return [BackboneSpec(name="empty", summary="x", target=lambda *a, **k: None)]

@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="no_size", summary="x", target=NoSize)]

@hookimpl
def fptkit_listeners():
    return [ListenerSpec(name="fails", summary="x", target=Fails)]
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "odd.py"
    path.write_text(PLUGIN)
    return path


@pytest.mark.parametrize(
    ("override", "error", "said"),
    [
        (
            "encoder.name=narrow",
            PluginError,
            r"encoder 'narrow': it returned shape \(1, 6, 15\), expected \(1, 6, 16\)",
        ),
        ("encoder.name=nothing", PluginError, "encoder 'nothing': it returned a NoneType"),
        ("backbone.name=empty", PluginError, r"backbone 'empty': NoneType is not a subclass"),
        ("task.name=no_size", ShapeError, "split validation: split is endless; it cannot be evaluated in full"),
    ],
)
def test_a_component_that_breaks_its_word_is_told_before_training(
    recipe: Path, plugin: Path, tmp_path: Path, override: str, error: type[FptkitError], said: str
) -> None:
    with pytest.raises(error, match=said):
        start(recipe, tmp_path / "run", override, plugins=[plugin])


def test_running_means_are_saved_and_restored(recipe: Path, plugin: Path, tmp_path: Path) -> None:
    whole = start(recipe, tmp_path / "whole", "encoder.name=norm", plugins=[plugin])
    start(recipe, tmp_path / "parts", "encoder.name=norm", "train.max_steps=10", plugins=[plugin])
    parts = start(recipe, tmp_path / "parts", "encoder.name=norm", resume=True, plugins=[plugin])
    assert parts["metrics"] == whole["metrics"]


def test_a_listener_that_fails_does_not_end_the_run(recipe: Path, plugin: Path, tmp_path: Path) -> None:
    summary = start(recipe, tmp_path / "run", "listeners=[{name: fails}]", plugins=[plugin])
    assert summary["status"] == "finished"
    assert summary["listeners"]["fails"]["dropped"].startswith("RuntimeError: no network")


def test_the_users_accelerate_settings_change_nothing(
    recipe: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    start(recipe, tmp_path / "other")
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("run", "other")]
    losses = [[json.loads(line)["loss"] for line in one] for one in lines]
    assert losses[0] == losses[1]
