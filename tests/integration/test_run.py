"""Whole runs in this process: what they leave, how they go on, and how they fail."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from whole_runs import RECIPE, Recorder, assert_same, metrics, start, tensors

from fptkit.engine.events import RunEnded, RunStarted, SplitTested, StepsDone, Validated
from fptkit.errors import CheckpointError, DivergedError, Interrupted, ShapeError, UsageError
from fptkit.files import find_json, sealed
from fptkit.recipe.load import load_recipe

RAGGED = """
task:
  name: remote_homology
  source: [simulated]
  simulated: {folds: 2, length: [10, 60]}
backbone: {name: random, blocks: 2, width: 32, heads: 2, size: nano, dropout: 0.1}
train: {batch_size: 8, batch_tokens: 300, max_steps: 60, validate_every: 20, log_every: 4, patience: null}
threads: 1
"""
"""Sequences of different lengths; an epoch under this budget has about half of these steps."""


def test_a_run_leaves_what_it_promises(recipe: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    folder = tmp_path / "run"
    summary = start(recipe, folder, listener=recorder)
    assert summary == find_json(folder / "summary.json")
    assert summary["status"] == "finished"
    assert summary["recipe"] == "tiny"
    task = {"name": "bit_xor", "protocol": "clean", "source": "generated", "stand_in": False}
    assert summary["task"].items() >= task.items()
    backbone = {"name": "random", "blocks": 2, "width": 32, "weights": "random", "init": "random", "stand_in": False}
    assert summary["backbone"].items() >= backbone.items()
    assert summary["selection"] == {"metric": "accuracy", "higher_is_better": True}
    assert summary["freezing"] == "fpt"
    # Two blocks of 12,704 less their norms, and trained: 5 norms of 64, 6 positions of 32, input 64, output 66.
    assert summary["parameters"] == {"total": 2 * (12_704 - 128) + 642, "trained": 642, "reached": 642}
    assert summary["metrics"].keys() == {"validation", "test"}
    assert summary["metrics"]["test"]["test"].keys() == {"loss", "accuracy"}
    for key in (
        "steps",
        "seconds",
        "examples_per_second",
        "peak_memory_mib",
        "device",
        "precision",
        "seed",
        "versions",
    ):
        assert key in summary
    kinds = [type(event) for event in recorder.events]
    assert kinds[0] is RunStarted
    assert kinds[-2:] == [SplitTested, RunEnded]
    assert [event.step for event in recorder.events if isinstance(event, Validated)] == [10, 20, 30]
    assert [event.step for event in recorder.events if isinstance(event, StepsDone)] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert {path.name for path in folder.iterdir()} >= {
        "recipe.yaml",
        "environment.json",
        "metrics.jsonl",
        "summary.json",
        "model.safetensors",
        "model.json",
        "checkpoints",
    }


def test_the_saved_tensors_are_the_trained_ones_and_give_the_reported_accuracy(recipe: Path, tmp_path: Path) -> None:
    from fptkit.engine.build import build
    from fptkit.engine.checkpoint import restore_trained

    folder = tmp_path / "run"
    summary = start(recipe, folder)
    tensors = load_file(folder / "model.safetensors")
    assert not any(".attn." in name or ".mlp." in name for name in tensors)
    loaded = load_recipe(str(folder / "recipe.yaml"))
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    restore_trained(built.model, tensors, origin=folder)
    batch = built.task.split("test").batch(range(50), torch.Generator())
    with torch.no_grad():
        answers = built.model.eval()(batch.inputs).argmax(-1)
    right = (answers == batch.targets).float().mean().item()
    assert right == pytest.approx(summary["metrics"]["test"]["test"]["accuracy"], abs=1e-6)


def test_the_resolved_recipe_repeats_the_run(recipe: Path, tmp_path: Path) -> None:
    first = start(recipe, tmp_path / "one", "train.seed=3")
    second = start(tmp_path / "one" / "recipe.yaml", tmp_path / "two")
    assert second["recipe"] == "tiny"
    assert metrics(tmp_path / "one") == metrics(tmp_path / "two")
    assert first["metrics"] == second["metrics"]
    start(recipe, tmp_path / "other", "train.seed=4")
    assert metrics(tmp_path / "one") != metrics(tmp_path / "other")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("stop_at", [4, 8, 20])
def test_stopped_and_resumed_equals_uninterrupted(
    recipe: Path, tmp_path: Path, stop_at: int, number: int, code: int
) -> None:
    start(recipe, tmp_path / "whole")
    with pytest.raises(Interrupted) as caught:
        start(recipe, tmp_path / "parts", listener=Recorder(stop_at, number))
    assert caught.value.exit_code == code
    assert json.loads((tmp_path / "parts" / "summary.json").read_text())["status"] == "interrupted"
    assert signal.getsignal(number) is not None
    start(recipe, tmp_path / "parts", resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in metrics(folder) if line["split"] == "train"]


PLATEAU = "train.schedule={name: plateau, patience: 1, factor: 0.5}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "stop_at", "overrides"),
    [
        (RECIPE, 12, ["train.schedule={name: cosine, warmup_steps: 7, final_share: 0.1}"]),
        (RECIPE, 4, ["train.schedule={name: constant, warmup_steps: 7}"]),
        # A rate at which validation gets worse, so that it falls before the stop and after it.
        (RECIPE, 16, [PLATEAU, "train.validate_every=3", "train.learning_rate=0.3"]),
        (RECIPE, 8, ["train.accumulate=4"]),
        (RAGGED, 16, []),
        (RAGGED, 44, ["train.accumulate=4", "train.schedule={name: cosine}"]),
        # Evaluations that continue through the validation data, and skipped batches.
        (RAGGED.replace("  source:", "  protocol: fpt2021\n  max_length: 55\n  source:"), 28, []),
    ],
)
def test_schedules_accumulation_and_token_budgets_resume_exactly(
    tmp_path: Path, text: str, stop_at: int, overrides: list[str]
) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(text)
    start(path, tmp_path / "whole", *overrides)
    with pytest.raises(Interrupted):
        start(path, tmp_path / "parts", *overrides, listener=Recorder(stop_at))
    start(path, tmp_path / "parts", *overrides, resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")
    rates = [line["learning_rate"] for line in metrics(tmp_path / "whole") if line["split"] == "train"]
    if PLATEAU in overrides:
        before, after = rates[: stop_at // 4], rates[stop_at // 4 :]
        assert rates[0] > before[-1] > after[-1], rates
    ordinary = ("train.schedule={name: constant}", "train.schedule.warmup_steps=0", "train.accumulate=1")
    start(path, tmp_path / "plain", *overrides, *ordinary)
    whole, plain = tensors(tmp_path / "whole"), tensors(tmp_path / "plain")
    changed = any(not torch.equal(whole[name], plain[name]) for name in whole)
    # The tensors kept are those of the best step, which may lie before the first change of the rate: the losses go on.
    changed |= losses(tmp_path / "whole") != losses(tmp_path / "plain")
    assert changed == bool(overrides)  # what was resumed was no ordinary run


@pytest.mark.parametrize(
    "backbone",
    [
        "{name: lstm, size: nano, layers: 2, width: 16, variant: official, dropout: 0.1}",
        "{name: lstm, size: nano, layers: 2, width: 16, variant: official, dropout: 0}",
        "{name: random, like: gpt2, size: nano, blocks: 1, width: 16, heads: 2, dropout: 0.1, attention_dropout: 0.1}",
    ],
)
def test_what_is_drawn_in_training_resumes_exactly(recipe: Path, tmp_path: Path, backbone: str) -> None:
    """Dropout everywhere, and the states that the paper's LSTM starts from."""
    overrides = (f"backbone={backbone}", "encoder={name: linear, dropout: 0.1}")
    start(recipe, tmp_path / "whole", *overrides)
    with pytest.raises(Interrupted):
        start(recipe, tmp_path / "parts", *overrides, listener=Recorder(8))
    start(recipe, tmp_path / "parts", *overrides, resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_the_rate_that_was_used_is_told(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "run", "train.max_steps=12", "train.schedule.warmup_steps=7")
    rates = {line["step"]: line["learning_rate"] for line in metrics(tmp_path / "run") if line["split"] == "train"}
    assert rates == pytest.approx({4: 1e-2 * 4 / 8, 8: 1e-2, 12: 1e-2})


def test_a_schedule_is_a_factor_on_every_groups_own_rate(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float]] = []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *arguments: Any) -> Any:
        seen.append(sorted({group["lr"] for group in self.param_groups}))
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    start(
        recipe,
        tmp_path / "run",
        "train.max_steps=10",
        "train.schedule={name: cosine, warmup_steps: 2}",
        "freezing.learning_rate_multipliers={norm: 0.5}",
    )
    expected = [1 / 3, 2 / 3, *((1 + math.cos(math.pi * done / 8)) / 2 for done in range(8))]
    assert seen == [pytest.approx([0.5e-2 * factor, 1e-2 * factor]) for factor in expected]


