"""Carrying out a study: what is started, in which order, and what happens when workers fail. Nothing is trained."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console
from scripted_launcher import ScriptedLauncher, carry_out, trained, write
from written_files import TWO_ARMS

from fptkit.errors import FptkitError
from fptkit.lab.studies.job import Job, JobResult
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import CellName, Study
from fptkit.lab.studies.progress import CellProgress, LineView, StudyProgress, draw
from fptkit.lab.studies.runner import StudyEnd, StudyRunner


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "mine.yaml").write_text(TWO_ARMS)
    return load_study(str(tmp_path / "mine.yaml"))


def test_every_rate_is_trained_and_the_test_opened_at_the_best(study: Study, tmp_path: Path) -> None:
    launcher = ScriptedLauncher()
    end = carry_out(study, tmp_path / "s", launcher)
    assert len(launcher.started) == 8 + 4
    assert {job.name for job in launcher.started if job.open_test} == {
        f"{arm} on bit_xor, rate 0.01, seed {seed}" for arm in ("language", "random") for seed in (0, 1)
    }
    assert (end.started, len(end.outcomes), list(end.failed), end.signal_number) == (8, 8, [], 0)
    assert launcher.most_at_once == 2
    assert launcher.closed


def test_cells_come_in_order_and_seeds_before_rates(study: Study, tmp_path: Path) -> None:
    launcher = ScriptedLauncher(slots=1)
    carry_out(study, tmp_path / "s", launcher)
    trainings = [job.name for job in launcher.started if not job.open_test]
    assert trainings[:4] == [
        f"language on bit_xor, rate {rate}, seed {seed}" for seed in (0, 1) for rate in ("0.001", "0.01")
    ]
    assert all(name.startswith("random") for name in trainings[4:])
    assert [job.open_test for job in launcher.started[4:6]] == [True, True], "a cell is completed before the next"


def test_the_second_time_there_is_nothing_to_do(study: Study, tmp_path: Path) -> None:
    first = carry_out(study, tmp_path / "s", ScriptedLauncher())

    def none_needed(_: Sequence[str]) -> ScriptedLauncher:
        raise AssertionError("a launcher was made")

    with Ledger(tmp_path / "s") as ledger:
        second = StudyRunner(study, ledger, none_needed, LineView(Console(quiet=True))).carry_out()
    assert second.started == 0
    assert second.outcomes == first.outcomes


def test_another_study_shares_the_runs_it_has_in_common(study: Study, tmp_path: Path) -> None:
    carry_out(study, tmp_path / "s", ScriptedLauncher())
    (tmp_path / "other.yaml").write_text(TWO_ARMS.replace("seeds: 2", "seeds: 3").replace("random:", "another_name:"))
    end = carry_out(load_study(str(tmp_path / "other.yaml")), tmp_path / "s", ScriptedLauncher())
    assert (end.started, len(end.outcomes)) == (4, 12), "the third seed alone"


def test_two_arms_that_are_the_same_run_are_run_once(study: Study, tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text(TWO_ARMS + "targets: {}\n")
    text = TWO_ARMS.replace("  random:", "  again: {extends: [base/bit_xor, base/random]}\n  random:")
    (tmp_path / "twice.yaml").write_text(text)
    launcher = ScriptedLauncher()
    end = carry_out(load_study(str(tmp_path / "twice.yaml")), tmp_path / "s", launcher)
    assert len(end.outcomes) == 8
    assert len({(job.address, job.open_test) for job in launcher.started}) == len(launcher.started) == 12


def test_a_failed_arm_leaves_the_others_and_is_named(study: Study, tmp_path: Path) -> None:
    def script(job: Job, number: int) -> JobResult:
        return JobResult("failed", "no such weights\nadvice") if job.name.startswith("language") else trained(job)

    console = Console(record=True, width=200)
    end = carry_out(study, tmp_path / "s", ScriptedLauncher(script), console=console)
    assert [missing.cell.arm for missing in end.failed] == ["language"] * 4
    assert end.failed[0].text.startswith("language on bit_xor, rate 0.001, seed 0: no such weights (log: ")
    random = [outcome for outcome in end.outcomes.values() if outcome.status == "finished"]
    assert len(random) == 2
    assert "failed: no such weights" in console.export_text()

    again = ScriptedLauncher()
    assert len(carry_out(study, tmp_path / "s", again).failed) == 4
    assert again.started == [], "what failed is not tried again unasked"
    retried = carry_out(study, tmp_path / "s", ScriptedLauncher(), retry_failed=True)
    assert (retried.started, list(retried.failed)) == (4, [])


def test_a_run_whose_worker_died_is_tried_once_more(study: Study, tmp_path: Path) -> None:
    victim = "language on bit_xor, rate 0.001, seed 0"

    def script(job: Job, number: int) -> JobResult | str:
        return "killed by signal 9" if job.name == victim and number == 1 else trained(job)

    launcher = ScriptedLauncher(script)
    end = carry_out(study, tmp_path / "s", launcher)
    assert not end.failed
    assert sum(job.name == victim and not job.open_test for job in launcher.started) == 2
    assert len(launcher.started) == 13


def test_a_run_whose_worker_dies_twice_has_failed(study: Study, tmp_path: Path) -> None:
    victim = "language on bit_xor, rate 0.001, seed 0"

    def script(job: Job, number: int) -> JobResult | str:
        return "killed by signal 9" if job.name == victim else trained(job)

    end = carry_out(study, tmp_path / "s", ScriptedLauncher(script))
    assert [missing.outcome.reason for missing in end.failed] == ["killed by signal 9; tried 2 times"]


def test_a_worker_that_died_after_its_summary_is_not_lost(study: Study, tmp_path: Path) -> None:
    def script(job: Job, number: int) -> JobResult | str:
        trained(job)
        return "killed by signal 9"

    launcher = ScriptedLauncher(script)
    assert not carry_out(study, tmp_path / "s", launcher).failed
    assert len(launcher.started) == 12


def test_a_worker_that_never_gets_anywhere_is_given_up(study: Study, tmp_path: Path) -> None:
    def script(job: Job, number: int) -> JobResult:
        write(job, status="paused", steps=3)
        return JobResult("paused")

    launcher = ScriptedLauncher(script)
    end = carry_out(study, tmp_path / "s", launcher)
    assert len(launcher.started) == 16
    assert {m.outcome.reason for m in end.failed} == {
        "it is paused at step 3, before the requested step; tried 2 times"
    }


def test_a_machine_that_starts_no_worker_ends_the_study_and_no_run_has_failed(study: Study, tmp_path: Path) -> None:
    class Broken(ScriptedLauncher):
        def start(self, job: Job) -> None:
            if len(self.started) == 3:
                raise FptkitError("no worker can be started on this machine")
            super().start(job)

    launcher = Broken()
    with pytest.raises(FptkitError, match="no worker can be started"):
        carry_out(study, tmp_path / "s", launcher)
    assert launcher.closed
    again = ScriptedLauncher()
    end = carry_out(study, tmp_path / "s", again)
    assert (len(end.outcomes), list(end.failed)) == (8, [])
    whole = carry_out(study, tmp_path / "other", ScriptedLauncher())
    assert end.outcomes == whole.outcomes


def test_a_diverged_rate_is_no_failure(study: Study, tmp_path: Path) -> None:
    def script(job: Job, number: int) -> JobResult:
        if "rate 0.01" not in job.name:
            return trained(job)
        write(job, status="diverged", steps=3, reason="loss is nan")
        return JobResult("diverged", "loss is nan")

    launcher = ScriptedLauncher(script)
    end = carry_out(study, tmp_path / "s", launcher)
    assert not end.failed
    assert {job.name.split(",")[1] for job in launcher.started if job.open_test} == {" rate 0.001"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_what_is_under_way_save_and_starts_nothing_more(
    study: Study, tmp_path: Path, number: signal.Signals
) -> None:
    def script(job: Job, tries: int) -> JobResult:
        if launcher.stopped:
            write(job, status="interrupted", steps=7)
            return JobResult("interrupted")
        os.kill(os.getpid(), number)
        return trained(job)

    launcher = ScriptedLauncher(script)
    end = carry_out(study, tmp_path / "s", launcher)
    assert end.signal_number == number
    assert (launcher.stopped, launcher.closed) == (True, True)
    statuses = sorted(outcome.status for outcome in end.outcomes.values())
    assert statuses == ["interrupted", "validated", *["waiting"] * 6]
    assert carry_out(study, tmp_path / "s", ScriptedLauncher()).started == 7, "all but the one that ended"


def test_a_second_ctrl_c_ends_at_once(study: Study, tmp_path: Path) -> None:
    def script(job: Job, tries: int) -> JobResult:
        os.kill(os.getpid(), signal.SIGINT)
        return trained(job)

    launcher = ScriptedLauncher(script)
    end = carry_out(study, tmp_path / "s", launcher)
    assert (end.signal_number, launcher.closed) == (signal.SIGINT, True)
    with Ledger(tmp_path / "s") as ledger:
        assert all(ledger.outcome(address).status != "running" for address in end.outcomes)


def test_runs_of_another_process_are_waited_for(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fptkit.lab.studies.runner.POLL_S", 0.02)
    monkeypatch.setattr("fptkit.lab.studies.runner.LEDGER_POLL_S", 0.05)
    started: list[str] = []
    gate = threading.Event()

    def slow(job: Job, number: int) -> JobResult:
        gate.wait(10)
        return trained(job)

    ends: list[StudyEnd] = []
    other = ScriptedLauncher(slow, slots=3)
    thread = threading.Thread(target=lambda: ends.append(carry_out(study, tmp_path / "s", other)))
    thread.start()
    while len(other.started) < 3:
        pass

    def fast(job: Job, number: int) -> JobResult:
        started.append(job.name)
        if len(started) == 5:
            gate.set()
        return trained(job)

    ends.append(carry_out(study, tmp_path / "s", ScriptedLauncher(fast, slots=1)))
    thread.join()
    one, two = ends
    told = [{address: (found.status, found.step) for address, found in end.outcomes.items()} for end in (one, two)]
    assert told[0] == told[1]
    assert one.started + two.started <= 8 + 4, "a test may be opened by the process that did not train the run"
    assert {outcome.status for outcome in one.outcomes.values()} == {"finished", "validated"}
    trainings = [job.address for job in other.started if not job.open_test]
    assert len(trainings) == 3, "five were the other's"


CELLS = [
    CellProgress(CellName(task, arm), state, done, 9, running, rate, value, chosen)  # type: ignore[arg-type]
    for task in (f"task_{number}" for number in range(15))
    for arm, state, done, running, rate, value, chosen in [
        ("language", "done", 9, 0, 1e-3, 0.9123, True),
        ("unfrozen_random", "running", 4, 2, 3e-3, 0.5, False),
        ("synthetic_pretrained", "waiting", 0, 0, None, None, False),
        ("no_backbone", "failed", 8, 0, 1e-2, 0.4, True),
    ]
]


def drawn(width: int, height: int, cells: Sequence[CellProgress] = CELLS) -> list[str]:
    progress = StudyProgress("rq2_pretraining_modality (smoke)", cells, 45, 540, 2, 1, 3, 400.0)
    console = Console(width=width, height=height)
    with console.capture() as captured:
        console.print(draw(progress, seconds=75, width=width, height=height))
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 50), (100, 12), (60, 10)])
def test_the_table_of_sixty_cells_fits_the_terminal(width: int, height: int) -> None:
    lines = drawn(width, height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert "45 of 540 runs done" in lines[0]
    assert lines[-1].startswith("and ")
    folded = sum(int(part.split()[0]) for part in lines[-1].removeprefix("and ").split(", "))
    assert folded + len(lines) - 3 == 60


def test_cells_at_work_are_shown_first_in_the_order_of_the_study() -> None:
    lines = drawn(80, 24)
    running = [line for line in lines if "2 running" in line and "task_" in line]
    assert [line.split()[0] for line in running] == [f"task_{number}" for number in range(15)]


def test_a_wide_terminal_has_all_of_it() -> None:
    lines = drawn(140, 50, CELLS[:4])
    assert lines[0].startswith("rq2_pretraining_modality (smoke)  45 of 540 runs done · 2 running · 1 elsewhere")
    assert lines[0].endswith("3 failed · 1 min · 7 min left")
    assert lines[2].split() == ["task_0", "language", "9/9", "0.001", "0.9123", "done"]
    assert lines[4].split() == ["task_0", "synthetic_pretrained", "0/9", "waiting"]
    assert len(lines) == 6


def test_shares_of_the_data_get_a_column() -> None:
    shares = [CellProgress(CellName("bit_xor", "language", share), "waiting", 0, 2) for share in (0.05, 1.0)]
    assert [line.split()[2] for line in drawn(80, 24, shares)[1:]] == ["data", "5%", "100%"]


def test_a_pipe_gets_a_line_a_run_and_no_control_characters() -> None:
    console = Console(record=True, width=60, file=open(os.devnull, "w"))  # noqa: SIM115
    view = LineView(console)
    progress = StudyProgress("s", CELLS, 3, 8, failed=1)
    summary = {"selection": {"metric": "accuracy"}, "metrics": {"validation": {"accuracy": 0.75}}}
    view.run_ended("language on bit_xor, rate 0.001, seed 0", Outcome("a", "validated", "", 20, summary), 3.2, progress)
    view.run_ended("x", Outcome("b", "failed", "first\nsecond"), None, progress)
    console.file.close()
    assert console.export_text().splitlines() == [
        "[4/8] language on bit_xor, rate 0.001, seed 0: validated at step 20, validation 0.7500 (3 s)",
        "[4/8] x: failed: first",
    ]


@pytest.mark.parametrize(
    ("done", "failed", "most", "said"),
    [(3, 1, None, "; 7 min left"), (3, 1, 20, "; at least 7 min left"), (7, 1, None, ""), (3, 1, 8, "; 7 min left")],
)
def test_a_line_says_the_time_left(done: int, failed: int, most: int | None, said: str) -> None:
    console = Console(record=True, width=80, file=open(os.devnull, "w"))  # noqa: SIM115
    progress = StudyProgress("s", CELLS, done, 8, failed=failed, seconds_left=400.0, most=most)
    LineView(console).run_ended("x", Outcome("a", "validated", "", 20), 3.2, progress)
    console.file.close()
    assert console.export_text().rstrip().endswith(f"x: validated at step 20 (3 s){said}")
