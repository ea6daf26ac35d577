"""The life of a run as a tracker sees it, without training: the real metrics file, events, kills, resuming."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fptkit.engine.events import (
    Event,
    Listener,
    RunEnded,
    RunStarted,
    RunStopped,
    Saving,
    SplitTested,
    StepsDone,
    Validated,
)
from fptkit.engine.records import MetricsFile

FACTS: dict[str, Any] = {
    "task": {"name": "bit_xor", "protocol": "clean", "source": "generated", "stand_in": False},
    "backbone": {"name": "gpt2", "weights": "random", "stand_in": True},
    "freezing": "fpt",
}

SUMMARY: dict[str, Any] = {
    "status": "finished",
    "best_step": 4,
    "steps": 8,
    "metrics": {"validation": {"accuracy": 0.75}, "test": {"test": {"accuracy": 0.5}}},
}

STEPS = 8


def events(attempt: int) -> list[Event]:
    """Reports at every step, validation and checkpoint at steps 4 and 8, then the test.

    The speed differs between attempts, as in a real run that repeats steps.
    """
    found: list[Event] = []
    for step in range(1, STEPS + 1):
        found.append(StepsDone(step, 1 / (3 * step), 100.0 + attempt, 1e-3))
        if step % 4 == 0:
            found += [Validated(step, {"loss": 0.1 * step, "accuracy": 1 / step}, best=step == 4), Saving(step)]
    return [*found, SplitTested("test", 4, {"loss": 0.3, "accuracy": 0.5}), RunEnded(SUMMARY)]


LIFE = len(events(0))


class Life:
    """A run folder that is trained in several attempts.

    Args:
        folder: the run folder.
        make: makes the tracker for it, anew in each attempt.
        study: name of the study it belongs to.
    """

    def __init__(self, folder: Path, make: Callable[[], Listener], *, study: str = "") -> None:
        self._folder, self._make, self._study = folder, make, study
        self._attempt = 0
        self._checkpoint: tuple[int, int] = (0, 0)
        folder.mkdir(exist_ok=True)
        (folder / "recipe.yaml").write_text("task: {name: bit_xor, bits: 5}\nlisteners: [{name: x, secret: s}]\n")

    def attempt(self, kill_after: int = LIFE, stop: str = "") -> None:
        """Train from the last checkpoint.

        Args:
            kill_after: events after which the process is gone.
            stop: status with which it stops there; empty for a kill, which tells nobody.
        """
        self._attempt += 1
        lines, position = self._checkpoint
        tracker, file = self._make(), MetricsFile(self._folder / "metrics.jsonl", keep_lines=lines)
        title = "fpt on bit_xor, rate 0.001, seed 0" if self._study else ""
        step = 4 * (position > 0) + 4 * (position > LIFE // 2)
        tracker.handle(RunStarted("r", self._folder, FACTS, (), step, STEPS, 4, self._study, title))
        for number, event in enumerate(events(self._attempt)[position:kill_after], start=position + 1):
            file.handle(event)
            tracker.handle(event)
            if isinstance(event, Saving):  # then the checkpoint is written
                self._checkpoint = (file.facts()["lines"], number)
        if stop:
            tracker.handle(RunStopped({**SUMMARY, "status": stop, "reason": "no"}))
        file.close()