@pytest.mark.parametrize(
    ("text", "accumulate"), [(RECIPE, 4), (RAGGED, 4), (RAGGED, 8), (RAGGED.replace("batch_tokens: 300, ", ""), 2)]
)
@pytest.mark.slow
def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path: Path, text: str, accumulate: int) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(text.replace("dropout: 0.1", "dropout: 0.0"))
    overrides = ("precision=float32", "train.max_steps=25", "train.validate_every=25", "train.learning_rate=1e-3")
    start(path, tmp_path / "whole", *overrides)
    start(path, tmp_path / "parts", *overrides, f"train.accumulate={accumulate}")
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=0, atol=1e-5)
    losses, others = ([line["loss"] for line in metrics(tmp_path / name)] for name in ("whole", "parts"))
    assert others == pytest.approx(losses, abs=1e-5)


def test_a_token_budget_below_the_longest_sequence_fails_before_training(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(RAGGED.replace("batch_tokens: 300", "batch_tokens: 30"))
    with pytest.raises(ShapeError, match=r"RemoteHomology, split train: train\.batch_tokens is 30, but its longest"):
        start(path, tmp_path / "run")


def test_a_token_budget_for_a_task_of_one_length_is_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="its examples do not differ in length"):
        start(recipe, tmp_path / "run", "train.batch_tokens=1000")


