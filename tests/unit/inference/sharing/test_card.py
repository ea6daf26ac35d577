"""The model card: sources first, figures with their intervals, licences, and valid metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from whole_runs import start

from fptkit.inference.sharing.card import Card
from fptkit.inference.sharing.push import prepared


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("run")
    (base / "tiny.yaml").write_text(
        "task: {name: bit_xor, bits: 3, validation_size: 20, test_size: 30}\n"
        "backbone: {name: random, blocks: 1, width: 16, heads: 2, size: nano}\n"
        "train: {batch_size: 8, max_steps: 2, validate_every: 1, patience: null}\nthreads: 1\n"
    )
    start(base / "tiny.yaml", base / "run")
    return base / "run"


def card_of(run: Path, licence: str = "", **changes: Any) -> Card:
    """The card of a run whose summary has other values."""
    path = run / "summary.json"
    before = path.read_text()
    summary = json.loads(before)
    del summary["own_digest"]
    for name, value in changes.items():
        summary[name] = {**summary[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(summary))
    try:
        return prepared(run, "me/tiny", licence=licence)[1]
    finally:
        path.write_text(before)


def test_the_hub_reads_its_metadata(run: Path) -> None:
    card = ModelCard(card_of(run, "Apache 2.0").text)
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "fptkit"
    assert {"fptkit", "bit_xor", "random"} <= set(card.data.tags)
    metrics = json.loads((run / "summary.json").read_text())["metrics"]["test"]["test"]
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == metrics
    assert {result.dataset_split for result in card.data.eval_results} == {"test"}


def test_base_model_and_data_set_are_those_of_the_hub(run: Path) -> None:
    card = card_of(run, task={"source": "hub:you/birds@main"}, backbone={"weights": "hub:openai/gpt2"})
    metadata = yaml.safe_load(card.text.split("---\n")[1])
    assert metadata["datasets"] == ["you/birds"]
    assert metadata["base_model"] in ("openai/gpt2", ["openai/gpt2"])


def test_sources_and_stand_ins_come_first(run: Path) -> None:
    text = card_of(run, task={"stand_in": True}, warnings=["few examples"], notes=["made up"]).text
    first = text.partition("# tiny\n")[2].partition("\n## ")[0]
    assert "**Data**: task `bit_xor`, `generated`. **This is a stand-in (fallback)" in first
    assert "- few examples" in first
    assert "- made up" in first
    assert "**Frozen weights**: backbone `random`, `random`, initialised as `random`.\n" in first


def test_a_smoke_budget_is_said_first(run: Path) -> None:
    path = run / "recipe.yaml"
    before = path.read_text()
    path.write_text(before.replace("profile: null", "profile: smoke"))
    try:
        text = card_of(run).text
    finally:
        path.write_text(before)
    assert "**Smoke budget**" in text.partition("\n## ")[0]


def test_recorded_intervals_are_shown(run: Path) -> None:
    """As the assessment of the run has them; a figure of another value has none."""
    assessed = json.loads((run / "assessment.json").read_text())["splits"]["test"]
    low, high = assessed["answers"]["interval"]
    text = card_of(run).text
    line = next(line for line in text.splitlines() if line.startswith("| test | accuracy"))
    assert f"{low:.2%} to {high:.2%} | {assessed['evaluated']} |" in line
    changed = card_of(run, metrics={"test": {"test": {"accuracy": 0.123}}}).text
    assert "| test | accuracy | 12.30% | – |" in changed


def test_without_an_assessment_there_are_no_intervals(run: Path) -> None:
    path = run / "assessment.json"
    moved = path.rename(run.parent / "moved.json")
    try:
        assert "| – | not recorded |" in card_of(run).text
    finally:
        moved.rename(path)


def test_a_run_without_a_test_says_so(run: Path) -> None:
    text = card_of(run, status="validated", metrics={"test": {}}).text
    assert "No test split was evaluated" in text
    assert "| validation | accuracy |" in text


@pytest.mark.parametrize(
    ("licence", "identifier", "line"),
    [
        ("", "unknown", "of the trained tensors: not stated by their owner"),
        ("MIT", "mit", "of the trained tensors: MIT"),
    ],
)
def test_licences(run: Path, licence: str, identifier: str, line: str) -> None:
    card = card_of(run, licence)
    assert card.licence == identifier
    assert f"license: {identifier}" in card.text
    assert line in card.text
    assert "of the frozen weights: they were drawn at random" in card.text
    assert "of the training data: they were generated" in card.text


def test_it_says_how_to_repeat(run: Path) -> None:
    text = card_of(run, task={"source": "path:birds.csv"}, backbone={"weights": "path:gpt2"}).text
    assert "fptkit run tiny/recipe.yaml --set task.source=path:birds.csv --set backbone.weights=path:gpt2" in text
    assert "name yours by `--weights path:FOLDER`" in text
