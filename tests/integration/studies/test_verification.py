"""Studies that really run: what they leave agrees, a changed digit in any file is found, runs repeat bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import fptkit, process
from finished_studies import change_digit

from fptkit.files import sealed
from fptkit.lab.verification.kinds import Options, verify_path

STUDY = """
tasks: {bit_xor: {extends: base/bit_xor}}
arms:
  language: {extends: base/gpt2, backbone: {weights: builtin:gpt2_nano}}
  random: {extends: base/random}
recipe_profile: smoke
learning_rates: [1e-3, 1e-2]
seeds: 1
budget: {steps: 6}
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that was locked and then run."""
    place = tmp_path_factory.mktemp("made")
    (place / "mine.yaml").write_text(STUDY, encoding="utf-8")
    assert process("study", "lock", "mine.yaml", cwd=place).returncode == 0
    done = process("study", "mine.yaml", "--workers", "1", "--threads", "1", cwd=place)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def differences(path: Path) -> list[str]:
    return [str(one) for one in verify_path(path, Options()).differences]


def test_a_study_that_was_run_agrees_and_did_as_planned(place: Path) -> None:
    done = fptkit("verify", "studies/mine", cwd=place)
    assert done.returncode == 0, done.stdout
    results = json.loads((place / "studies" / "mine" / "results.json").read_text(encoding="utf-8"))
    assert results["plan"]
    assert results["deviations"] == []
    for run in (place / "studies" / "runs").iterdir():
        assert differences(run) == []


def test_one_changed_digit_in_any_file_is_found(place: Path) -> None:
    ledger = place / "studies"
    files = [path for name in ("mine", "runs") for path in sorted((ledger / name).rglob("*")) if path.is_file()]
    with_digits = [path for path in files if any(48 <= byte <= 57 for byte in path.read_bytes())]
    assert {path.name for path in files} - {path.name for path in with_digits} == {".lock"}
    for path in with_digits:
        intact = path.read_bytes()
        for share in (0, 0.5, 1):
            count = sum(48 <= byte <= 57 for byte in intact)
            change_digit(path, round(share * (count - 1)))
            assert differences(ledger / "mine"), (path, share)
        path.write_bytes(intact)
    assert differences(ledger / "mine") == []


def test_runs_repeat_bit_for_bit_from_a_bundle(place: Path) -> None:
    assert fptkit("bundle", "mine", cwd=place).returncode == 0
    done = process("verify", "mine.zip", "--rerun", "2", cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("equal, bit for bit") == 2
    assert not list(Path(place).glob("runs")), "nothing is left"


def test_a_run_that_was_invented_is_found_by_repeating_it(place: Path) -> None:
    """Files that agree with each other prove nothing about how they were made; repeating the run does."""
    ledger = place / "studies"
    for run in (ledger / "runs").iterdir():
        path = run / "summary.json"
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        for metrics in (summary["metrics"]["validation"], *summary["metrics"]["test"].values(), *lines):
            if "accuracy" in metrics:
                metrics["accuracy"] = 0.5 + metrics["accuracy"] / 2  # keeps the order, and so the choice of rates
        del summary["own_digest"]
        path.write_text(json.dumps(sealed(summary), indent=2) + "\n", encoding="utf-8")
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert differences(ledger / "mine")
    done = process("study", "mine.yaml", cwd=place)  # makes results and manifest of the invented figures
    assert done.returncode == 0, done.stderr
    assert "0 runs carried out" in done.stderr
    assert differences(ledger / "mine") == []
    done = process("verify", "studies/mine", "--rerun", "1", cwd=place)
    assert done.returncode == 1
    assert "metrics.validation.accuracy: 0." in done.stdout


def test_another_study_that_continues_runs_raises_no_alarm(place: Path) -> None:
    other = STUDY.replace("[1e-3, 1e-2]", "[RATE]")
    results = json.loads((place / "studies" / "mine" / "results.json").read_text(encoding="utf-8"))
    untested = {row["learning_rate"] for row in results["runs"] if row["status"] == "validated"}
    assert untested, "one of the two rates of each arm was not chosen, so its test was not opened"
    for rate in untested:
        (place / "other.yaml").write_text(other.replace("RATE", f"{rate:g}"), encoding="utf-8")
        done = process("study", "other.yaml", cwd=place)
        assert done.returncode == 0, done.stderr
    done = fptkit("verify", "studies/mine", cwd=place)
    assert done.returncode == 0, done.stdout
    assert "continued since the results were written, by another study or call" in done.stderr
    refused = fptkit("bundle", "mine", cwd=place)
    assert refused.returncode == 2
    assert "runs were continued since the results were written" in refused.stderr
    done = process("study", "mine.yaml", cwd=place)
    assert done.returncode == 0, done.stderr
    for name in ("mine", "other"):
        done = fptkit("verify", f"studies/{name}", cwd=place)
        assert done.returncode == 0, done.stdout
        assert "continued" not in done.stderr
