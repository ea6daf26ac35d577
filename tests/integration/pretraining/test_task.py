"""Pretraining on a task: the run inside, what comes out, how it resumes, the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pretraining_recipes import TASK as TINY
from pretraining_recipes import load_task_recipe as load
from pretraining_recipes import write_task_recipe as write_recipe
from safetensors.torch import load_file
from transformers import GPT2Model
from whole_runs import Recorder

from fptkit.backbones.gpt2_build import load_gpt2
from fptkit.cli.main import main
from fptkit.engine.run import RunRequest, run
from fptkit.errors import CheckpointError, DataError, Interrupted, UsageError
from fptkit.lab.pretraining.recipes import LoadedTaskPretraining, load_pretraining
from fptkit.lab.pretraining.task import INPUT_OUTPUT, RECIPE, RUN, TaskPretrainResult, export, pretrain
from fptkit.recipe.load import load_recipe
from fptkit.sources.weights import open_weights
from fptkit.tasks.bits import BitXor
from fptkit.tasks.options import BitXorOptions


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe") / "tiny.yaml")


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TaskPretrainResult, Path]:
    """An uninterrupted pretraining and its folder."""
    output = tmp_path_factory.mktemp("finished")
    return pretrain(load(recipe), output), output


# --- what comes out


def test_weights_are_those_of_the_best_step(finished: tuple[TaskPretrainResult, Path]) -> None:
    result, output = finished
    summary = json.loads((output / RUN / "summary.json").read_text())
    assert (result.steps, summary["freezing"], summary["status"]) == (12, "full", "finished")
    trained = load_file(output / RUN / "model.safetensors")
    stored = load_file(output / "model.safetensors")
    of_backbone = {name for name in trained if name.startswith("backbone.")}
    assert {f"backbone.{name}" for name in stored} == of_backbone
    for name, tensor in stored.items():
        assert torch.equal(tensor, trained[f"backbone.{name}"].bfloat16()), name
    others = load_file(output / INPUT_OUTPUT)
    assert others.keys() == trained.keys() - of_backbone
    assert all(torch.equal(tensor, trained[name]) for name, tensor in others.items())
    assert oct((output / "model.safetensors").stat().st_mode)[-3:] == "644"


def test_same_hidden_states_in_transformers(finished: tuple[TaskPretrainResult, Path]) -> None:
    output = finished[1]
    reference = GPT2Model.from_pretrained(output, dtype=torch.float32).eval()
    ours = load_gpt2(open_weights(f"path:{output}")).eval()
    tokens = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = reference(inputs_embeds=tokens).last_hidden_state
        torch.testing.assert_close(ours(tokens), expected, atol=1e-4, rtol=1e-4)


def test_the_figures_are_those_of_the_stored_weights(finished: tuple[TaskPretrainResult, Path]) -> None:
    """By matrix products over what lies in the folder, with transformers as the body."""
    result, output = finished
    test = BitXor(BitXorOptions(**{k: v for k, v in TINY["task"].items() if k != "name"}), seed=0).split("test")
    batch = test.batch(range(200), torch.Generator())
    parts = load_file(output / INPUT_OUTPUT)
    weights = {name.split(".")[0] + name[name.rindex(".") :]: tensor for name, tensor in parts.items()}
    tokens = batch.inputs @ weights["encoder.weight"].T + weights["encoder.bias"]
    with torch.no_grad():
        hidden = GPT2Model.from_pretrained(output, dtype=torch.float32).eval()(inputs_embeds=tokens).last_hidden_state
    logits = hidden[:, -2:] @ weights["head.weight"].T + weights["head.bias"]
    accuracy = (logits.argmax(-1) == batch.targets).float().mean()
    assert result.test["test"]["accuracy"] == pytest.approx(float(accuracy), abs=1e-6)
    measured = json.loads((output / "measurement.json").read_text())
    assert measured["test_as_stored"] == result.test
    assert f"accuracy {accuracy:.4f}" in (output / "README.md").read_text()


def test_rows_beyond_the_task_stay_as_drawn(
    recipe: Path, finished: tuple[TaskPretrainResult, Path], tmp_path: Path
) -> None:
    again = pretrain(
        load(write_recipe(tmp_path / "x.yaml", save_dtype="float32"), ["train.max_steps=1"]), tmp_path / "x"
    )
    table = load_file(again.output / "model.safetensors")["wpe.weight"]
    assert table.shape == (4, 32), "the backbone 'random' keeps the rows of the task"
    longer = {"name": "gpt2", "weights": "random", "size": "nano", "positions": {"length": 40}, "blocks": {"keep": 1}}
    path = write_recipe(tmp_path / "longer.yaml", backbone=longer, save_dtype="float32")
    tables = []
    for steps in (1, 3):
        output = tmp_path / f"steps{steps}"
        pretrain(load(path, [f"train.max_steps={steps}"]), output)
        tables.append(load_file(output / "model.safetensors")["wpe.weight"])
    assert tables[0].shape == (40, 256)
    assert torch.equal(tables[0][4:], tables[1][4:])
    assert not torch.equal(tables[0][:4], tables[1][:4])
    card = " ".join((tmp_path / "steps3" / "README.md").read_text().split())
    assert "only the first 4 of the 40 rows of the position table were trained" in card


def test_the_folder_is_a_source_of_weights_for_a_run(finished: tuple[TaskPretrainResult, Path], tmp_path: Path) -> None:
    content = {
        "task": {
            "name": "bit_memory",
            "strings": 3,
            "bits": 2,
            "bits_per_token": 2,
            "validation_size": 8,
            "test_size": 8,
        },
        "backbone": {"name": "gpt2", "weights": f"path:{finished[1]}"},
        "freezing": {"name": "fpt"},
        "train": {"max_steps": 2, "validate_every": 2},
        "threads": 1,
    }
    summary = run(RunRequest(load_recipe(str(write_recipe(tmp_path / "x.yaml", content))), tmp_path / "run"))
    assert (summary["status"], summary["backbone"]["weights"]) == ("finished", f"path:{finished[1]}")


def test_card(finished: tuple[TaskPretrainResult, Path], recipe: Path) -> None:
    card = " ".join((finished[1] / "README.md").read_text("utf-8").split())
    assert "A GPT-2 of 2 blocks, width 32, 2 heads and 4 positions" in card
    assert "pretrained from random weights on the task `bit_xor`" in card
    assert "**It is no language model**" in card
    assert "12 steps of 16 examples: 192 examples" in card
    assert "Task `bit_xor` (" in card
    assert ", protocol clean, source generated." in card
    assert "max_steps: 12" in card
    assert str(recipe.parent) not in card
    assert str(finished[1].parent) not in card


@pytest.mark.slow
def test_a_vision_transformer(tmp_path: Path) -> None:
    content = TINY | {
        "task": {
            "name": "cifar10",
            "source": "simulated",
            "patch_size": 8,
            "simulated": {"train": 40, "validation": 10, "test": 20},
        },
        "backbone": {
            "name": "vit",
            "weights": "random",
            "size": "nano",
            "blocks": {"keep": 2},
            "position_init": "pretrained",
        },
    }
    content["train"] = TINY["train"] | {"max_steps": 2, "validate_every": 2}
    result = pretrain(load(write_recipe(tmp_path / "x.yaml", content)), tmp_path / "vit")
    assert set(result.test["test"]) == {"accuracy", "loss"}
    card = " ".join((tmp_path / "vit" / "README.md").read_text("utf-8").split())
    assert "on a fallback (stand-in) for the data it is named after" in card
    assert "A vision transformer of 2 blocks, width 192, 3 heads and 16 positions" in card
    trained = load_file(tmp_path / "vit" / RUN / "model.safetensors")
    stored = load_file(tmp_path / "vit" / "model.safetensors")
    assert torch.equal(stored["pos_embed"][0], trained["backbone.positions.weight"].bfloat16())
    again = dict(
        content, backbone={"name": "vit", "weights": f"path:{tmp_path / 'vit'}", "position_init": "pretrained"}
    )
    del again["kind"]
    loaded = load_recipe(str(write_recipe(tmp_path / "again.yaml", again)))
    from fptkit.engine.build import build

    backbone = build(loaded.recipe, loaded.registry, torch.device("cpu")).model.backbone
    for name, parameter in backbone.named_parameters():
        assert torch.equal(parameter, trained[f"backbone.{name}"].bfloat16().float()), name


# --- going on, and what is refused


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_resumed_pretraining_equals_an_uninterrupted_one(
    recipe: Path, finished: tuple[TaskPretrainResult, Path], tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "out"
    with pytest.raises(Interrupted) as stopped:
        pretrain(load(recipe), output, listeners=[Recorder(6, number)])
    assert (stopped.value.signal_number, stopped.value.step) == (number, 6)
    assert stopped.value.resume == f"fptkit pretrain {output / RECIPE} --output {output} --resume"
    assert not (output / "model.safetensors").exists()
    assert load(output / RECIPE).run.name == "tiny", "the saved recipe remembers its name"
    pretrain(load(output / RECIPE), output, resume=True)
    for name in ("model.safetensors", INPUT_OUTPUT):
        expected, found = load_file(finished[1] / name), load_file(output / name)
        assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert (output / "README.md").read_text().count("fptkit pretrain recipes/tiny.yaml") == 1


@pytest.mark.slow
def test_a_killed_process_goes_on_where_its_checkpoint_is(
    recipe: Path, finished: tuple[TaskPretrainResult, Path], tmp_path: Path
) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom fptkit.engine.events import StepsDone\n"
        "from fptkit.lab.pretraining.recipes import load_pretraining\n"
        "from fptkit.lab.pretraining.task import pretrain\n"
        "class Kill:\n"
        "    def handle(self, event):\n"
        "        if isinstance(event, StepsDone) and event.step == 6: os.kill(os.getpid(), signal.SIGKILL)\n"
        "pretrain(load_pretraining(sys.argv[1])[1], Path(sys.argv[2]), listeners=[Kill()])\n"
    )
    output = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", code, str(recipe), str(output)], timeout=300)
    assert killed.returncode == -signal.SIGKILL
    pretrain(load(recipe), output, resume=True)
    expected, found = load_file(finished[1] / "model.safetensors"), load_file(output / "model.safetensors")
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_resuming_a_finished_one_only_exports_again(
    recipe: Path, finished: tuple[TaskPretrainResult, Path], tmp_path: Path
) -> None:
    result, output = finished
    names = ("model.safetensors", "README.md", "measurement.json", "config.json")
    before = {name: (output / name).read_bytes() for name in names}
    checkpoints = sorted(path.name for path in (output / RUN / "checkpoints").iterdir())
    (output / "model.safetensors").unlink()
    assert pretrain(load(recipe), output, resume=True) == result
    assert {name: (output / name).read_bytes() for name in names} == before
    assert sorted(path.name for path in (output / RUN / "checkpoints").iterdir()) == checkpoints


def test_longer_training_goes_on(recipe: Path, tmp_path: Path) -> None:
    assert pretrain(load(recipe, ["train.max_steps=4"]), tmp_path).steps == 4
    assert pretrain(load(recipe, ["train.max_steps=6"]), tmp_path, resume=True).steps == 6


def test_folders_that_hold_something_else(
    recipe: Path, finished: tuple[TaskPretrainResult, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="holds a pretraining already"):
        pretrain(load(recipe), finished[1])
    with pytest.raises(UsageError, match=r"another recipe; it differs in train\.seed"):
        pretrain(load(recipe, ["train.seed=5"]), finished[1], resume=True)
    (tmp_path / "checkpoint.safetensors").touch()
    with pytest.raises(UsageError, match="of another kind"):
        pretrain(load(recipe), tmp_path, resume=True)
    (tmp_path / "checkpoint.safetensors").rename(tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="no run that made it"):
        pretrain(load(recipe), tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["model.safetensors"]


def test_a_recipe_that_cannot_be_built_leaves_no_folder(tmp_path: Path) -> None:
    path = write_recipe(
        tmp_path / "x.yaml", backbone={"name": "random", "blocks": 1, "width": 32, "heads": 2, "positions": 1}
    )
    with pytest.raises(Exception, match="position"):
        pretrain(load(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_export_needs_a_finished_run_with_whole_tensors(
    recipe: Path, finished: tuple[TaskPretrainResult, Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="holds no finished pretraining"):
        export(tmp_path, tmp_path / "x")
    (tmp_path / "run").symlink_to(finished[1] / RUN)
    assert export(tmp_path, tmp_path / "named", title="other", save_dtype="float32")["steps"] == 12
    assert (tmp_path / "named" / "README.md").read_text().startswith("# other\n")
    (tmp_path / "run").unlink()
    (tmp_path / "run").mkdir()
    for name in ("summary.json", "recipe.yaml", "model.json", "model.safetensors"):
        (tmp_path / "run" / name).write_bytes((finished[1] / RUN / name).read_bytes())
    with (tmp_path / "run" / "model.safetensors").open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\x7f\x7f\x7f\x7f")
    with pytest.raises(CheckpointError, match="truncated or was altered"):
        export(tmp_path, tmp_path / "x")


# --- command line


def command(*arguments: str) -> int | str | None:
    """Exit code of ``fptkit pretrain``."""
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *arguments])
    return ended.value.code


def test_command(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(str(recipe)) == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("tiny-")
    told = capsys.readouterr()
    assert "weights as stored: test accuracy" in told.out
    assert f"backbone.weights=path:{folder}" in told.out
    assert "task        bit_xor" in told.err
    assert command(str(recipe), "--output", str(folder), "--resume", "--json") == 0
    told = capsys.readouterr()
    assert "nothing was trained" in told.err
    assert json.loads(told.out)["steps"] == 12
    assert command(str(recipe), "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretrain_bit_memory", "pretrain_images"])
def test_shipped_recipes_run_in_their_smoke_profile(name: str, tmp_path: Path) -> None:
    _, loaded = load_pretraining(name, profile="smoke", overrides=["train.max_steps=2", "train.validate_every=2"])
    assert isinstance(loaded, LoadedTaskPretraining)
    result = pretrain(loaded, tmp_path)
    assert result.steps == 2
    assert "--profile smoke" in (tmp_path / "README.md").read_text()
