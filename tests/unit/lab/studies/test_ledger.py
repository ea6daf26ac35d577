"""The ledger: who owns a run, how it ended, and that the folders take precedence."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import filelock
import pytest

from fptkit.errors import DataError, UsageError
from fptkit.files import ADDRESS, LOCK
from fptkit.lab.studies import ledger as module
from fptkit.lab.studies.ledger import FILE, SESSIONS, Ledger
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.results import run_folder

A = "a" * 64
B = "b" * 64

KILLED = """
import os, signal, sys
from pathlib import Path
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.outcome import Outcome
ledger = Ledger(Path(sys.argv[1]))
assert ledger.claim(Outcome(sys.argv[2]), name="a run", recipe="task: {}")
print("claimed", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "studies") as opened:
        yield opened


def claim(ledger: Ledger, known: Outcome) -> bool:
    return ledger.claim(known, name="a run", recipe="task: {}")


def write_summary(ledger: Ledger, address: str, **content: Any) -> None:
    (run_folder(ledger.folder, address) / "summary.json").write_text(json.dumps(content))


def claimed_by_a_killed_study(folder: Path, address: str) -> None:
    """Leave the row of a study that a SIGKILL ended."""
    study = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert study.stdout is not None
    assert study.stdin is not None
    assert study.stdout.readline() == "claimed\n"
    study.send_signal(signal.SIGKILL)
    study.wait()
    study.stdin.close()
    study.stdout.close()


def test_a_run_nobody_knows_waits(ledger: Ledger) -> None:
    assert ledger.outcome(A) == Outcome(A)
    assert ledger.started() == []


def test_a_run_is_claimed_once(ledger: Ledger) -> None:
    with Ledger(ledger.folder) as other:
        assert claim(ledger, Outcome(A))
        assert other.outcome(A).status == "running"
        assert [address for address, _ in other.started()] == [A]
        assert not claim(other, Outcome(A))
        assert claim(other, Outcome(B))


def test_what_one_settles_the_other_sees(ledger: Ledger) -> None:
    with Ledger(ledger.folder) as other:
        claim(ledger, Outcome(A))
        write_summary(ledger, A, status="validated", steps=20, selection={"metric": "accuracy"})
        settled = ledger.settle(A, "validated")
        assert settled.step == 20
        assert other.outcome(A) == settled


def test_a_reason_that_quotes_what_is_no_text_is_kept(ledger: Ledger) -> None:
    shown = r"no file 'a\udcff'"
    with Ledger(ledger.folder) as other:
        for address, reasons in ((A, ("no file 'a\udcff'", "")), (B, ("", "no file 'a\udcff'"))):
            claim(ledger, Outcome(address))
            if reasons[0]:
                assert ledger.settle(address, "failed", reasons[0]).reason == shown
            else:
                ledger.settle(address, "lost")
                write_summary(ledger, address, status="diverged", reason=reasons[1])
            assert other.outcome(address).reason == ledger.outcome(address).reason == shown


def test_a_run_that_went_on_elsewhere_is_not_claimed_from_old_knowledge(ledger: Ledger) -> None:
    with Ledger(ledger.folder) as other:
        before = other.outcome(A)
        claim(ledger, Outcome(A))
        write_summary(ledger, A, status="validated", steps=20)
        ledger.settle(A, "validated")
        assert not claim(other, before)
        assert claim(other, other.outcome(A)), "to open its test"


def test_a_run_that_failed_elsewhere_is_not_claimed_from_old_knowledge(ledger: Ledger) -> None:
    with Ledger(ledger.folder) as other:
        before = other.outcome(A)
        claim(ledger, Outcome(A))
        ledger.settle(A, "failed", "no such weights")
        assert not claim(other, before)
        assert other.outcome(A) == Outcome(A, "failed", "no such weights")


def test_a_failed_run_is_tried_again_only_when_asked(ledger: Ledger) -> None:
    claim(ledger, Outcome(A))
    ledger.settle(A, "failed", "no such weights")
    ledger.try_again(A)
    assert ledger.outcome(A) == Outcome(A)
    assert claim(ledger, Outcome(A))


@pytest.mark.parametrize(
    ("summary", "status"),
    [
        (None, "lost"),
        ({"status": "running", "steps": 5}, "lost"),
        ({"status": "no such status", "steps": 5}, "lost"),
        ({"status": "paused", "steps": 10}, "paused"),
        ({"status": "interrupted", "steps": 7}, "interrupted"),
        ({"status": "validated", "steps": 20}, "validated"),
        ({"status": "finished", "steps": 20}, "finished"),
        ({"status": "diverged", "steps": 3, "reason": "loss is nan"}, "diverged"),
        ({"status": "failed", "steps": 3, "reason": "disk full"}, "failed"),
    ],
)
def test_the_folder_shows_how_a_dead_studys_run_ended(
    ledger: Ledger, summary: dict[str, Any] | None, status: str
) -> None:
    claimed_by_a_killed_study(ledger.folder, A)
    if summary:
        write_summary(ledger, A, **summary)
    found = ledger.outcome(A)
    assert (found.status, found.step) == (status, (summary or {}).get("steps", 0))
    assert found.reason == (summary or {}).get("reason", "")
    assert ledger.outcome(A) == found, "the second look finds the same"
    assert claim(ledger, found) == (status != "failed")


