"""``fptkit study``: plan, run, kill, resume; the same results under every launcher."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import process
from written_files import TWO_ARMS

from fptkit.cli.main import cli
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.record import study_text

STUDY = (
    f"""
description: tiny
{TWO_ARMS}"""
    + """
profiles:
  short:
    learning_rates: [1e-3]
    budget: {steps: 5}
  broken:
    learning_rates: [1e-3]
    arms: {language: {backbone: {weights: "path:/no/such/folder"}}}
"""
)

ONE = """
arms:
  random: {extends: [base/bit_xor, base/random]}
recipe_profile: smoke
budget: {steps: 5}
seeds: 2
"""

WITHOUT_TORCH = """
import sys
from fptkit.cli.main import main
try:
    main(sys.argv[1:])
finally:
    heavy = [name for name in ("torch", "numpy", "scipy", "transformers") if name in sys.modules]
    print("loaded:", heavy, file=sys.stderr)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fptkit(*arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    return process("study", *arguments, timeout_s=timeout_s)


def statuses(ledger: Path) -> dict[str, str]:
    return {path.parent.name: json.loads(path.read_text())["status"] for path in ledger.glob("runs/*/summary.json")}


@pytest.mark.usefixtures("folder")
def test_the_plan_shows_cells_and_leaves_nothing() -> None:
    done = CliRunner().invoke(cli, ["study", "mine.yaml", "--dry-run"])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[1:3] == [["bit_xor", arm, "1", "4", "4"] for arm in ("language", "random")]
    assert done.stdout.splitlines()[-1] == "2 cells, 8 runs, 8 to do; nothing was run"
    assert not Path("studies").exists()


@pytest.mark.usefixtures("folder")
def test_short_options_are_settings_of_the_study() -> None:
    done = CliRunner().invoke(
        cli, ["study", "mine.yaml", "--seeds", "3", "--learning-rates", "1e-3,3e-3,1e-2", "--dry-run", "--json"]
    )
    content = json.loads(done.stdout)
    assert (content["runs"], content["missing"]) == (18, 18)
    assert [cell["runs"] for cell in content["cells"]] == [9, 9]


@pytest.mark.usefixtures("folder")
def test_a_recipe_is_studied_with_controls() -> None:
    done = CliRunner().invoke(
        cli,
        [
            "study",
            "bit_xor_gpt2",
            "--profile",
            "smoke",
            "--seeds",
            "0,7",
            "--controls=frozen_random",
            "--dry-run",
            "--json",
        ],
    )
    content = json.loads(done.stdout)
    assert [cell["arm"] for cell in content["cells"]] == ["bit_xor_gpt2", "frozen_random"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--controls=frozen_randm"], "Did you mean 'frozen_random'?"),
        (["--seeds", "none"], "seeds"),
        (["--learning-rates", "1e-3,-1"], "learning_rates"),
        (["--slurm", "partition=gpu"], "use it with --launcher slurm"),
        (["--launcher", "slurm", "--slurm", "gpu"], "expected name=value"),
        (["--profile", "shrt"], "Did you mean 'short'?"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_options_are_reported_before_anything_is_made(arguments: list[str], said: str) -> None:
    done = fptkit("mine.yaml", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not Path("studies").exists()


@pytest.mark.usefixtures("folder")
def test_the_saved_study_is_the_same_study(tmp_path: Path) -> None:
    study = load_study("mine.yaml", profile="short", overrides=["seeds=3"])
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "mine.yaml"
    path.write_text(study_text(study, ["seeds=3"], ["fptkit", "study", "mine.yaml", "--set", "seeds=3"]))
    assert "# Made by: fptkit study mine.yaml --set seeds=3\n" in path.read_text()
    again = load_study(str(path))
    assert again.settings == study.settings
    assert [cell.loaded.recipe for cell in again.cells] == [cell.loaded.recipe for cell in study.cells]


@pytest.mark.usefixtures("folder")
def test_the_saved_study_of_a_recipe_is_the_same_study(tmp_path: Path) -> None:
    overrides = ["seeds=2", "learning_rates=[1e-3]", "train.batch_size=8"]
    study = load_study("bit_xor_gpt2", profile="smoke", overrides=overrides)
    path = tmp_path / "saved.yaml"
    path.write_text(study_text(study, overrides, ["fptkit"]))
    again = load_study(str(path))
    assert [cell.loaded.recipe.train for cell in again.cells] == [cell.loaded.recipe.train for cell in study.cells]
    assert (again.arms, again.tasks) == (study.arms, study.tasks)
    assert (again.settings.seeds, again.settings.learning_rates) == (
        study.settings.seeds,
        study.settings.learning_rates,
    )


@pytest.mark.slow
def test_a_killed_study_makes_only_the_missing_runs(folder: Path) -> None:
    command = [sys.executable, "-m", "fptkit", "study", "mine.yaml", "--workers", "2", "--threads", "1"]
    with (folder / "first.txt").open("w") as output:
        first = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 240
        while list(statuses(folder / "studies").values()).count("validated") < 3:
            assert time.monotonic() < deadline, (folder / "first.txt").read_text()
            time.sleep(0.1)
        first.send_signal(signal.SIGKILL)
        first.wait()
    made = {name for name, status in statuses(folder / "studies").items() if status in ("validated", "finished")}
    logs = {name: (folder / "studies" / "runs" / name / "log.txt").read_text() for name in made}
    second = fptkit("mine.yaml", "--workers", "2", "--threads", "1")
    assert second.returncode == 0, second.stderr
    ended = list(statuses(folder / "studies").values())
    assert set(ended) == {"finished", "validated"}
    assert len(ended) == 8
    assert ended.count("finished") >= 4, "each seed of each arm at the rate it chose, and at the common one"
    for name in made:  # at most their test was opened: they were not trained again
        lines = (folder / "studies" / "runs" / name / "metrics.jsonl").read_text().splitlines()
        steps = [record["step"] for record in map(json.loads, lines) if record["split"] == "train"]
        assert steps == sorted(set(steps))
        assert (folder / "studies" / "runs" / name / "log.txt").read_text().startswith(logs[name])
    results = (folder / "studies" / "mine" / "results.json").read_bytes()
    whole = fptkit("mine.yaml", "--workers", "2", "--threads", "1", "--ledger", "whole")
    assert whole.returncode == 0, whole.stderr
    assert (folder / "whole" / "mine" / "results.json").read_bytes() == results

    third = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "study", "mine.yaml"], capture_output=True, text=True, timeout=60
    )
    assert third.returncode == 0, third.stderr
    assert "0 runs carried out, 8 in total" in third.stderr
    assert "loaded: []" in third.stderr
    assert (folder / "studies" / "mine" / "results.json").read_bytes() == results


@pytest.mark.slow
def test_a_signal_saves_and_the_same_command_resumes(folder: Path) -> None:
    command = [sys.executable, "-m", "fptkit", "study", "mine.yaml", "--workers", "1", "--threads", "1"]
    long = ["--profile", "short", "--set", "budget.steps=100000"]
    study = subprocess.Popen([*command, *long], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in folder.glob("studies/runs/*/metrics.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    study.send_signal(signal.SIGINT)
    _, errors = study.communicate(timeout=120)
    assert study.returncode == 130
    assert "stopping: 1 running, saving" in errors
    assert "stopped; run the same command again to continue" in errors
    assert list(statuses(folder / "studies").values()) == ["interrupted"]
    assert os.listdir(folder / "studies" / "sessions") == []


@pytest.mark.slow
def test_a_broken_arm_is_named_and_the_others_finish(folder: Path) -> None:
    done = fptkit("mine.yaml", "--profile", "broken", "--quiet")
    assert done.returncode == 1
    assert "error: arm language: 2 runs failed" in done.stderr.splitlines()
    assert "--retry-failed" in done.stderr
    assert list(statuses(folder / "studies").values()) == ["finished", "finished"]
    assert (folder / "studies" / "mine-broken" / "report.md").exists()


@pytest.mark.slow
def test_every_launcher_gives_the_same_results(folder: Path) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("submitit")
    (folder / "one.yaml").write_text(ONE)
    launchers = {
        "local": [],
        "ray": ["--launcher", "ray"],
        "slurm": ["--launcher", "slurm", "--slurm", "cluster=local"],
    }
    results = {}
    for name, options in launchers.items():
        done = fptkit("one.yaml", "--workers", "2", "--threads", "1", "--ledger", name, *options)
        assert done.returncode == 0, done.stderr
        results[name] = (folder / name / "one" / "results.json").read_bytes()
    assert results["local"] == results["ray"] == results["slurm"]
    assert list(statuses(folder / "local").values()) == ["finished"] * 2
