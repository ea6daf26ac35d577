"""The events of a run. Listeners get them, in order, through ``handle(event)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class RunStarted:
    """Everything is built; training is about to start.

    Args:
        recipe: its name.
        folder: the run folder.
        facts: task, backbone, freezing, parameters, device, precision and seed, as in ``summary.json``.
        notes: lines the user should read, such as skipped sources.
        step: step at which the run starts, above 0 when resumed.
        max_steps: upper limit on the steps.
        batch_size: examples of a step.
    """

    recipe: str
    folder: Path
    facts: Mapping[str, Any]
    notes: tuple[str, ...]
    step: int
    max_steps: int
    batch_size: int


@dataclass(frozen=True)
class FeaturesComputed:
    """Features of some examples were computed for the feature cache, before the first step.

    Args:
        done: examples so far.
        total: examples in all.
    """

    done: int
    total: int


@dataclass(frozen=True)
class StepsDone:
    """Some training steps are done.

    Args:
        step: the last of them.
        loss: mean training loss over them.
        examples_per_second: training throughput over them, without evaluation.
        learning_rate: the scheduled rate at the last of these steps; a freezing rule may multiply it.
    """

    step: int
    loss: float
    examples_per_second: float
    learning_rate: float | None = None


@dataclass(frozen=True)
class Validated:
    """The validation split was evaluated.

    Args:
        step: after how many steps.
        metrics: by name, ``loss`` included.
        best: whether this is the best step so far.
    """

    step: int
    metrics: Mapping[str, float]
    best: bool


@dataclass(frozen=True)
class Noted:
    """Something the user should read, such as running out of memory. The run continues.

    Args:
        step: after how many steps.
        text: one line.
    """

    step: int
    text: str


@dataclass(frozen=True)
class Saving:
    """A checkpoint is about to be written; files it relies on must be on the disk first.

    Args:
        step: after how many steps.
    """

    step: int


@dataclass(frozen=True)
class SplitTested:
    """A test split was evaluated, with the tensors of the best step.

    Args:
        split: its name.
        step: the best step.
        metrics: by name, ``loss`` included.
    """

    split: str
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RunEnded:
    """The run ended or is paused; ``summary`` is the content of ``summary.json``, and its ``status`` says which."""

    summary: Mapping[str, Any]


Event = RunStarted | FeaturesComputed | StepsDone | Validated | Noted | Saving | SplitTested | RunEnded

Emit = Callable[[Event], None]
"""Takes an event."""

Facts = Callable[[], Mapping[str, Any]]
"""Returns facts that are saved with a checkpoint."""


class Listener(Protocol):
    """Receives the events of a run."""

    def handle(self, event: Event) -> None:
        """Handle one event. Called between training steps, so it must be fast."""
        ...
