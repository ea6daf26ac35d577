"""Pretraining on symbols from a random source: the training, the folder, the card, the command line."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pretraining_recipes import silent
from pretraining_recipes import synthetic_recipe as make_recipe
from safetensors.torch import load_file
from transformers import GPT2LMHeadModel

from fptkit.backbones.gpt2_build import load_gpt2
from fptkit.cli.main import main
from fptkit.errors import CheckpointError, DataError, Interrupted, UsageError
from fptkit.lab.pretraining.loop import CHECKPOINT, METRICS
from fptkit.lab.pretraining.synthetic import SyntheticObjective, SyntheticResult, export, pretrain
from fptkit.sources.weights import open_weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[SyntheticResult, Path]:
    """An uninterrupted training and its folder."""
    output = tmp_path_factory.mktemp("finished")
    return pretrain(make_recipe(), output, log=silent), output


# --- training


def test_training_learns_and_reports_what_the_source_has(finished: tuple[SyntheticResult, Path]) -> None:
    result, output = finished
    assert (result.steps, result.tokens) == (12, 12 * 128)
    rows = [json.loads(line) for line in (output / METRICS).read_text("utf-8").splitlines()]
    assert [row["step"] for row in rows] == [4, 8, 12]
    losses = [row["validation_loss_nats_per_token"] for row in rows]
    assert losses[0] > losses[1] > losses[2] > rows[0]["validation_source_nats_per_token"]
    assert "validation_bits_per_byte" not in rows[0]
    assert result.source_loss < result.validation_loss < math.log(12)


@pytest.mark.slow
def test_a_model_that_learns_enough_comes_down_to_the_floor(tmp_path: Path) -> None:
    recipe = make_recipe(
        {"max_steps": 120, "batch_tokens": 512, "validate_every": 120, "log_every": 120},
        data={"vocabulary": 8, "held_out_tokens": 4000},
    )
    result = pretrain(recipe, tmp_path, log=silent)
    assert result.source_loss < result.validation_loss < result.source_loss + 0.15
    unigram = json.loads((tmp_path / "measurement.json").read_text())["unigram_nats_per_token"]
    assert result.validation_loss < unigram - 0.2, "it looks at the symbol before"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_resumed_training_equals_an_uninterrupted_one(
    finished: tuple[SyntheticResult, Path], tmp_path: Path, number: signal.Signals
) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("step 4"):
            signal.raise_signal(number)

    with pytest.raises(Interrupted) as stopped:
        pretrain(make_recipe(), tmp_path, log=interrupt)
    assert (stopped.value.step, "--resume" in stopped.value.resume) == (4, True)
    pretrain(make_recipe(), tmp_path, resume=True, log=silent)
    for name in (CHECKPOINT, "model.safetensors"):
        expected, found = load_file(finished[1] / name), load_file(tmp_path / name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)


@pytest.mark.parametrize(
    ("changed", "differing"),
    [
        ({"data": {"vocabulary": 12, "held_out_tokens": 601}}, "data"),
        ({"data": {"vocabulary": 12, "held_out_tokens": 600, "source": "iid"}}, "data"),
        ({"train": {"seed": 1}}, "seed"),
    ],
)
def test_resuming_another_training_is_refused(
    finished: tuple[SyntheticResult, Path], changed: dict[str, Any], differing: str
) -> None:
    before = (finished[1] / CHECKPOINT).read_bytes()
    with pytest.raises(CheckpointError, match=f"differs in: {differing}"):
        pretrain(make_recipe(**changed), finished[1], resume=True, log=silent)
    with pytest.raises(UsageError, match="--resume"):
        pretrain(make_recipe(), finished[1], log=silent)
    assert (finished[1] / CHECKPOINT).read_bytes() == before


# --- what comes out


def test_the_loss_is_what_transformers_computes(finished: tuple[SyntheticResult, Path]) -> None:
    result, output = finished
    model, report = GPT2LMHeadModel.from_pretrained(output, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    held_out = SyntheticObjective(make_recipe(), "").held_out
    nats = 0.0
    for start in range(0, len(held_out) - 1, 32):
        window = torch.from_numpy(held_out[start : start + 33])[None]
        with torch.no_grad():
            logits = model.eval()(window[:, :-1]).logits[0]
        nats -= sum(float(logits[place].log_softmax(-1)[window[0, place + 1]]) for place in range(len(logits)))
    assert result.validation_loss == pytest.approx(nats / (len(held_out) - 1), rel=1e-4)


def test_the_folder_is_a_source_of_weights(finished: tuple[SyntheticResult, Path]) -> None:
    output = finished[1]
    backbone = load_gpt2(open_weights(f"path:{output}"))
    assert (backbone.blocks, backbone.width, backbone.max_positions) == (2, 32, 32)
    stored = load_file(output / "model.safetensors")
    assert torch.equal(backbone.state_dict()["h.1.mlp.c_fc.weight"], stored["h.1.mlp.c_fc.weight"])


@pytest.mark.parametrize("source", ["markov", "iid"])
def test_card_names_source_and_floor(tmp_path: Path, source: str) -> None:
    recipe = make_recipe({"max_steps": 1}, data={"source": source, "vocabulary": 12, "held_out_tokens": 600})
    result = pretrain(recipe, tmp_path / "tiny", log=silent)
    card = (tmp_path / "tiny" / "README.md").read_text("utf-8")
    assert "**It is no\nlanguage model**" in card
    assert f"| entropy rate of the source: the floor of the expected loss | {result.entropy_rate:.4f} |" in card
    assert f"| loss | **{result.validation_loss:.4f}** |" in card
    assert ("Markov chain of order 1" if source == "markov" else "independently of all others") in card
    assert ("--profile iid" in card) == (source == "iid")
    assert str(tmp_path) not in card


def test_card_of_a_procedure(tmp_path: Path) -> None:
    data = {"source": "automaton", "length": [5, 9], "rows": 3, "held_out_tokens": 600}
    recipe = make_recipe({"max_steps": 1}, data=data)
    result = pretrain(recipe, tmp_path / "tiny", log=silent)
    card = (tmp_path / "tiny" / "README.md").read_text("utf-8")
    assert "of rule 110 on a ring: a random first row of 5 to 9 cells, and the 3 rows" in card
    assert "| knowing nothing | 1.3863 |" in card, "four symbols"
    assert "entropy rate" not in card
    assert result.entropy_rate is None
    assert json.loads((tmp_path / "tiny" / "config.json").read_text())["vocab_size"] == 4
    pretrain(recipe, tmp_path / "tiny", resume=True, log=silent)


def test_export_without_a_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no recipe\.json"):
        export(tmp_path, tmp_path / "x", log=silent)


# --- command line


def command(*arguments: str) -> int | str | None:
    """Exit code of ``fptkit pretrain``."""
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *arguments])
    return ended.value.code


def test_command_with_the_shipped_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("pretrain_synthetic", "--profile", "smoke", "--output", "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 20
    assert told["source_loss"] < told["validation_loss"]
    assert command("pretrain_synthetic", "--profile", "smoke", "--output", "out") == 2
    assert "out holds a pretraining already" in capsys.readouterr().err
    assert command("out/recipe.json", "--output", "out", "--resume") == 0, "the saved recipe goes on"


def test_faults_have_their_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "kind: synthetic\ndata:\n  source: marcov\n  temprature: 1\ntokenizer: {}\ntrain:\n  max_steps: 0\n"
    Path("x.yaml").write_text(text, "utf-8")
    assert command("x.yaml") == 2
    told = capsys.readouterr().err
    allowed = "one of markov, iid, brackets, stack, automaton, recall, bit_memory"
    assert f"x.yaml:3  data.source: expected {allowed}, got 'marcov'" in told
    assert "x.yaml:4  data: unknown key 'temprature'. Did you mean 'temperature'?" in told
    assert "x.yaml:5" in told
    assert "unknown key 'tokenizer'" in told
    assert "x.yaml:7  train.max_steps" in told
    assert list(tmp_path.iterdir()) == [tmp_path / "x.yaml"], "nothing was run"
