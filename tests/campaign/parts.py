"""What a part of the campaign is, and what it reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

KEPT_INPUTS = 3
"""Inputs kept for each kind of fault of a chunk."""


@dataclass(frozen=True)
class Fault:
    """A broken promise.

    Args:
        kind: what was seen, without anything that differs from one input to the next, so that equal faults are counted
            together: ``TypeError at fptkit/files.py:12``, ``no answer in 5 s``.
        trial: number of the trial, which repeats it.
        text: everything that was seen.
        kept: the input, or the folder as it was left; empty if the trial's number is enough.
    """

    kind: str
    trial: int
    text: str
    kept: str = ""


@dataclass
class Tally:
    """What a number of trials found.

    Args:
        counts: tries by kind; their sum is the number of tries.
        faults: broken promises.
        largest: the largest value seen of each measured quantity, such as seconds.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)

    def measure(self, name: str, value: float) -> None:
        """Keep the largest value."""
        self.largest[name] = max(value, self.largest.get(name, value))

    def add(self, other: Tally) -> None:
        """Take in the trials of another one."""
        self.counts.update(other.counts)
        self.faults += other.faults
        for name, value in other.largest.items():
            self.measure(name, value)

    def content(self) -> dict[str, Any]:
        """For JSON; `from_content` is its inverse."""
        faults = [asdict(fault) for fault in self.faults]
        return {"counts": dict(self.counts), "faults": faults, "largest": self.largest}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Tally:
        """The tally that `content` described."""
        faults = [Fault(**fault) for fault in content["faults"]]
        return cls(Counter(content["counts"]), faults, dict(content["largest"]))


class Part(Protocol):
    """A kind of attack, and the promise that it tests.

    Attributes:
        name: short, for the command line.
        promise: what users can rely on, in a sentence.
        tries: what is counted.
        long: trials of a whole campaign.
        chunk: trials that are carried out, and recorded, together.
        modules: what its trials need, imported once before any of them is forked; missing ones are left out.
    """

    name: str
    promise: str
    tries: str
    long: int
    chunk: int
    modules: Sequence[str]

    def carry_out(self, trials: Sequence[int], place: Path) -> Tally:
        """Carry out trials; what a trial does follows from its number alone.

        Args:
            trials: their numbers.
            place: an empty folder to work in; it is removed afterwards, except for ``kept`` in it.
        """
        ...


def all_parts() -> list[Part]:
    """Every part, in the order of the report."""
    from part_clock import Clock
    from part_files import Files
    from part_kills import Kills
    from part_operations import RunOperations, StudyOperations
    from part_properties import Properties
    from part_ranks import Ranks
    from part_recipes import Overrides, Recipes, Studies
    from part_soak import Soak

    return [
        *(Recipes(), Studies(), Overrides(), Properties(), Files()),
        *(RunOperations(), StudyOperations(), Kills(), Ranks(), Clock(), Soak()),
    ]
