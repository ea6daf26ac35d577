"""The files of one run agree with each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finished_studies import TWO_ARMS, change_digit, load, make_runs

from fptkit.lab.verification.consistency import check_run, read_yaml
from fptkit.lab.verification.differences import Findings


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_runs(load(tmp_path, TWO_ARMS, "seeds=1"), tmp_path)
    return min((tmp_path / "runs").iterdir())


def found(run: Path, *, tensors: bool = True) -> list[str]:
    findings = Findings()
    check_run(run, "run", findings, tensors=tensors)
    return [str(difference) for difference in findings.differences]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_an_untouched_run_agrees(run: Path) -> None:
    assert found(run) == []


def test_metrics_of_the_summary_are_those_of_the_best_step(run: Path) -> None:
    edit(run / "summary.json", lambda content: content["metrics"]["test"]["test"].update(loss=3.5))
    (line,) = found(run)
    assert line.startswith("run/summary.json: metrics.test.test.loss: 3.5, but 0.")
    assert line.endswith(" in metrics.jsonl")


def test_a_metric_that_was_added_is_found(run: Path) -> None:
    edit(run / "summary.json", lambda content: content["metrics"]["validation"].update(f1=1.0))
    assert found(run) == ["run/summary.json: metrics.validation.f1: 1.0, but absent in metrics.jsonl"]


def test_a_split_that_was_never_reported_is_found(run: Path) -> None:
    edit(run / "summary.json", lambda content: content["metrics"]["test"].update(other={"accuracy": 1.0}))
    (line,) = found(run)
    assert line.startswith("run/summary.json: metrics.test.other: metrics.jsonl has no line of other at step ")


def test_of_repeated_lines_the_last_counts(run: Path) -> None:
    """A run that went back to a checkpoint validates the same step again."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([*lines[:2], *lines]), encoding="utf-8")
    assert found(run) == []


def test_a_line_that_is_no_json_is_found(run: Path) -> None:
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "spl')
    assert found(run) == ["run/metrics.jsonl: line 6: is not a JSON object"]
    edit(run / "summary.json", lambda content: content.update(status="lost"))
    assert found(run) == [], "a killed run may leave half a line"


def test_steps_are_those_of_the_checkpoint_and_of_the_model(run: Path) -> None:
    edit(run / "summary.json", lambda content: content.update(steps=101))
    assert found(run) == ["run/summary.json: steps: 101, but the newest checkpoint has step 100"]
    edit(run / "summary.json", lambda content: content.update(steps=100))
    edit(run / "model.json", lambda content: content.update(step=7))
    (line,) = found(run)
    assert line.startswith("run/summary.json: best_step: ")
    assert line.endswith(", but model.json has step 7")


def test_rate_and_seed_are_those_of_the_recipe(run: Path) -> None:
    edit(run / "summary.json", lambda content: content.update(seed=7))
    assert found(run) == ["run/recipe.yaml: train.seed: 0, but 7 in summary.json"]


@pytest.mark.parametrize("file", ["model.safetensors", "checkpoints/step-00000100/trained.safetensors"])
def test_tensors_have_their_digests(run: Path, file: str) -> None:
    change_digit(run / file)
    assert found(run)[0].startswith(f"run/{file}: its digest is not the one in ")
    assert found(run, tensors=False) == []


def test_a_run_without_tensors_or_metrics_is_checked_as_far_as_possible(run: Path) -> None:
    (run / "model.safetensors").unlink()
    (run / "metrics.jsonl").unlink()
    (run / "recipe.yaml").unlink()
    assert found(run) == []


def test_a_damaged_summary_is_found(run: Path) -> None:
    (run / "summary.json").write_text("{", encoding="utf-8")
    (line,) = found(run)
    assert "is not readable as JSON" in line


@pytest.mark.parametrize("text", ["", "a: [", "- 1\n", "\0"])
def test_yaml_that_is_no_mapping_counts_as_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml") == {}
    assert read_yaml(tmp_path / "missing.yaml") == {}


def test_nothing_outside_the_folder_is_read(run: Path) -> None:
    """Its files may come from somebody else."""
    secret = run.parent / "secret.safetensors"
    secret.write_bytes(b"x")
    edit(run / "model.json", lambda content: content.update(files={"../secret.safetensors": "0", "/etc/passwd": "0"}))
    assert found(run) == []


def test_deeply_nested_lines_are_no_json(run: Path) -> None:
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("[" * 100_000 + "\n")
    assert found(run) == ["run/metrics.jsonl: line 6: is not a JSON object"]
