"""From a file that pandas wrote to a trained language model with its own words, by the page's own example."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from own_data import margin, run_example
from safetensors import safe_open

from fptkit.engine.preparation import read_preparation
from fptkit.engine.run import RunRequest, run
from fptkit.errors import DataError
from fptkit.files import read_json
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins
from fptkit.sources.weights import PACKAGED

pytest.importorskip("pandas")

FEW = ("train.max_steps=2", "train.validate_every=2")


@pytest.mark.slow
def test_the_example_of_the_page_beats_the_majority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = run_example("text.md", tmp_path, monkeypatch)
    assert margin(summary) >= 0.25
    for file in (tmp_path / "run").rglob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            assert not [name for name in opened.keys() if "encoder" in name]  # noqa: SIM118  # not a mapping
    (tmp_path / "reviews.csv").rename(tmp_path / "new.csv")
    saved = read_preparation(tmp_path / "run", load_plugins(selection=""))
    assert saved.encoder == "word_embeddings"
    assert saved.preparation is not None
    assert len(saved.preparation.prepare(saved.preparation.read(["path:new.csv"]))) == 800


def test_tokenizer_and_words_are_those_of_the_backbone_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_example("text.md", tmp_path, monkeypatch, *FEW)
    shutil.copytree(PACKAGED / "gpt2_nano", tmp_path / "w")
    (tmp_path / "r.yaml").write_text(
        "task: {name: text, source: path:reviews.csv}\nbackbone: {name: gpt2, weights: [path:w], blocks: {keep: 1}}\n"
        "train: {batch_size: 8}\nthreads: 1\n"
    )
    summary = run(RunRequest(load_recipe("r.yaml", overrides=list(FEW)), tmp_path / "own"))
    assert summary["encoder"] == "word_embeddings"
    assert "tokens of path:w" in "\n".join(summary["notes"])
    assert "tokenizer" in summary["data"]["other_parts"]
    assert read_json(tmp_path / "own/preparation.json")["preparation"]["vocabulary"]["source"] == "path:w"
    assert (tmp_path / "own/tokenizer.json").read_bytes() == (tmp_path / "w/tokenizer.json").read_bytes()
    (tmp_path / "own/tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="not the tokenizer that the run was trained with"):
        read_preparation(tmp_path / "own", load_plugins(selection=""))


def test_a_body_of_transformers_with_its_own_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BertConfig, BertModel

    run_example("text.md", tmp_path, monkeypatch, *FEW)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=4096, **sizes)).save_pretrained(tmp_path / "bert")
    shutil.copy(PACKAGED / "gpt2_nano/tokenizer.json", tmp_path / "bert")
    (tmp_path / "r.yaml").write_text(
        "task: {name: text, source: path:reviews.csv, begin: <|endoftext|>}\n"
        "backbone: {name: bert, weights: path:bert}\n"
        "train: {batch_size: 8}\nthreads: 1\n"
    )
    summary = run(RunRequest(load_recipe("r.yaml", overrides=list(FEW)), tmp_path / "bert_run"))
    assert summary["status"] == "finished"
    other = load_recipe("r.yaml", overrides=[*FEW, "task.bytes=true", "task.begin=null"])
    assert run(RunRequest(other, tmp_path / "bytes_run"))["encoder"] == "symbols"
