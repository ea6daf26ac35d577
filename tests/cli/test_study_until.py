"""``fptkit study --seeds decided``: the plan, and a study that is killed again and again."""

from __future__ import annotations

import json
import os
import random
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
from fptkit.lab.studies.results import StudyResults

STUDY = (
    TWO_ARMS
    + """
margin: 40
budget: {steps: 5}
profiles:
  more: {seeds: {until: decided, at_least: 4, at_most: 10}}
  fixed: {seeds: 2}
"""
)

KILLS = 10


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["study", "mine.yaml", "--dry-run", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.usefixtures("folder")
def test_the_plan_has_a_smallest_and_a_largest_number_of_runs() -> None:
    lines = plan("--seeds", "decided").splitlines()
    assert lines[1].split() == ["bit_xor", "language", "1", "6", "to", "40", "6", "to", "40"]
    assert lines[-2:] == [
        "2 cells, 12 to 80 runs, 12 to 80 to do; nothing was run",
        "seeds are added where a comparison is undecided: 1 of 1 now",
    ]
    content = json.loads(plan("--seeds", "decided", "--json"))
    assert (content["runs"], content["most_runs"], content["missing"]) == (12, 80, 12)
    assert [(cell["runs"], cell["most_runs"]) for cell in content["cells"]] == [(6, 40), (6, 40)]


@pytest.mark.usefixtures("folder")
def test_a_plan_with_a_fixed_number_has_one_number() -> None:
    assert plan("--profile", "fixed").splitlines()[-1] == "2 cells, 8 runs, 8 to do; nothing was run"
    content = json.loads(plan("--json"))
    assert content["runs"] == content["most_runs"] == 8


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        (["--profile", "more"], (16, 40)),
        (["--profile", "more", "--seeds", "decided"], (16, 40)),
        (["--seeds", "decided", "--set", "seeds.at_most=5"], (12, 20)),
        (["--set", "seeds={until: decided, at_least: 5, at_most: 5}"], (20, 20)),
        (["--profile", "more", "--seeds", "3"], (12, 12)),
    ],
)
def test_limits_of_the_file_and_of_the_command_line(arguments: list[str], runs: tuple[int, int]) -> None:
    content = json.loads(plan(*arguments, "--json"))
    assert (content["runs"], content["most_runs"]) == runs


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "decide"], "--set seeds=decide  seeds: expected an integer or a list of integers or a mapping"),
        (["--seeds", "decided", "--set", "seeds.at_least=2"], "seeds.at_least: expected an integer >= 3, got 2"),
        (["--seeds", "decided", "--set", "seeds.at_most=0"], "seeds.at_most: expected an integer >= 3, got 0"),
        (
            ["--profile", "more", "--set", "seeds.at_most=3"],
            "at_most (3) must not be below at_least (4)",
        ),
        (["--seeds", "decided", "--set", "choose=common"], "seeds that are added until decided need choose: per_seed"),
        (["--seeds", "decided", "--set", "seeds.atmost=9"], "unknown key 'atmost'. Did you mean 'at_most'?"),
    ],
)
def test_faults(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, ["study", "mine.yaml", "--dry-run", *arguments])
    assert done.exit_code
    assert message in str(done.exception)


def started(ledger: Path) -> int:
    """Number of runs that have begun, and of those that have ended."""
    return len(list(ledger.glob("runs/*"))) + len(list(ledger.glob("runs/*/summary.json")))


def kill_once(chance: random.Random, *, workers_too: bool) -> bool:
    """Start the study, and kill it a random time after it has begun something new; false if it ended before that."""
    command = [sys.executable, "-m", "fptkit", "study", "mine.yaml", "--seeds", "decided", "--ledger", "parts"]
    before, deadline = started(Path("parts")), time.monotonic() + 120
    with Path("log.txt").open("a") as log:
        study = subprocess.Popen(
            [*command, "--workers", "2", "--threads", "1"], stdout=log, stderr=log, start_new_session=True
        )
        while started(Path("parts")) == before:
            if study.poll() is not None:
                assert study.returncode == 0, Path("log.txt").read_text()
                return False
            assert time.monotonic() < deadline, Path("log.txt").read_text()
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 0.3))  # short enough that the study does not end before ten kills
        (os.killpg if workers_too else os.kill)(study.pid, signal.SIGKILL)
        return study.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_ten_kills_change_nothing() -> None:
    chance = random.Random(1)
    kills = sum(kill_once(chance, workers_too=bool(number % 2)) for number in range(KILLS))
    assert kills >= KILLS - 3
    for ledger in ("parts", "whole"):
        done = process(
            "study", "mine.yaml", "--seeds", "decided", "--ledger", ledger, "--workers", "2", "--threads", "1",
            timeout_s=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    parts, whole = (Path(ledger, "mine", "results.json").read_text() for ledger in ("parts", "whole"))
    assert parts == whole
    assert process("verify", "parts/mine", timeout_s=120).returncode == 0
    (one,) = StudyResults.model_validate_json(whole).comparisons
    assert one.verdict in ("better", "worse", "same")
    assert one.anytime is not None
    assert one.anytime.decided_at == len(one.seeds) > 3