def test_a_longer_run_goes_on_where_a_finished_one_ended(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "whole")
    start(recipe, tmp_path / "parts", "train.max_steps=20")
    start(recipe, tmp_path / "parts", resume=True)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


@pytest.mark.parametrize(
    "overrides",
    [
        ("train.checkpoint_every=3",),
        ("train.feature_cache_gib=1", "train.feature_cache=never"),
        ("train.activation_checkpointing=true", "train.shard_frozen=always"),
        ("listeners=[]", "description=other"),
    ],
)
def test_a_run_goes_on_with_other_settings_that_do_not_decide(
    recipe: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    start(recipe, tmp_path / "whole")
    with pytest.raises(Interrupted):
        start(recipe, tmp_path / "parts", listener=Recorder(8))
    summary = start(recipe, tmp_path / "parts", *overrides, resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")
    assert not any("another version of the code" in note for note in summary["notes"])


@pytest.mark.slow
def test_kept_features_come_and_go_with_a_resumed_run(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FPTKIT_CACHE", str(tmp_path / "cache"))
    recipe.write_text(
        "task: {name: mnist, source: digits, patch_size: 14, train_size: 64}\n"
        "backbone: {name: random, blocks: 1, width: 32, heads: 2, size: nano, dropout: 0.0}\n"
        "freezing: {name: output_only}\n"
        "train: {batch_size: 8, max_steps: 400, validate_every: 10, log_every: 5, patience: null}\n"
        "threads: 1\nprecision: float32\n"
    )
    start(recipe, tmp_path / "whole", "train.max_steps=400", "train.feature_cache=never")
    with pytest.raises(Interrupted):
        start(recipe, tmp_path / "parts", "train.feature_cache_gib=1e-9", listener=Recorder(10))
    summary = start(recipe, tmp_path / "parts", "train.feature_cache_gib=1", resume=True)
    assert any("pass the frozen part once" in note for note in summary["notes"])
    whole = tensors(tmp_path / "whole")
    for name, tensor in tensors(tmp_path / "parts").items():
        torch.testing.assert_close(tensor, whole[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_says_that_another_code_made_a_part_of_it(recipe: Path, tmp_path: Path, recorded: bool) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        start(recipe, folder, listener=Recorder(8))
    environment = json.loads((folder / "environment.json").read_text())
    (own,) = environment["code"]
    del environment["code"]  # as before runs recorded it
    (folder / "environment.json").write_text(
        json.dumps({**environment, "code": ["f" * 64]} if recorded else environment)
    )
    with pytest.raises(Interrupted):
        start(recipe, folder, resume=True, listener=Recorder(16))
    assert json.loads((folder / "environment.json").read_text())["code"][1:] == [own]
    recorder = Recorder()
    summary = start(recipe, folder, resume=True, listener=recorder)  # remembered however often it is resumed
    (note,) = [note for note in summary["notes"] if "another version of the code" in note]
    assert ("(ffffffffffffffff)" if recorded else "(not recorded)") in note
    assert f"fptkit run {folder}/recipe.yaml --output" in note
    started = recorder.events[0]
    assert isinstance(started, RunStarted)
    assert note in started.notes


def test_resuming_a_finished_run_trains_nothing(recipe: Path, tmp_path: Path) -> None:
    first = start(recipe, tmp_path / "run")
    recorder = Recorder()
    assert start(recipe, tmp_path / "run", resume=True, listener=recorder) == first
    assert recorder.events == []


def test_resume_in_an_empty_folder_starts(recipe: Path, tmp_path: Path) -> None:
    assert start(recipe, tmp_path / "new", "train.max_steps=2", resume=True)["status"] == "finished"


def test_a_folder_with_a_run_is_not_overwritten(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "run", "train.max_steps=2")
    with pytest.raises(UsageError, match="holds a run already"):
        start(recipe, tmp_path / "run", "train.max_steps=2")


def test_another_recipe_cannot_go_on_with_a_run(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "run", "train.max_steps=2")
    with pytest.raises(UsageError) as caught:
        start(recipe, tmp_path / "run", "train.learning_rate=0.5", "task.bits=4", resume=True)
    assert "it differs in task.options.bits, train.learning_rate." in str(caught.value)


def test_a_locked_folder_is_refused(recipe: Path, tmp_path: Path) -> None:
    import filelock

    folder = tmp_path / "run"
    folder.mkdir()
    with filelock.FileLock(folder / ".lock"), pytest.raises(UsageError, match="is in use by another run"):
        start(recipe, folder)


def test_a_damaged_checkpoint_is_refused_by_name(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        start(recipe, tmp_path / "run", listener=Recorder(8))
    file = tmp_path / "run" / "checkpoints" / "step-00000008" / "trained.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"step-00000008.trained\.safetensors is truncated"):
        start(recipe, tmp_path / "run", resume=True)


def test_a_checkpoint_of_another_frozen_part_is_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        start(recipe, tmp_path / "run", listener=Recorder(8))
    state = tmp_path / "run" / "checkpoints" / "step-00000008" / "state.json"
    content = json.loads(state.read_text())
    del content["own_digest"]
    content["frozen"]["digest"] = "0" * 64
    state.write_text(json.dumps(sealed(content)))
    with pytest.raises(CheckpointError, match="its frozen part is random with digest 000000000000"):
        start(recipe, tmp_path / "run", resume=True)


def test_a_loss_that_is_no_number_ends_the_run_with_advice(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(DivergedError, match=r"Lower train\.learning_rate \(now 1e\+38\)") as caught:
        start(recipe, folder, "train.learning_rate=1e38", "train.clip_norm=null")
    assert caught.value.exit_code == 1
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "diverged"
    assert "learning_rate" in summary["reason"]
    assert "ended_by" not in summary


def test_patience_ends_a_run_and_the_best_step_is_restored(recipe: Path, tmp_path: Path) -> None:
    """With a rate of nearly nothing no validation improves on the first."""
    folder = tmp_path / "run"
    recorder = Recorder()
    summary = start(
        recipe,
        folder,
        "train.learning_rate=1e-12",
        "train.patience=2",
        "train.max_steps=500",
        "train.validate_every=5",
        listener=recorder,
    )
    assert (summary["steps"], summary["best_step"]) == (15, 5)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-00000005", "step-00000015"]
    best = load_file(folder / "checkpoints" / "step-00000005" / "trained.safetensors")
    final = load_file(folder / "model.safetensors")
    assert all(torch.equal(best[name], final[name]) for name in best)


def test_the_test_split_is_opened_once_and_last(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fptkit.tasks.bits import BitXor

    opened: list[str] = []
    original = BitXor.split
    monkeypatch.setattr(BitXor, "split", lambda self, name: opened.append(name) or original(self, name))
    start(recipe, tmp_path / "run")
    assert opened.count("test") == 1
    assert opened[-1] == "test"


def test_bfloat16_is_stored_for_frozen_matrices_only(recipe: Path, tmp_path: Path) -> None:
    from fptkit.engine.build import build

    loaded = load_recipe(str(recipe), overrides=["precision=bfloat16"])
    model = build(loaded.recipe, loaded.registry, torch.device("cpu")).model
    for name, parameter in model.named_parameters():
        frozen = ".attn." in name or ".mlp." in name
        assert parameter.dtype == (torch.bfloat16 if frozen and parameter.ndim > 1 else torch.float32), name
        assert parameter.requires_grad == (not frozen)
    assert start(recipe, tmp_path / "run", "precision=float32")["precision"] == "float32"


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ([], "bfloat16"),
        (["task.protocol=fpt2021"], "float32"),
        (["task.protocol=fpt2021", "precision=bfloat16"], "bfloat16"),
        (["task.protocol=fpt2021", "pinned.precision=bfloat16"], "bfloat16"),  # an earlier run of this recipe
    ],
)
def test_a_protocol_may_prescribe_what_auto_means(
    overrides: list[str], wanted: str, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fptkit.engine.build import build
    from fptkit.numerics import precision

    monkeypatch.setattr(precision, "cpu_multiplies_bfloat16", lambda: True)
    loaded = load_recipe(str(recipe), overrides=overrides)
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    assert built.precision == wanted
    assert any("D21" in note for note in built.task.notes) == (built.task.protocol == "fpt2021")
