"""Language pretraining: the training, how it resumes and what it refuses, evaluation, export, command line."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import torch
from pretraining_recipes import (
    SEPARATOR,
    interrupt_at_step_4,
    silent,
    unchanged,
    write_corpus,
)
from pretraining_recipes import language_recipe as make_recipe
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

from fptkit.cli.main import main
from fptkit.errors import CheckpointError, DataError, Interrupted, TrainingError, UsageError
from fptkit.files import LOCK, locked_folder
from fptkit.lab.pretraining.corpus import (
    open_corpus,
)
from fptkit.lab.pretraining.gpt2_forward import Gpt2Forward
from fptkit.lab.pretraining.language import LanguageObjective, PretrainResult, export, pretrain
from fptkit.lab.pretraining.loop import (
    CHECKPOINT,
    METRICS,
    read_checkpoint,
)
from fptkit.lab.pretraining.next_token import evaluate, make_config, make_model


@pytest.fixture(scope="module")
def finished(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PretrainResult, Path]:
    """An uninterrupted training and its folder."""
    output = tmp_path_factory.mktemp("finished")
    return pretrain(make_recipe(corpus_file), output, log=silent), output


# --- training


def test_training_learns_and_reports(finished: tuple[PretrainResult, Path]) -> None:
    result, output = finished
    assert (result.steps, result.tokens) == (12, 12 * 128)
    rows = [json.loads(line) for line in (output / METRICS).read_text("utf-8").splitlines()]
    assert [row["step"] for row in rows] == [4, 8, 12]
    assert all({"tokens_per_second", "validation_bits_per_byte", "tokens"} <= set(row) for row in rows)
    assert rows[-1]["validation_loss_nats_per_token"] < rows[0]["validation_loss_nats_per_token"] < math.log(300)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_resumed_training_equals_an_uninterrupted_one(
    corpus_file: Path, finished: tuple[PretrainResult, Path], tmp_path: Path, number: signal.Signals
) -> None:
    recipe, before = make_recipe(corpus_file), signal.getsignal(number)

    def interrupt(line: str) -> None:
        if line.startswith("step 4"):
            signal.raise_signal(number)

    with pytest.raises(Interrupted) as stopped:
        pretrain(recipe, tmp_path, log=interrupt)
    assert (stopped.value.signal_number, stopped.value.step) == (number, 4)
    assert "--resume" in stopped.value.resume
    assert signal.getsignal(number) is before
    pretrain(recipe, tmp_path, resume=True, log=silent)
    for name in (CHECKPOINT, "model.safetensors"):
        expected, found = load_file(finished[1] / name), load_file(tmp_path / name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)
    clocks = ("seconds", "tokens_per_second")
    rows = [
        [
            {k: v for k, v in json.loads(line).items() if k not in clocks}
            for line in path.read_text("utf-8").splitlines()
        ]
        for path in (finished[1] / METRICS, tmp_path / METRICS)
    ]
    assert rows[0] == rows[1]


def test_resume_into_an_empty_folder_starts_there(corpus_file: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    result = pretrain(make_recipe(corpus_file, {"max_steps": 2}), tmp_path, resume=True, log=lines.append)
    assert result.steps == 2
    assert any("starting at step 0" in line for line in lines)


def test_folder_of_an_earlier_training_is_left_as_it_was(finished: tuple[PretrainResult, Path], tmp_path: Path) -> None:
    other = write_corpus(tmp_path / "other.txt", documents=3)
    with unchanged(finished[1]), pytest.raises(UsageError, match="--resume") as refused:
        pretrain(make_recipe(other, {"seed": 1}, tokenizer={"vocabulary": 280}), finished[1], log=silent)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("resume", [False, True])
def test_model_without_its_checkpoint_is_not_overwritten(
    corpus_file: Path, finished: tuple[PretrainResult, Path], tmp_path: Path, resume: bool
) -> None:
    (tmp_path / "model.safetensors").write_bytes((finished[1] / "model.safetensors").read_bytes())
    with unchanged(tmp_path), pytest.raises(UsageError, match=r"no checkpoint\.safetensors"):
        pretrain(make_recipe(corpus_file), tmp_path, resume=resume, log=silent)


@pytest.mark.parametrize(
    ("train", "sections", "differing"),
    [
        ({"seed": 1, "optimizer": "adamw"}, {}, "seed, optimizer"),
        ({}, {"tokenizer": {"vocabulary": 280}}, "tokenizer"),
        ({}, {"data": {"path": "{corpus}", "validation_share": 0.2}}, "validation_sha256"),
        ({}, {"data": {"path": "{corpus}", "validation_path": "{other}"}}, "validation_sha256"),
        ({}, {"data": {"path": "{other}", "validation_share": 0.1}}, "corpus_sha256"),
        (
            {},
            {"data": {"path": "{corpus}", "validation_share": 0.1, "document_separator": "\n\n"}},
            "document_separator",
        ),
    ],
)
def test_resuming_another_training_is_refused_and_changes_nothing(
    corpus_file: Path,
    finished: tuple[PretrainResult, Path],
    tmp_path: Path,
    train: dict[str, Any],
    sections: dict[str, Any],
    differing: str,
) -> None:
    other = write_corpus(tmp_path / "other.txt", documents=3)
    files = {"{corpus}": str(corpus_file), "{other}": str(other)}
    if "data" in sections:
        sections = {"data": {name: files.get(value, value) for name, value in sections["data"].items()}}
    recipe = make_recipe(corpus_file, train, **sections)
    with unchanged(finished[1]), pytest.raises(CheckpointError, match=f"differs in: {differing}\\."):
        pretrain(recipe, finished[1], resume=True, log=silent)


def test_damaged_checkpoint_is_refused_and_nothing_changed(
    corpus_file: Path, finished: tuple[PretrainResult, Path], tmp_path: Path
) -> None:
    (tmp_path / CHECKPOINT).write_bytes((finished[1] / CHECKPOINT).read_bytes()[:-100])
    with unchanged(tmp_path), pytest.raises(CheckpointError, match="damaged"):
        pretrain(make_recipe(corpus_file), tmp_path, resume=True, log=silent)


def test_a_checkpoint_with_fewer_fields_can_be_resumed(corpus_file: Path, tmp_path: Path) -> None:
    """Older checkpoints do not have the separator and the held-out text."""
    recipe = make_recipe(corpus_file)
    with pytest.raises(Interrupted):
        pretrain(recipe, tmp_path, log=interrupt_at_step_4)
    checkpoint = tmp_path / CHECKPOINT
    with safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
    identity = json.loads(metadata["identity"])
    assert {identity.pop(name) for name in ("document_separator", "validation_sha256")} == {SEPARATOR, "share 0.1"}
    save_file(load_file(checkpoint), checkpoint, metadata | {"identity": json.dumps(identity)})
    assert pretrain(recipe, tmp_path, resume=True, log=silent).steps == 12


@pytest.mark.parametrize("resume", [False, True])
def test_second_pretraining_in_a_folder_is_kept_out(
    corpus_file: Path, finished: tuple[PretrainResult, Path], resume: bool
) -> None:
    code = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n    print('held', flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-c", code, str(finished[1] / LOCK)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with unchanged(finished[1]), pytest.raises(UsageError, match="is in use by another pretraining"):
            pretrain(make_recipe(corpus_file), finished[1], resume=resume, log=silent)
        other.communicate()
    with filelock.FileLock(finished[1] / LOCK, timeout=0):  # free again
        pass


def test_folder_that_cannot_be_made(corpus_file: Path) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        pretrain(make_recipe(corpus_file), corpus_file / "out", log=silent)


def test_folder_is_removed_only_if_nothing_was_written(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "empty", "pretraining"):
        assert (tmp_path / "empty").is_dir()
    assert not (tmp_path / "empty").exists()
    with locked_folder(tmp_path / "used", "pretraining"):
        (tmp_path / "used" / "file").touch()
    assert (tmp_path / "used" / "file").exists()


@pytest.mark.parametrize("torn", ['{"step": 4, "tok', '{"step"', "7", "{}", "\0\0"])
def test_half_written_row_of_metrics_is_dropped(corpus_file: Path, tmp_path: Path, torn: str) -> None:
    with pytest.raises(Interrupted):
        pretrain(make_recipe(corpus_file, {"max_steps": 6}), tmp_path, log=interrupt_at_step_4)
    with (tmp_path / METRICS).open("a", encoding="utf-8") as file:
        file.write(torn)
    pretrain(make_recipe(corpus_file, {"max_steps": 6}), tmp_path, resume=True, log=silent)
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text("utf-8").splitlines()]
    assert [row["step"] for row in rows] == [4, 6]


def test_second_ctrl_c_stops_at_once(corpus_file: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt_twice(line: str) -> None:
        interrupt_at_step_4(line)
        interrupt_at_step_4(line)

    with pytest.raises(KeyboardInterrupt):
        pretrain(make_recipe(corpus_file, {"checkpoint_every": 3}), tmp_path, log=interrupt_twice)
    assert signal.getsignal(signal.SIGINT) is before
    assert read_checkpoint(tmp_path / CHECKPOINT)[1].step == 3
    assert pretrain(make_recipe(corpus_file), tmp_path, resume=True, log=silent).steps == 12, "the lock is free"


def test_smaller_time_on_resume_starts_the_cooldown(corpus_file: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        pretrain(make_recipe(corpus_file, {"max_steps": None, "max_seconds": 600}), tmp_path, log=interrupt_at_step_4)
    short = make_recipe(corpus_file, {"max_steps": None, "max_seconds": 1e-3, "cooldown_share": 0.5})
    assert pretrain(short, tmp_path, resume=True, log=silent).steps == 8


def test_loss_that_is_not_finite_stops(corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LanguageObjective, "loss", lambda *_, **__: torch.tensor(float("nan")))
    with pytest.raises(TrainingError, match="nan at step 0"):
        pretrain(make_recipe(corpus_file), tmp_path, log=silent)
    assert not (tmp_path / CHECKPOINT).exists()


def test_without_a_compiler_training_continues_uncompiled(
    corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    lines: list[str] = []
    pretrain(make_recipe(corpus_file, {"compile": True, "max_steps": 1}), tmp_path / "out", log=lines.append)
    assert any("no C++ compiler" in line for line in lines)


def test_adamw_trains_every_parameter(corpus_file: Path, tmp_path: Path) -> None:
    recipe = make_recipe(corpus_file, {"optimizer": "adamw", "max_steps": 3})
    pretrain(recipe, tmp_path, log=silent)
    start = dict(make_model(make_config(recipe.model, 300), 0).transformer.named_parameters())
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        assert not torch.equal(tensor, start[name].detach()), name


# --- evaluation and export


def test_bits_per_byte_against_an_independent_computation(finished: tuple[PretrainResult, Path]) -> None:
    _, output = finished
    model = GPT2LMHeadModel.from_pretrained(output).eval()
    corpus = open_corpus(output / "corpus", SEPARATOR)
    tokens = np.asarray(corpus.valid[:100])
    nats, positions = 0.0, 32
    for start in range(0, 99, positions):  # one window at a time, by transformers' own loss
        window = torch.from_numpy(tokens[start : start + positions + 1].astype(np.int64))[None]
        logits = model(window[:, :-1]).logits[0].detach()
        nats -= sum(float(logits[t].log_softmax(-1)[window[0, t + 1]]) for t in range(len(logits)))
    text = corpus.tokenizer.decode(tokens[1:].tolist(), skip_special_tokens=True)
    found = evaluate(Gpt2Forward(model, torch.float32), tokens, corpus.bytes_per_token, positions)
    assert found.nats_per_token == pytest.approx(nats / 99, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(nats / (len(text.encode()) * math.log(2)), rel=1e-5)
    assert found.nats_by_position.shape == (positions,)


def test_evaluation_needs_two_tokens(finished: tuple[PretrainResult, Path]) -> None:
    model = GPT2LMHeadModel.from_pretrained(finished[1])
    with pytest.raises(DataError, match="at least 2 are needed"):
        evaluate(Gpt2Forward(model, torch.float32), np.zeros(1, np.uint16), np.ones(300, np.int64), 32)


def test_export_loads_in_transformers_with_the_logits_of_the_training(
    corpus_file: Path, finished: tuple[PretrainResult, Path]
) -> None:
    _, output = finished
    loaded, report = GPT2LMHeadModel.from_pretrained(output, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    objective = LanguageObjective(make_recipe(corpus_file), open_corpus(output / "corpus", SEPARATOR), "")
    state = load_file(output / CHECKPOINT)
    with torch.no_grad():
        for name, parameter in objective.model.named_parameters():
            parameter.copy_(state[f"model.{name}"])
    inputs = torch.arange(64).view(2, 32)
    torch.testing.assert_close(loaded.eval()(inputs).logits, objective.forward.logits(inputs), atol=1e-6, rtol=1e-5)


def test_export_files(corpus_file: Path, finished: tuple[PretrainResult, Path], tmp_path: Path) -> None:
    result, output = finished
    fields = json.loads((output / "recipe.json").read_text("utf-8")) | {"save_dtype": "bfloat16"}
    half = tmp_path / "half"
    half.mkdir()
    for name in (CHECKPOINT, "corpus"):
        (half / name).symlink_to(output / name)
    (half / "recipe.json").write_text(json.dumps(fields), "utf-8")
    lines: list[str] = []
    measured = export(half, tmp_path / "tiny", log=lines.append)
    assert measured["validation_loss_nats_per_token"] == pytest.approx(result.validation_loss, rel=1e-2)
    weights, full = load_file(tmp_path / "tiny" / "model.safetensors"), load_file(output / "model.safetensors")
    assert {"wte.weight", "wpe.weight", "h.0.ln_1.weight", "h.1.attn.c_attn.bias", "ln_f.bias"} <= weights.keys()
    assert len(weights) == 2 + 2 * 12 + 2
    assert all(torch.equal(tensor, full[name].bfloat16()) for name, tensor in weights.items())
    assert oct((tmp_path / "tiny" / "model.safetensors").stat().st_mode)[-3:] == "644"
    tokenizer = Tokenizer.from_file(str(tmp_path / "tiny" / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode("bake limo").ids) == "bake limo"
    assert json.loads((tmp_path / "tiny" / "config.json").read_text("utf-8"))["eos_token_id"] == 0
    card = (tmp_path / "tiny" / "README.md").read_text("utf-8")
    assert "# tiny\n" in card
    assert "nats per token" in card
    assert "from step 5 to step 12" in card
    assert f"{result.tokens:,} tokens" in card
    assert str(corpus_file.parent) not in card, "a published card must not tell where files lay"


def test_export_of_a_training_under_way_says_so(corpus_file: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        pretrain(make_recipe(corpus_file), tmp_path, log=interrupt_at_step_4)
    export(tmp_path, tmp_path / "early", log=silent)
    assert "before the training ended" in (tmp_path / "early" / "README.md").read_text("utf-8")


def test_export_without_a_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no recipe\.json"):
        export(tmp_path, tmp_path / "x", log=silent)


# --- command line


@pytest.fixture
def recipe_file(corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A recipe of two steps in the working folder, an empty one."""
    monkeypatch.chdir(tmp_path)
    content = make_recipe(corpus_file, {"max_steps": 2}).model_dump_json()
    (tmp_path / "tiny.yaml").write_text(content, "utf-8")
    return "tiny.yaml"


