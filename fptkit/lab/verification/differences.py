"""Differences between what is stored and what follows from the runs, each with its place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

ABSENT = "absent"

SHOWN = 200
"""Characters of a value that a difference shows."""

ROUNDING = 1e-9
"""Relative difference of numbers below which another version of numpy or scipy may be the reason."""


@dataclass(frozen=True)
class Difference:
    """One difference.

    Args:
        file: path of the file, relative to the ledger folder or to the run folder.
        place: key path or line; empty for the whole file.
        stored: what the file says.
        derived: what it should say, or what is wrong.
    """

    file: str
    place: str
    stored: str
    derived: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.place}" if self.place else self.file
        return f"{where}: {self.stored} stored, {self.derived} derived" if self.stored else f"{where}: {self.derived}"


@dataclass
class Findings:
    """What a verification has found so far.

    Args:
        differences: what does not agree.
        notes: what a reader should know, but is no fault.
        runs: number of runs checked.
        files: number of files whose digest was compared.
        continued: number of runs that another study or call has continued since the results were written.
        added: files that were added to run folders since then; nothing rests on them.
    """

    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: int = 0
    files: int = 0
    continued: int = 0
    added: list[str] = field(default_factory=list)

    def wrong(self, file: str, what: str, place: str = "") -> None:
        """Add a difference that is not between two values."""
        self.differences.append(Difference(file, place, "", what))

    def as_json(self) -> dict[str, Any]:
        """The findings as JSON data."""
        return asdict(self)


def json_differences(
    file: str, stored: Any, derived: Any, *, rounding: float = 0.0, newer: bool = False
) -> Iterator[Difference]:
    """Key path and both values of every difference between two JSON values.

    Args:
        file: path of the file, for the differences.
        stored: what the file holds.
        derived: what it should hold.
        rounding: relative difference up to which numbers count as equal.
        newer: whether another version of fptkit made the file, which may not have known every key.
    """
    for place, was, now in _differences(stored, derived, "", rounding):
        if newer and was is _NOTHING and not place.endswith("]"):
            continue
        yield Difference(file, place, shown(was), shown(now))


def line_differences(file: str, stored: str, derived: str) -> Iterator[Difference]:
    """The lines in which two texts differ; only the first, if they have different numbers of lines."""
    before, now = stored.split("\n"), derived.split("\n")
    for number in range(max(len(before), len(now))):
        one = before[number] if number < len(before) else None
        other = now[number] if number < len(now) else None
        if one != other:
            yield Difference(file, f"line {number + 1}", *_around(one, other))
            if len(before) != len(now):
                return


def shown(value: Any) -> str:
    """A value of JSON data, shortened."""
    text = ABSENT if value is _NOTHING else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


_NOTHING = object()


def _differences(stored: Any, derived: Any, path: str, rounding: float) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(stored, dict) and isinstance(derived, dict):
        for key in dict.fromkeys((*stored, *derived)):
            below = f"{path}.{key}" if path else str(key)
            yield from _differences(stored.get(key, _NOTHING), derived.get(key, _NOTHING), below, rounding)
    elif isinstance(stored, list) and isinstance(derived, list):
        for place in range(max(len(stored), len(derived))):
            one = stored[place] if place < len(stored) else _NOTHING
            other = derived[place] if place < len(derived) else _NOTHING
            yield from _differences(one, other, f"{path}[{place}]", rounding)
    elif not _equal(stored, derived, rounding):
        yield path, stored, derived


def _equal(a: Any, b: Any, rounding: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=rounding, abs_tol=0.0)
    return type(a) is type(b) and bool(a == b)


def _around(one: str | None, other: str | None) -> tuple[str, str]:
    """Two lines from shortly before their first difference on, shortened; a report's page has long lines."""
    if one is None or other is None:
        return _cut(one, 0), _cut(other, 0)
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, same - SHOWN // 4)
    return _cut(one, start), _cut(other, start)


def _cut(line: str | None, start: int) -> str:
    if line is None:
        return ABSENT
    end = start + SHOWN
    return f"'{'...' if start else ''}{line[start:end]}{'...' if len(line) > end else ''}'"
