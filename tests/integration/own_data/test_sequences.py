"""From FASTA and JSON lines to a trained run, by the page's own example, and tagging."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from own_data import margin, run_example

from fptkit.engine.preparation import read_preparation
from fptkit.engine.run import RunRequest, run
from fptkit.errors import DataError
from fptkit.interfaces import TokenClasses
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins


@pytest.mark.slow
def test_the_example_of_the_page_beats_the_majority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = run_example("sequences.md", tmp_path, monkeypatch)
    assert margin(summary) >= 0.25
    notes = "\n".join(summary["notes"])
    assert "by group (gene)" in notes
    assert "lower case counts as upper case" in notes
    assert summary["data"]["parts"].keys() == {"promoters.fasta"}
    (tmp_path / "promoters.fasta").rename(tmp_path / "new.fasta")
    saved = read_preparation(tmp_path / "run", load_plugins(selection=""))
    assert saved.preparation is not None
    assert len(saved.preparation.prepare(saved.preparation.read(["path:new.fasta"]))) == 600


def tagged(folder: Path) -> None:
    chance = random.Random(0)
    records = []
    for _ in range(200):
        letters = chance.choices("ABCDEF", k=chance.randint(8, 24))
        label = ["?", *("vowel" if letter in "AE" else "other" for letter in letters[1:])]
        records.append({"sequence": letters, "label": [None if name == "?" else name for name in label]})
    (folder / "tags.jsonl").write_text("\n".join(map(json.dumps, records)))
    (folder / "r.yaml").write_text(
        "task: {name: sequences, source: path:tags.jsonl}\n"
        "backbone: {name: random, size: nano, blocks: 1, width: 32, heads: 2, dropout: 0.0}\n"
        "train: {learning_rate: 1e-2, batch_size: 16, max_steps: 60, validate_every: 20}\nthreads: 1\n"
    )


def test_tagging_by_a_run_and_in_micro_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "cache"))
    tagged(tmp_path)
    summary = run(RunRequest(load_recipe("r.yaml"), tmp_path / "run"))
    assert margin(summary) >= 0.25
    assert summary["metrics"]["test"]["test"]["macro_f1"] >= 0.9
    assert summary["readout"] == "all"
    saved = read_preparation(tmp_path / "run", load_plugins(selection=""))
    assert saved.output == TokenClasses(2, ("other", "vowel"))
    parts = run(RunRequest(load_recipe("r.yaml", overrides=["train.accumulate=4"]), tmp_path / "parts"))
    assert parts["metrics"]["validation"]["loss"] == pytest.approx(summary["metrics"]["validation"]["loss"], rel=1e-2)


def test_a_probe_of_tags_runs_without_the_feature_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "cache"))
    tagged(tmp_path)
    few = ["freezing.name=output_only", "train.max_steps=2", "train.validate_every=2"]
    summary = run(RunRequest(load_recipe("r.yaml", overrides=few), tmp_path / "run"))
    assert "feature cache off: the head reads every token" in "\n".join(summary["notes"])


def test_another_file_under_the_same_path_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "cache"))
    tagged(tmp_path)
    few = ["train.max_steps=2", "train.validate_every=1"]
    run(RunRequest(load_recipe("r.yaml", overrides=few), tmp_path / "run"))
    (tmp_path / "tags.jsonl").write_text((tmp_path / "tags.jsonl").read_text().replace("other", "mother"))
    with pytest.raises(DataError, match="put the original data back"):
        run(RunRequest(load_recipe("r.yaml", overrides=few), tmp_path / "run", resume=True))