def command(*arguments: str) -> int | str | None:
    """Exit code of ``fptkit pretrain``."""
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *arguments])
    return ended.value.code


def test_command_without_output_takes_a_new_folder(recipe_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(recipe_file) == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("tiny-")
    assert (folder / "model.safetensors").is_file()
    told = capsys.readouterr()
    assert f"output folder: {folder}" in told.err
    assert f"backbone.weights=path:{folder}" in told.out
    assert command(recipe_file, "--quiet") == 0
    assert len(list(Path("runs").iterdir())) == 2
    assert capsys.readouterr() == ("", "")


def test_command_leaves_no_folder_of_a_pretraining_without_text(recipe_file: str) -> None:
    assert command(recipe_file, "--set", "data.path=absent.txt") == 3
    assert list(Path("runs").iterdir()) == []


def test_command_into_a_used_folder(recipe_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(recipe_file, "--output", "out") == 0
    with unchanged(Path("out")):
        assert command(recipe_file, "--output", "out", "--set", "train.seed=1") == 2
    assert "out holds a pretraining already" in capsys.readouterr().err


def test_command_to_resume_needs_the_folder(recipe_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(recipe_file, "--resume") == 2
    assert "--resume needs --output" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_command_with_a_recipe_for_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("bit_xor_gpt2") == 2
    assert "this is a recipe for fptkit run; use: fptkit run bit_xor_gpt2" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
