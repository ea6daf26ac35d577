"""What a tracker writes to, and what it writes: the facts of a run, its figures by step, and its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Point:
    """The figures of one line of ``metrics.jsonl``.

    Args:
        step: training steps done.
        figures: by name, with the split in front: ``train/loss``, ``validation/accuracy``.
    """

    step: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class TrackedRun:
    """What a store needs to know about a run when it opens it.

    Args:
        name: name of the run for people; unique among the runs of a study.
        study: the study it belongs to, empty for a single run.
        folder: the run folder.
        config: the resolved recipe, by dotted key.
        tags: what the run is about: task, backbone, freezing policy and so on.
        started: whether the run starts here; false if it is resumed.
    """

    name: str
    study: str
    folder: Path
    config: Mapping[str, Any]
    tags: Mapping[str, str]
    started: bool


class Store(Protocol):
    """A tracking service or its files. Any error ends tracking, never the run.

    Attributes:
        rewrites: whether ``open`` starts from nothing each time, so that all figures are written again; false if it
            keeps the figures that a run wrote before it was resumed.
    """

    rewrites: bool

    def open(self, run: TrackedRun, known: str) -> str:
        """Open a run.

        Args:
            run: its facts.
            known: what ``open`` returned when the run was opened before, empty the first time.

        Returns:
            What identifies the run in this store.
        """
        ...

    def write(self, points: Sequence[Point]) -> None:
        """Write figures, in the order of ``metrics.jsonl``."""
        ...

    def close(self, status: str, result: Mapping[str, Any]) -> None:
        """Write the result and end the run.

        Args:
            status: ``finished``, ``validated``, ``paused``, ``interrupted``, ``diverged`` or ``failed``.
            result: figures and words of ``summary.json`` by dotted key.
        """
        ...


def flat(content: Mapping[str, Any], prefix: str = "", between: str = ".") -> Iterator[tuple[str, Any]]:
    """The entries of nested mappings with joined keys; an empty mapping and lists are values."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}{between}", between)
        else:
            yield f"{prefix}{key}", value