def test_a_worker_that_outlived_its_study_still_has_its_run(ledger: Ledger) -> None:
    claimed_by_a_killed_study(ledger.folder, A)
    write_summary(ledger, A, status="running", steps=5)
    with filelock.FileLock(run_folder(ledger.folder, A) / LOCK):
        assert ledger.outcome(A).status == "running"
        assert not claim(ledger, Outcome(A, "lost", step=5, summary={"status": "running", "steps": 5}))
    assert ledger.outcome(A).status == "lost"


def test_sessions_of_dead_studies_are_cleared_away(ledger: Ledger) -> None:
    claimed_by_a_killed_study(ledger.folder, A)
    with Ledger(ledger.folder):
        assert len(list((ledger.folder / SESSIONS).iterdir())) == 2
    assert len(list((ledger.folder / SESSIONS).iterdir())) == 1


def test_a_deleted_ledger_loses_no_run(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        for address, status in ((A, "finished"), (B, "failed")):
            claim(ledger, Outcome(address))
            write_summary(ledger, address, status=status, steps=20, reason="disk full" if status == "failed" else "")
            ledger.settle(address, status, "disk full" if status == "failed" else "")  # type: ignore[arg-type]
        before = [ledger.outcome(A), ledger.outcome(B)]
    (tmp_path / FILE).unlink()
    with Ledger(tmp_path) as ledger:
        assert [ledger.outcome(A), ledger.outcome(B)] == before


def test_a_deleted_folder_makes_its_run_wait(ledger: Ledger) -> None:
    claim(ledger, Outcome(A))
    write_summary(ledger, A, status="finished", steps=20)
    ledger.settle(A, "finished")
    folder = run_folder(ledger.folder, A)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert ledger.outcome(A) == Outcome(A)
    assert claim(ledger, Outcome(A))


def test_the_folder_of_another_run_is_refused(ledger: Ledger) -> None:
    claim(ledger, Outcome(A))
    (run_folder(ledger.folder, A) / ADDRESS).write_text("a" * 63 + "b\n")
    with pytest.raises(DataError, match="belongs to run"):
        ledger.outcome(A)


def test_closing_gives_back_what_is_not_settled(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        claim(ledger, Outcome(A))
    with Ledger(tmp_path) as ledger:
        assert ledger.outcome(A).status == "lost"
        assert claim(ledger, ledger.outcome(A))


def test_a_damaged_ledger_is_reported(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, however long it is" * 40)
    with pytest.raises(DataError, match=r"ledger\.sqlite is damaged .* Move it away"):
        Ledger(tmp_path)


def test_a_truncated_ledger_is_reported(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        for number in range(200):
            claim(ledger, Outcome(f"{number:064d}"))
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])

    def read_all() -> None:
        with Ledger(tmp_path) as ledger:
            for number in range(200):
                ledger.outcome(f"{number:064d}")

    with pytest.raises(DataError, match="is damaged"):
        read_all()


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    database = sqlite3.connect(tmp_path / FILE)
    database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(UsageError, match="has format 7, but this version of fptkit writes 1"):
        Ledger(tmp_path)


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        Ledger(tmp_path / "studies")


def test_a_ledger_others_write_to_for_too_long_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger(tmp_path).close()
    monkeypatch.setattr(module, "PATIENCE_S", 0.1)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(UsageError, match="other processes keep writing to it"):
            Ledger(tmp_path)
    finally:
        other.close()


def claim_all(folder: Path, addresses: list[str]) -> list[str]:
    """Claim every available run, as one of several processes; settle it, and keep the session open meanwhile."""
    mine = []
    with Ledger(folder) as ledger:
        for address in addresses:
            if claim(ledger, Outcome(address)):
                mine.append(address)
                write_summary(ledger, address, status="validated", steps=1)
                ledger.settle(address, "validated")
            time.sleep(0.001)
    return mine


@pytest.mark.slow
def test_several_processes_share_runs_without_doing_one_twice(tmp_path: Path) -> None:
    addresses = [f"{number:016x}" + "0" * 48 for number in range(60)]
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        shares = list(pool.map(claim_all, [tmp_path] * 3, [addresses] * 3))
    assert sorted(address for share in shares for address in share) == addresses
    assert os.listdir(tmp_path / SESSIONS) == []
