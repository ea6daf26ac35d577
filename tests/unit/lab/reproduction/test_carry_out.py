"""The plan within a budget: what is run, in which order, what is left, and how calls continue one another."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fptkit.errors import UsageError
from fptkit.lab.benchmarking.hours import Speed, Work, shown_hours
from fptkit.lab.reproduction.carry_out import SPENT, STOPPED, Outcome, Settings, carry_out, in_order
from fptkit.lab.reproduction.compared import job_folder, result_of, together
from fptkit.lab.reproduction.counts import preparing_seconds, seconds_of
from fptkit.lab.reproduction.plan import PAPER, Job, chosen, plan
from fptkit.lab.reproduction.process import start_process
from fptkit.lab.studies.results import RESULTS, CellResult, Estimate, StudyResults

SPEED = Speed()
JOBS = chosen(
    plan(),
    ["fpt2021/bit_xor/frozen_*", "fpt2021/mnist/frozen_language", "fpt2021/remote_homology/frozen_language"],
)
CHEAPEST = "fpt2021/bit_xor/frozen_language"


def hours(*names: str) -> float:
    return sum(seconds_of(job, SPEED) for job in JOBS if job.name in names) / 3600


def write_result(job: Job, folder: Path, *, complete: bool = True) -> None:
    cell = CellResult(
        task=job.figure.task, arm=job.recipe, complete=complete, metric="accuracy", fraction=True, test_split="test",
        test={"test": Estimate(values=(0.9,), mean=0.9, sem=None)}, task_name=job.figure.task, protocol="fpt2021",
        backbone="gpt2", weights="hub:openai-community/gpt2", init="pretrained", freezing="fpt", blocks=12, width=768,
    )  # fmt: skip
    results = StudyResults(
        name=job.recipe, code_version="", tasks=(cell.task,), arms=(cell.arm,), reference=cell.arm, seeds=(0,),
        learning_rates=(1e-3,), search="", budget="", confidence=0.95, cells=(cell,), comparisons=(),
    )  # fmt: skip
    place = job_folder(job, folder, PAPER)
    place.mkdir(parents=True, exist_ok=True)
    (place / RESULTS).write_text(results.model_dump_json())


class Machine:
    """Carries commands out in no time, at a given speed: a job takes ``slower`` times its estimate."""

    def __init__(self, folder: Path, slower: float = 1.0) -> None:
        self.folder, self.slower = folder, slower
        self.started: list[str] = []
        self.commands: list[list[str]] = []
        self.broken: dict[str, int] = {}
        self.done: dict[str, float] = {}  # seconds of a job that are saved

    def __call__(self, arguments: Sequence[str], log: Path, *, within_s: float, tick: Callable[[float], None]) -> int:
        self.commands.append(list(arguments))
        name = arguments[arguments.index("--ledger") + 1] if "--ledger" in arguments else arguments[1]
        name = name.removeprefix(f"{self.folder}/")
        self.started.append(name)
        if name in self.broken:
            log.write_text("some lines\nerror: no such data\n  more\n")
            return self.broken[name]
        if "--ledger" not in arguments:  # a preparation
            tick(1.0)
            return 0
        job = next(job for job in plan() if job.name == name)
        needed = seconds_of(job, SPEED) * self.slower - self.done.get(name, 0.0)
        took = min(needed, within_s)
        self.done[name] = self.done.get(name, 0.0) + took
        tick(took)
        if took < needed:
            return STOPPED
        write_result(job, self.folder)
        return 0


def call(machine: Machine, budget: float | None, jobs: Sequence[Job] = JOBS) -> Outcome:
    return carry_out(jobs, Settings(machine.folder, budget), machine, lambda line: None)


def test_the_cheapest_jobs_that_fit_are_run(tmp_path: Path) -> None:
    order = [job.name for job in in_order(JOBS, SPEED)]
    assert order[-1] == "fpt2021/remote_homology/frozen_language"
    assert seconds_of(JOBS[0], SPEED) == pytest.approx(20_000 * 0.02, rel=0.05)  # bit_xor: a step takes 20 ms
    machine = Machine(tmp_path)
    outcome = call(machine, hours(*order[:3]) * 1.001)
    assert machine.started == order[:3] == [job.name for job in outcome.finished]
    assert [job.name for job in outcome.left] == order[3:]
    assert (outcome.failed, outcome.stopped) == ({}, False)
    assert outcome.spent_s == pytest.approx(3600 * hours(*order[:3]))


def test_a_second_call_runs_nothing_twice_and_a_larger_budget_goes_further(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    budget = hours(CHEAPEST) * 1.001
    call(machine, budget)
    machine.started.clear()
    assert [job.name for job in call(machine, budget).finished] == [CHEAPEST]
    assert machine.started == []
    outcome = call(machine, 1000)
    assert len(outcome.finished) == len(JOBS)
    assert CHEAPEST not in machine.started


def test_a_slow_machine_runs_fewer_and_is_stopped_at_the_end_of_the_budget(tmp_path: Path) -> None:
    """Three times slower than assumed: known after the first job, so that no job that cannot end is started."""
    order = [job.name for job in in_order(JOBS, SPEED)]
    machine = Machine(tmp_path, slower=3)
    outcome = call(machine, 3.5 * hours(order[0]))
    assert machine.started == order[:1]
    assert not outcome.stopped
    fresh = Machine(tmp_path / "other", slower=3)
    outcome = call(fresh, 1.5 * hours(order[0]))
    assert (fresh.started, outcome.stopped, outcome.finished) == (order[:1], True, ())
    assert outcome.spent_s == pytest.approx(3600 * 1.5 * hours(order[0]))
    outcome = call(fresh, 3.1 * hours(order[0]))
    assert fresh.started == [order[0]] * 2
    assert [job.name for job in outcome.finished] == order[:1]


def test_a_job_that_fails_does_not_stop_the_others_and_is_tried_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.broken[CHEAPEST] = 1
    said: list[str] = []
    outcome = carry_out(JOBS[:3], Settings(tmp_path, 10), machine, said.append)
    assert list(outcome.failed) == [CHEAPEST]
    assert outcome.failed[CHEAPEST].startswith("no such data: more (exit code 1; ")
    assert len(outcome.finished) == 2
    assert outcome.left == ()
    assert any("failed: no such data: more" in line for line in said)
    machine.broken.clear()
    job_folder(JOBS[0], tmp_path, PAPER).mkdir(parents=True)
    assert call(machine, 10, JOBS[:3]).failed == {}
    assert "--retry-failed" in machine.commands[-1]
    assert "--retry-failed" not in machine.commands[0]


def test_what_a_job_needs_is_made_first_and_once(tmp_path: Path) -> None:
    jobs = chosen(plan(), ["fpt2021/bit_xor/frozen_bit_memory", "fpt2021/bit_memory/frozen_bit_memory"])
    assert preparing_seconds(jobs[0], SPEED) > 10
    machine = Machine(tmp_path)
    call(machine, 100, jobs)
    assert machine.started[0] == "pretrain_bit_memory"
    assert machine.started.count("pretrain_bit_memory") == 1
    assert f"{tmp_path}/bit_memory_base" in machine.commands[0]
    machine.broken["fetch"] = 3
    outcome = call(machine, 100, chosen(plan(), ["fpt2021/remote_homology/frozen_[lr]*"]))
    assert all("TAPE's data: no such data: more (exit code 3" in reason for reason in outcome.failed.values())
    assert (len(outcome.failed), machine.started.count("fetch")) == (2, 1)


def test_a_command_that_leaves_no_result_is_a_failure(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.broken[CHEAPEST] = 0
    outcome = call(machine, 100, JOBS[:1])
    assert "it ended without a result; see " in outcome.failed[CHEAPEST]
    assert outcome.finished == ()


def test_an_interruption_ends_the_call(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.broken[CHEAPEST] = STOPPED
    outcome = call(machine, 100)
    assert (outcome.stopped, outcome.failed, machine.started) == (True, {}, [CHEAPEST])
    assert len(outcome.left) == len(JOBS)


def test_damaged_files_only_cost_the_job(tmp_path: Path) -> None:
    (tmp_path / SPENT).write_text('{"a": "x", "b": -3, "c": 7, "d": true')
    write_result(JOBS[0], tmp_path, complete=False)
    assert result_of(JOBS[0], tmp_path, PAPER) is None
    (job_folder(JOBS[0], tmp_path, PAPER) / RESULTS).write_text("{")
    assert result_of(JOBS[0], tmp_path, PAPER) is None
    assert len(call(Machine(tmp_path), 100).finished) == len(JOBS)
    assert set(json.loads((tmp_path / SPENT).read_text())) >= {job.name for job in JOBS}


@pytest.mark.parametrize("budget", [0, -1, float("nan")])
def test_a_budget_is_above_zero(tmp_path: Path, budget: float) -> None:
    with pytest.raises(UsageError, match="give a number above 0"):
        call(Machine(tmp_path), budget)


def test_results_of_all_jobs_are_compared_under_their_names_in_the_plan(tmp_path: Path) -> None:
    """Two jobs that run the same recipe stay apart."""
    assert together(JOBS, tmp_path, PAPER) == {}
    for job in JOBS[:2]:
        write_result(job, tmp_path)
    found = together(JOBS, tmp_path, PAPER)
    assert [(cell.task, cell.arm) for cell in found["fpt2021"].cells] == [
        (job.figure.task, job.arm) for job in JOBS[:2]
    ]


PROGRAM = """
import signal, sys, time
def stop(*_):
    print("saved", flush=True)
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
print("started", sys.argv[1:], flush=True)
for _ in range(200):
    time.sleep(0.05)
