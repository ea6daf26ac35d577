"""A run that is killed twenty times, at random moments and by random means, ends as one that never was."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fptkit.engine import checkpoint
from fptkit.engine.events import Event, StepsDone, Validated
from fptkit.engine.run import RunRequest, run
from fptkit.errors import Interrupted
from fptkit.files import replacing
from fptkit.recipe.load import load_recipe

RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, size: nano, blocks: 2, width: 32, heads: 2, dropout: 0.1}
train:
  {batch_size: 8, max_steps: 600, validate_every: 20, log_every: 5, checkpoint_every: 15, patience: null,
   schedule: {name: plateau, patience: 3, factor: 0.7}}
threads: 1
"""
KILLS = 20
KINDS = ("SIGKILL", "SIGTERM", "in a save")
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


def lines(folder: Path) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "examples_per_second"} for line in read]


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    recipe = tmp_path / "killed.yaml"
    recipe.write_text(RECIPE)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["safetensors.torch", "fptkit.engine.run"])
    ends = []
    for number in range(KILLS):
        kind = KINDS[number % len(KINDS)]
        life = processes.Process(target=live, args=(str(recipe), str(tmp_path / "parts"), kind, number))
        life.start()
        life.join(120)
        ends.append((kind, life.exitcode))
    expected = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 128 + signal.SIGTERM, "in a save": -signal.SIGKILL}
    assert ends == [(kind, expected[kind]) for kind, _ in ends]
    summaries = [
        run(RunRequest(load_recipe(str(recipe)), tmp_path / name, resume=True, listeners=[]))
        for name in ("parts", "whole")
    ]
    assert summaries[0]["metrics"] == summaries[1]["metrics"]
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    for file in ("model.safetensors", "checkpoints/step-00000600/optimizer.safetensors"):
        whole, parts = (load_file(tmp_path / name / file) for name in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[name], parts[name]) for name in whole)
