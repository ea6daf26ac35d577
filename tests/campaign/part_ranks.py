"""A run of two processes, one of which is killed: as under torchrun, whose part is played here."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import smoke
from children import end_session, start_child, wait_for
from parts import Fault, Tally

PHASES = ("start", "step", "save", "validation", "ranks agree", "test", "end")
RANKS = 2
OTHERS_END_S = 60.0
"""The other process must end within this after torchrun's signal."""


class Ranks:
    """See `Part`."""

    name, tries = "ranks", "kills of one of two processes"
    promise = (
        "If one of two processes of a run is killed in any phase, the other one ends, too; resumed with two, the run "
        "gives the bits of one that was never disturbed"
    )
    long, chunk = 140, 1
    modules = (*smoke.MODULES, "torch.distributed", "fptkit.engine.team.processes")

    def carry_out(self, trials: Sequence[int], place: Path) -> Tally:
        """See `Part`."""
        whole = _new(place / "whole")
        codes = together(whole, None)
        if codes != [0, 0]:
            raise RuntimeError(f"the undisturbed run ended with {codes}: {_logs(whole)}")
        expected, tally = smoke.result_of_run(whole), Tally()
        for trial in trials:
            folder = _new(place / f"trial-{trial}")
            phase, rank, number = _attack(trial)
            found = _disturb(folder, phase, rank, number, expected, tally)
            if found:
                kept = place / "kept" / folder.name
                kept.parent.mkdir(exist_ok=True)
                folder.rename(kept)
                tally.faults.append(Fault(f"{phase}: {found[0]}", trial, f"rank {rank}\n{found[1]}", str(kept)))
            shutil.rmtree(folder, ignore_errors=True)
        return tally


def _attack(trial: int) -> tuple[str, int, int]:
    chance = random.Random(f"ranks {trial}")
    return PHASES[trial % len(PHASES)], trial // len(PHASES) % RANKS, chance.randint(1, 3)


def _disturb(
    folder: Path, phase: str, rank: int, number: int, expected: dict[str, Any], tally: Tally
) -> tuple[str, str] | None:
    codes = together(folder, lambda: die_in(phase, number), victim=rank)
    killed = codes[rank] == -signal.SIGKILL
    tally.counts[f"{phase}, rank {rank}" if killed else "not reached"] += 1
    if None in codes:
        return "the other process hangs", _logs(folder)
    codes = together(folder, None)
    if codes != [0, 0]:
        return f"cannot be resumed {codes}", _logs(folder)
    if different := smoke.differences(smoke.result_of_run(folder), expected):
        return f"another result: {', '.join(different)}", _logs(folder)
    return None


def together(folder: Path, before: Callable[[], None] | None, *, victim: int = 0) -> list[int | None]:
    """Start both processes and wait; when one dies, the other one gets SIGTERM, as torchrun sends it.

    Args:
        folder: of the run.
        before: called in the victim before the run.
        victim: its rank.

    Returns:
        The exit status of each; None: it did not end.
    """
    port = _free_port()

    def process(rank: int) -> Callable[[], None]:
        def body() -> None:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(RANKS), LOCAL_WORLD_SIZE=str(RANKS))
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            if before is not None and rank == victim:
                before()
            smoke.run_command(folder)()

        return body

    (folder / "r.yaml").write_text(smoke.RUN)
    children = [start_child(process(rank), folder / f"log-{rank}") for rank in range(RANKS)]
    return _ends(children)


def _ends(children: list[int]) -> list[int | None]:
    codes: dict[int, int | None] = {}
    until = time.monotonic() + smoke.LIMIT_S
    while len(codes) < len(children) and time.monotonic() < until:
        for child in children:
            if child not in codes:
                found, status = os.waitpid(child, os.WNOHANG)
                if found:
                    codes[child] = os.waitstatus_to_exitcode(status)
        if any(codes.values()):
            break
        time.sleep(0.01)
    for child in children:
        if child not in codes:
            os.kill(child, signal.SIGTERM)
            code, late = wait_for(child, OTHERS_END_S)
            codes[child] = None if late else code
        end_session(child)
    return [codes[child] for child in children]


def die_in(phase: str, number: int) -> None:
    """Patch this process so that it kills itself in a phase, the N-th time that it comes to it."""
    from fptkit.engine import run as runs
    from fptkit.engine.loop import Trainer
    from fptkit.engine.team.processes import Processes

    owner, name = {
        "start": (runs, "prepare"),
        "step": (Trainer, "step"),
        "save": (Trainer, "_save"),
        "validation": (Trainer, "evaluate"),
        "ranks agree": (Processes, "most"),
        "test": (runs, "_test"),
        "end": (runs.RunOutput, "end"),
    }[phase]
    plain, left = getattr(owner, name), [number if phase in ("step", "save", "validation", "ranks agree") else 1]

    def dies(*arguments: Any, **further: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*arguments, **further)

    setattr(owner, name, dies)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _logs(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace")[-1500:] for path in sorted(folder.glob("log-*")))
