"""A study that is killed again and again, at random moments, whole or a worker at a time."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import smoke
from children import end_session, start_child, wait_for
from parts import Fault, Tally

KILLS = 10
"""Kills of a trial."""

LIVES = 200
"""A trial that has not died as often after so many lives does not get on."""

OPENED = "tests opened for partial reports, in one trial"
"""Name of a quantity that is measured, see `Tally`."""

GOOD_ENDS = (0, 1, 130, 143, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)


class Kills:
    """See `Part`."""

    name, tries = "kills", "kills of a study or its workers"
    promise = (
        "A study whose process or workers are killed at any moment, and called again, ends with the same results.json, "
        "byte for byte. If a run's worker dies twice, the run is reported as failed and the report is partial; "
        "`--retry-failed` completes the study, and results.json then also shows the test opened for that partial report"
    )
    long, chunk = 200, 1
    modules = smoke.MODULES

    def carry_out(self, trials: Sequence[int], place: Path) -> Tally:
        """See `Part`."""
        tally = Tally()
        for trial in trials:
            _Trial(trial, place, tally).carry_out()
        return tally


class _Trial:
    """One undisturbed study, and one or more that are killed."""

    def __init__(self, trial: int, place: Path, tally: Tally) -> None:
        self._chance = random.Random(f"kills {trial}")
        self._trial, self._place, self._tally = trial, place, tally
        self._kills = 0
        self._seconds = 1.0
        self._partial = False
        """Whether a call of the present study ended with a partial report."""

    def carry_out(self) -> None:
        """Kill until it is enough, and finish."""
        whole = self._folder("whole")
        began = time.monotonic()
        smoke.undisturbed(whole, smoke.study_command(whole))
        self._seconds = time.monotonic() - began
        expected = smoke.result_of_study(whole)
        number = 0
        while self._kills < KILLS:
            folder = self._folder(f"killed-{number}")
            number += 1
            self._partial = False
            fault = self._one_study(folder) or self._compared(smoke.result_of_study(folder), expected)
            if fault:
                kept = self._place / "kept" / f"{self._trial}-{folder.name}"
                kept.parent.mkdir(exist_ok=True)
                shutil.move(folder, kept)
                self._tally.faults.append(Fault(fault[0], self._trial, fault[1], str(kept)))
                return
            shutil.rmtree(folder)

    def _compared(self, ours: dict[str, Any], expected: dict[str, Any]) -> tuple[str, str] | None:
        """None if the results are those of the undisturbed study, or the broken promise."""
        if not smoke.differences(ours, expected):
            return None
        if self._partial and not smoke.differences(*map(without_unchosen_tests, (ours, expected))):
            self._tally.largest[OPENED] = self._tally.largest.get(OPENED, 0) + 1
            return None
        return "another results.json", ""

    def _folder(self, name: str) -> Path:
        folder = self._place / f"{self._trial}-{name}"
        folder.mkdir()
        return folder

    def _one_study(self, folder: Path) -> tuple[str, str] | None:
        """Kill a study until it ends by itself; None, or the broken promise."""
        command = smoke.study_command(folder, workers=self._chance.choice((1, 2, 3)))
        sessions = []
        try:
            for life in range(LIVES):
                log = folder / f"log-{life}"
                child = start_child(command, log)
                sessions.append(child)
                code = self._live(child)
                text = log.read_text(errors="replace")
                if code is None:
                    return f"hangs for {smoke.LIMIT_S:g} s", text[-3000:]
                if code not in GOOD_ENDS or "Traceback" in text:
                    return f"ends with {code}{' and a traceback' * ('Traceback' in text)}", text[-3000:]
                if code == 0:
                    return None
                self._partial |= code == 1
        finally:
            for session in sessions:
                end_session(session)
        return f"is not done after {LIVES} lives", ""

    def _live(self, child: int) -> int | None:
        """One life of the study: kill it, or workers of it until it dies or ends. Its exit status; None: it hangs."""
        while self._kills < KILLS:
            until = time.monotonic() + self._chance.uniform(0.0, self._seconds)
            while time.monotonic() < until:
                found, status = os.waitpid(child, os.WNOHANG)
                if found:
                    return os.waitstatus_to_exitcode(status)
                time.sleep(0.002)
            if self._kill(child):
                break
        code, late = wait_for(child, smoke.LIMIT_S)
        return None if late else code

    def _kill(self, child: int) -> bool:
        """Kill something; whether the study itself is hit."""
        workers = children_of(child)
        kind = self._chance.choice(("study", "everything", "SIGTERM", "SIGINT", "worker", "worker", "worker"))
        if kind == "worker" and not workers:
            kind = "study"
        if kind == "worker":
            if not sent(self._chance.choice(workers), signal.SIGKILL):
                return False
        elif kind == "everything":
            os.killpg(child, signal.SIGKILL)
        else:
            number = {"study": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}[kind]
            if not sent(child, number):
                return False
        self._kills += 1
        self._tally.counts[kind] += 1
        return kind != "worker"


def without_unchosen_tests(result: dict[str, Any]) -> dict[str, Any]:
    """Results of a study without the tests of runs at rates that were not chosen."""
    results = json.loads(result["results.json"])
    for cell in results["cells"]:
        used = {*cell["chosen_rates"].values(), cell["common"]["learning_rate"]}
        for run in results["runs"]:
            if (run["task"], run["arm"]) == (cell["task"], cell["arm"]) and run["learning_rate"] not in used:
                run["status"], run["test"] = "validated", None
    return results


def sent(process: int, number: int) -> bool:
    """Send a signal; false if the process is gone."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return False
    return True


def children_of(process: int) -> list[int]:
    """Living children of a process."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(number) for number in text.split() if _alive(int(number))]


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
