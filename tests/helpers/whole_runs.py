"""Runs of tiny recipes in this process, what listened to them, and comparing the folders they left."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fptkit.engine.events import Event, Noted, StepsDone
from fptkit.engine.run import RunRequest, run
from fptkit.recipe.load import load_recipe

RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, blocks: 2, width: 32, heads: 2, size: nano, dropout: 0.1}
train: {batch_size: 8, max_steps: 30, validate_every: 10, log_every: 4, patience: null, learning_rate: 1e-2}
threads: 1
"""
"""Thirty steps in a fraction of a second; dropout, so that the global generator matters."""


class Recorder:
    """Keeps events; can send a signal to this process, or fail, when a step is reached.

    Args:
        stop_at: step at which a signal is sent.
        number: of the signal.
        fail_at: step at which a `KeyError` is raised.
    """

    def __init__(self, stop_at: int | None = None, number: int = signal.SIGINT, *, fail_at: int | None = None) -> None:
        self.events: list[Event] = []
        self._stop_at, self._number, self._fail_at = stop_at, number, fail_at

    def handle(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, StepsDone) and event.step == self._stop_at:
            os.kill(os.getpid(), self._number)
        if isinstance(event, StepsDone) and event.step == self._fail_at:
            raise KeyError("killed")

    @property
    def notes(self) -> list[Noted]:
        return self.of(Noted)

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def steps(self, kind: type[Any]) -> list[int]:
        """The steps of the events of one kind."""
        return [event.step for event in self.of(kind)]


def start(
    recipe: Path,
    folder: Path,
    *overrides: str,
    listener: Any = None,
    plugins: Sequence[Path] = (),
    **how: Any,
) -> dict[str, Any]:
    """Carry out a run and return its summary.

    Args:
        recipe: file.
        folder: of the run.
        overrides: as ``--set`` takes them.
        listener: of its events.
        plugins: files.
        how: what else a `RunRequest` takes.
    """
    loaded = load_recipe(str(recipe), overrides=overrides, plugin_files=list(plugins))
    return run(RunRequest(loaded, folder, listeners=[listener] if listener else [], **how))


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` without the one figure that no two runs have in common."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "examples_per_second"} for line in lines]


def tensors(folder: Path, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(folder / file)


def assert_same_tensors(one: Path, other: Path, file: str = "model.safetensors") -> None:
    """Bit for bit."""
    ours, theirs = tensors(one, file), tensors(other, file)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def assert_same(one: Path, other: Path) -> None:
    """Tensors, and everything measured on the way, bit for bit."""
    assert metrics(one) == metrics(other)
    assert_same_tensors(one, other)


def assert_near(one: Path, other: Path, tolerance: float = 1e-5) -> None:
    """Tensors, and everything measured on the way, to within a tolerance."""
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=tolerance)
    assert len(metrics(one)) == len(metrics(other))
    for line, their_line in zip(metrics(one), metrics(other), strict=True):
        assert line == {
            key: value if isinstance(value, str) else pytest.approx(value, abs=tolerance, rel=tolerance)
            for key, value in their_line.items()
        }
