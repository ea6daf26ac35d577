"""Launchers with real workers: runs in parts, faults, kills, stops."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fptkit.lab.studies.job import LOG, REQUEST, Job, carried_environment
from fptkit.lab.studies.launchers.base import Ended, Launcher, LauncherOptions
from fptkit.lab.studies.launchers.choose import make_launcher
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.load import load_recipe

PLUGIN = """
from fptkit import hookimpl, TaskSpec

@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="own_bits", summary="Bit XOR again.", target="fptkit.tasks.bits:BitXor",
                     options="fptkit.tasks.options:BitXorOptions", source="test")]
"""


def job_of(folder: Path, name: str, *overrides: str, until_step: int | None = None, open_test: bool = False) -> Job:
    loaded = load_recipe("bit_xor_random", profile="smoke", overrides=overrides)
    (folder / name).mkdir(parents=True, exist_ok=True)
    return Job(
        address=name.ljust(64, "0"),
        name=name,
        recipe=dump_recipe(loaded.recipe),
        folder=folder / name,
        working_folder=folder,
        threads=1,
        until_step=until_step,
        open_test=open_test,
        environment=carried_environment(),
    )


def ended(launcher: Launcher, number: int = 1, *, timeout_s: float = 120) -> Sequence[Ended]:
    found: list[Ended] = []
    deadline = time.monotonic() + timeout_s
    while len(found) < number and time.monotonic() < deadline:
        found += launcher.wait(1)
    assert len(found) == number, "a job did not end"
    return found


def wait_for(path: Path, text: str, *, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, f"{path} never held {text}"
        time.sleep(0.05)


def process_of(job: Job) -> int:
    return int((job.folder / LOG).read_text().splitlines()[0].rpartition("process ")[2])


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    launcher = make_launcher(LauncherOptions("local", workers=2, threads=1), tmp_path_factory.mktemp("ledger"))
    yield launcher
    launcher.close()


ENDLESS = ("train.max_steps=1000000", "train.validate_every=1000", "train.log_every=1")


@pytest.mark.slow
def test_a_job_is_carried_out_in_parts(local: Launcher, tmp_path: Path) -> None:
    for until_step, open_test, status in ((10, False, "paused"), (None, False, "validated"), (None, True, "finished")):
        job = job_of(tmp_path, "a", until_step=until_step, open_test=open_test)
        local.start(job)
        (found,) = ended(local)
        assert found.result is not None
        assert (found.job, found.result.status, found.result.reason) == (job, status, "")
        assert json.loads((job.folder / "summary.json").read_text())["status"] == status
    log = (job.folder / LOG).read_text()
    assert [line.split()[1] for line in log.splitlines() if line.startswith("--- ")][1::2] == [
        "paused",
        "validated",
        "finished",
    ]


@pytest.mark.slow
def test_a_fault_is_told_and_its_traceback_kept(local: Launcher, tmp_path: Path) -> None:
    job = job_of(tmp_path, "a", "backbone.name=gpt2", "backbone.weights=path:/no/such/folder")
    local.start(job)
    (found,) = ended(local)
    assert found.result is not None
    assert found.result.status == "failed"
    assert "/no/such/folder" in found.result.reason
    assert "Traceback" in (job.folder / LOG).read_text()


@pytest.mark.slow
def test_a_killed_worker_is_told_and_leaves_the_other(local: Launcher, tmp_path: Path) -> None:
    victim, other = job_of(tmp_path, "a", *ENDLESS), job_of(tmp_path, "b")
    local.start(victim)
    wait_for(victim.folder / "metrics.jsonl", '"step": 3')
    local.start(other)
    os.kill(process_of(victim), signal.SIGKILL)
    by_name = {end.job.name: end for end in ended(local, 2)}
    assert by_name["a"].result is None
    assert by_name["a"].death.startswith("its worker was killed by signal 9")
    assert by_name["b"].result is not None
    assert by_name["b"].result.status == "validated"


@pytest.mark.slow
def test_stopping_saves_and_the_next_worker_goes_on(local: Launcher, tmp_path: Path) -> None:
    job = job_of(tmp_path, "a", *ENDLESS)
    local.start(job)
    wait_for(job.folder / "metrics.jsonl", '"step": 3')
    local.stop()
    (found,) = ended(local)
    assert found.result is not None
    assert found.result.status == "interrupted"
    reached = json.loads((job.folder / "summary.json").read_text())["steps"]
    assert reached >= 3
    local.start(job)
    wait_for(job.folder / "metrics.jsonl", f'"step": {reached + 2},')
    local.stop()
    ended(local)
    steps = [json.loads(line)["step"] for line in (job.folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)), "no step was made twice"


@pytest.mark.slow
def test_plugins_in_single_files_reach_the_worker(local: Launcher, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(PLUGIN)
    loaded = load_recipe(
        "bit_xor_random", profile="smoke", overrides=["task.name=own_bits"], plugin_files=[tmp_path / "own.py"]
    )
    job = job_of(tmp_path, "a")
    job = Job(**{**vars(job), "recipe": dump_recipe(loaded.recipe)})
    local.start(job)
    (found,) = ended(local)
    assert found.result is not None
    assert (found.result.status, found.result.reason) == ("validated", "")
    assert "own_bits" in (job.folder / REQUEST).read_text()


@pytest.mark.slow
def test_closing_ends_what_is_under_way(tmp_path: Path) -> None:
    launcher = make_launcher(LauncherOptions("local", workers=1, threads=1), tmp_path)
    job = job_of(tmp_path, "a", *ENDLESS)
    launcher.start(job)
    wait_for(job.folder / "metrics.jsonl", '"step": 1')
    launcher.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process_of(job), 0)
