"""A clock of the wall that goes back at every look at it."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import file_shim
import smoke
from children import end_session, start_child, wait_for
from parts import Fault, Tally

STEPS_S = (1.0, 3600.0, 400_000.0)
"""Seconds that are lost at a look."""


class Clock:
    """See `Part`."""

    name, tries = "clock", "runs and studies with a clock that goes back"
    promise = "A clock that goes back changes no result, of a run or study, killed and continued or not"
    long, chunk = 60, 1
    modules = smoke.MODULES

    def carry_out(self, trials: Sequence[int], place: Path) -> Tally:
        """See `Part`."""
        tally = Tally()
        for trial in trials:
            chance = random.Random(f"clock {trial}")
            kind, command, result = KINDS[trial % len(KINDS)]
            step = chance.choice(STEPS_S)
            whole, folder = place / f"whole-{trial}", place / f"trial-{trial}"
            for each in (whole, folder):
                each.mkdir()
            began = time.monotonic()
            smoke.undisturbed(whole, command(whole))
            text = _disturbed(folder, command(folder), step, chance.uniform(0, time.monotonic() - began))
            tally.counts[kind] += 1
            different = smoke.differences(result(folder), result(whole)) if not text else []
            if text or different:
                kind = f"{kind}: another result" if different else f"{kind}: ends badly"
                tally.faults.append(Fault(kind, trial, text or ", ".join(different)))
            for each in (whole, folder):
                shutil.rmtree(each)
        return tally


def _disturbed(folder: Path, command: Callable[[], None], step: float, kill_after_s: float) -> str:
    """Start with the clock going back, kill, and continue likewise; empty, or what went wrong."""

    def late() -> None:
        file_shim.turn_clock_back(step)
        command()

    log = folder / "log"
    child = start_child(late, log)
    wait_for(child, kill_after_s)
    end_session(child)
    child = start_child(late, log)
    code, hangs = wait_for(child, smoke.LIMIT_S)
    end_session(child)
    text = log.read_text(errors="replace")
    return text[-3000:] + f"\nstatus {code}" if code or hangs or "Traceback" in text else ""


KINDS: tuple[tuple[str, Callable[[Path], Callable[[], None]], Callable[[Path], dict[str, Any]]], ...] = (
    ("run", smoke.run_command, smoke.result_of_run),
    ("study", smoke.study_command, smoke.result_of_study),
)
