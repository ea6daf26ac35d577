"""The script ``benchmarks/reproduce.py``: the plan as a dry run, and a job in the profile smoke from end to end."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import pytest
from command_line import Done

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import reproduce

from fptkit.lab.reproduction.compared import result_of
from fptkit.lab.reproduction.differences import expected_cell, load_job
from fptkit.lab.reproduction.plan import chosen, plan
from fptkit.registry import load_plugins


def script(*arguments: str) -> Done:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            reproduce.command(list(arguments))
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def test_a_dry_run_prints_the_whole_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = script("--dry-run", "--gpu-hours", "5")
    assert done.returncode == 0, done.stderr
    *rows, last = done.stdout.splitlines()[1:]
    assert sorted(row.split()[0] for row in rows) == sorted(job.name for job in plan())
    assert all(" fptkit study " in row for row in rows)
    fits = ["does not fit" not in row for row in rows]
    assert 10 < sum(fits) < 60
    assert "66 jobs, " in last
    assert f"{sum(fits)} of them fit; assuming 10 TFLOP/s and at least 20 ms for a step" in last
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a budget: --gpu-hours N; or --dry-run"),
        (["--gpu-hours", "0", "--profile", "smoke"], "the budget is 0 hours; give a number above 0"),
        (["--dry-run", "--only", "fpt2021/minst"], "unknown job 'fpt2021/minst'. Did you mean 'fpt2021/mnist'?"),
        (["--gpu-hours", "many"], "'many' is not a valid float"),
        (["--rate", "0", "--dry-run"], "0.0 is not in the range"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = script("--folder", str(tmp_path / "plan"), *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


def test_without_a_gpu_the_plan_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = script("--folder", str(tmp_path / "plan"), "--gpu-hours", "5")
    assert done.returncode == 2
    assert "there is no GPU" in done.stderr
    assert not (tmp_path / "plan").exists()


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    done = script("--folder", str(tmp_path / "none"), "--report")
    assert done.returncode == 0
    assert "holds no finished job of this profile (paper)" in done.stdout


@pytest.mark.slow
def test_a_job_in_the_profile_smoke_is_run_compared_and_not_repeated(tmp_path: Path) -> None:
    given = ("--folder", str(tmp_path / "plan"), "--profile", "smoke", "--only", "fpt2021/bit_xor/frozen_statistics")
    done = script(*given)
    assert done.returncode == 0, done.stderr
    assert "1 jobs finished, 0 failed, 0 left" in done.stderr
    assert "profile smoke: the figures mean nothing" in done.stdout
    row = next(line for line in done.stdout.splitlines() if "frozen_statistics" in line)
    assert "100.0" in row
    assert "Tables 2 and 9, statistics, bit_xor" in row
    assert "size: ours 4 blocks of 256, theirs 12 blocks of 768" in row
    log = next((tmp_path / "plan").rglob("log.txt"))
    before = log.stat().st_mtime_ns
    assert script(*given).returncode == 0
    assert log.stat().st_mtime_ns == before

    job = chosen(plan(), given[-1:])[0]
    results = result_of(job, tmp_path / "plan", "smoke")
    assert results is not None
    made, expected = results.cells[0], expected_cell(job, load_job(job, load_plugins(selection=""), "", "smoke"))
    for fact in ("task_name", "protocol", "source", "task_options", "backbone", "weights", "init", "backbone_options",
                 "freezing", "freezing_options", "readout", "schedule", "head_options", "precision", "test_split",
                 "chosen_rate", "pretrained_on"):  # fmt: skip
        assert getattr(made, fact) == getattr(expected, fact), fact
