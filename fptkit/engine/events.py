"""What a run says while it goes on. Listeners get these, in order, through ``handle(event)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class RunStarted:
    """Everything is built; training is about to start.

    Args:
        recipe: its name.
        folder: the run folder.
        facts: what ``summary.json`` will say of task, backbone, freezing, parameters, device, precision, seed.
        notes: lines the user should read, such as skipped sources.
        step: step the run starts from, above 0 when resumed.
        max_steps: step it ends at, at the latest.
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
    """Some examples have passed the frozen part, whose output is kept; before the first step.

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
        step: last of them.
        loss: mean training loss over them.
        examples_per_second: training speed over them, evaluation left out.
        learning_rate: ``train.learning_rate`` as the schedule had it at the last of them; a freezing rule may multiply
            it.
    """

    step: int
    loss: float
    examples_per_second: float
    learning_rate: float | None = None


@dataclass(frozen=True)
class Validated:
    """The whole validation split was evaluated.

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
    """Something came up that the user should read, such as memory that ran out. The run goes on.

    Args:
        step: after how many steps.
        text: one line.
    """

    step: int
    text: str


@dataclass(frozen=True)
class Saving:
    """A checkpoint is about to be written; what it counts on must be on the disk.

    Args:
        step: after how many steps.
    """

    step: int


@dataclass(frozen=True)
class SplitTested:
    """A whole test split was evaluated, with the tensors of the best step.

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
    """The run is over, or is paused; ``summary`` is what ``summary.json`` holds, and its ``status`` says which."""

    summary: Mapping[str, Any]


Event = RunStarted | FeaturesComputed | StepsDone | Validated | Noted | Saving | SplitTested | RunEnded


class Listener(Protocol):
    """Follows a run."""

    def handle(self, event: Event) -> None:
        """Take one event. Called between steps: be quick."""
        ...