"""


def python(text: str) -> Sequence[str]:
    return (sys.executable, "-c", text)


def test_a_process_ends_by_itself(tmp_path: Path) -> None:
    ticks: list[float] = []
    code = start_process(
        ["a b"], tmp_path / "log", within_s=60, tick=ticks.append,
        program=python("import sys; print(sys.argv[1:]); sys.exit(3)"),
    )  # fmt: skip
    assert (code, (tmp_path / "log").read_text()) == (3, "['a b']\n")
    assert 0 < ticks[-1] < 60


def test_a_process_is_interrupted_once_at_the_end_of_its_time(tmp_path: Path) -> None:
    code = start_process([], tmp_path / "log", within_s=1.0, tick=lambda seconds: None, program=python(PROGRAM))
    assert (code, (tmp_path / "log").read_text()) == (STOPPED, "started []\nsaved\n")


@pytest.mark.parametrize(
    ("number", "keyboard"),
    [
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_IGN),  # as in background processes of a shell script
    ],
)
def test_a_signal_interrupts_the_process_and_waits_for_it(tmp_path: Path, number: int, keyboard: Any) -> None:
    log, before_term = tmp_path / "log", signal.getsignal(signal.SIGTERM)

    def press() -> None:
        if wait_for("started", log):
            signal.raise_signal(number)

    before = signal.signal(signal.SIGINT, keyboard)
    try:
        threading.Thread(target=press, daemon=True).start()
        code = start_process([], log, within_s=60, tick=lambda seconds: None, program=python(PROGRAM))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, log.read_text()) == (STOPPED, "started []\nsaved\n")
    assert signal.getsignal(signal.SIGTERM) is before_term


STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, lambda *_: print("not yet", flush=True))
print("started", flush=True)
while True:
    time.sleep(0.05)
"""


