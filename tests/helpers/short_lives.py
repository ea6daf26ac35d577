"""A run in a process of its own that is killed somewhere, for test_kills.py: here, since other processes import it."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fptkit.engine import checkpoint
from fptkit.engine.events import Event, StepsDone, Validated
from fptkit.engine.run import RunRequest, run
from fptkit.errors import Interrupted
from fptkit.files import replacing
from fptkit.recipe.load import load_recipe

NOT_KILLED = 7


class Killer:
    """A listener that kills its own process some milliseconds after its N-th event.

    Args:
        number: signal.
        events: N.
        seconds: waited after it, in which training goes on.
    """

    def __init__(self, number: int, events: int, seconds: float) -> None:
        self._number, self._left, self._seconds = number, events, seconds

    def handle(self, event: Event) -> None:
        if isinstance(event, StepsDone | Validated):
            self._left -= 1
            if self._left == 0:
                threading.Timer(self._seconds, os.kill, (os.getpid(), self._number)).start()


class KillInSave:
    """Kills its own process at the N-th thing a save does to the disk; in the middle of it where it is a file.

    Args:
        operations: N.
    """

    def __init__(self, operations: int) -> None:
        self._left = operations
        self._write = checkpoint.write_bytes
        checkpoint.write_bytes = self._writes
        for owner, name in ((os, "fsync"), (os, "replace"), (Path, "rename")):
            setattr(owner, name, self._or_dies(getattr(owner, name)))

    def _due(self) -> bool:
        self._left -= 1
        return self._left == 0

    def _writes(self, path: Path, data: bytes, *, flush: bool) -> None:
        if self._due():
            with replacing(path) as partial:
                partial.write_bytes(data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
        self._write(path, data, flush=flush)

    def _or_dies(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if self._due():
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return call


def live(recipe: str, folder: str, kind: str, seed: int) -> None:
    """One life of the run: in a process of its own."""
    chance = random.Random(seed)
    listeners = []
    if kind == "in a save":
        KillInSave(chance.randint(1, 40))
    else:
        listeners.append(Killer(getattr(signal, kind), chance.randint(1, 12), chance.uniform(0, 0.03)))
    try:
        run(RunRequest(load_recipe(recipe), Path(folder), resume=True, listeners=listeners))
    except Interrupted as err:
        os._exit(128 + err.signal_number)
    os._exit(NOT_KILLED)
