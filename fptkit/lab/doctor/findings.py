"""What an examination finds: one line each, in sections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "note", "warning", "fault"]
"""``note``: something is not there that need not be; ``warning``: something works worse than it could; ``fault``:
fptkit, or the recipe, cannot run."""

STATES: tuple[State, ...] = ("ok", "note", "warning", "fault")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: what was looked at.
        text: what was found, in one line.
        state: see `State`.
        advice: what to do, if something should be done.
        facts: the figures behind the text, for ``--json``.
    """

    name: str
    text: str
    state: State = "ok"
    advice: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """The findings about one subject.

    Args:
        name: the subject.
        findings: in the order in which they are shown.
    """

    name: str
    findings: tuple[Finding, ...]


def count(sections: Iterable[Section], state: State) -> int:
    """Number of findings in a state."""
    return sum(one.state == state for section in sections for one in section.findings)