def test_a_second_signal_ends_a_process_that_does_not_stop(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def press() -> None:
        for word in ("started", "not yet"):
            if wait_for(word, log):
                signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=press, daemon=True).start()
    code = start_process([], log, within_s=60, tick=lambda seconds: None, program=python(STUBBORN))
    assert (code, log.read_text()) == (STOPPED, "started\nnot yet\n"), "SIGINT once, then it is killed"


def wait_for(word: str, log: Path) -> bool:
    """Whether the word is printed within 30 seconds."""
    for _ in range(1500):
        if log.is_file() and word in log.read_text():
            return True
        time.sleep(0.02)
    return False


def test_hours_are_limited_by_operations_or_by_starting_them() -> None:
    speed = Speed(tflops=10, step_s=0.02, in_turn_s=1e-4)
    assert speed.seconds(Work(100, 1e12, 5e13)) == pytest.approx(100 * 0.1 + 5)
    assert speed.seconds(Work(100, 1e9)) == pytest.approx(100 * 0.02)
    assert speed.seconds(Work(100, 1e9, in_turn=1000)) == pytest.approx(100 * 0.1)
    assert [shown_hours(3600 * h) for h in (0.001, 0.1, 0.99, 1, 9.94, 9.96, 1234)] == [
        *("< 0.02", "0.10", "0.99", "1.0", "9.9", "10", "1,234")
    ]
