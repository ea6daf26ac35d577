"""What a campaign leaves: a line for each chunk of trials, so that it can continue, and figures for the docs."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parts import Part, Tally

CHUNKS = "chunks.jsonl"
LIBRARIES = ("fptkit", "torch", "numpy", "hypothesis")


class Record:
    """The chunks of a campaign that are done, in a folder.

    Args:
        folder: of the campaign; created if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.tallies: dict[str, Tally] = {}
        self.seconds: Counter[str] = Counter()
        self.done: set[tuple[str, int]] = set()
        for line in self._lines():
            self._take(line["part"], line["first"], Tally.from_content(line["tally"]), line["seconds"])

    def add(self, part: str, first: int, tally: Tally, seconds: float) -> None:
        """Record a chunk."""
        line = {"part": part, "first": first, "seconds": seconds, "tally": tally.content()}
        with (self.folder / CHUNKS).open("a", encoding="utf-8") as file:
            # After a newline, too: the campaign may have been killed while it wrote the line before.
            file.write("\n" + json.dumps(line) + "\n")
        self._take(part, first, tally, seconds)

    def _take(self, part: str, first: int, tally: Tally, seconds: float) -> None:
        self.done.add((part, first))
        self.tallies.setdefault(part, Tally()).add(tally)
        self.seconds[part] += seconds

    def _lines(self) -> Iterable[dict[str, Any]]:
        path = self.folder / CHUNKS
        for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                yield json.loads(text)
            except ValueError:  # empty, or cut off
                continue


def figures(record: Record, parts: Sequence[Part], command: str) -> dict[str, Any]:
    """Everything that was found, for JSON."""
    return {
        "date": datetime.date.today().isoformat(),
        "command": command,
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
        "parts": [_part(part, record) for part in parts if part.name in record.tallies],
    }


def _part(part: Part, record: Record) -> dict[str, Any]:
    tally = record.tallies[part.name]
    kinds = Counter(fault.kind for fault in tally.faults)
    return {
        "name": part.name,
        "promise": part.promise,
        "tries": part.tries,
        "share": _share(part, record),
        "made": sum(tally.counts.values()) - tally.counts["not reached"],
        "counts": dict(sorted(tally.counts.items())),
        "largest": {name: round(value, 3) for name, value in tally.largest.items()},
        "seconds_on_the_clock": round(record.seconds[part.name], 1),
        "faults": dict(kinds.most_common()),
    }


def _share(part: Part, record: Record) -> float:
    """Of the planned trials, which are done."""
    done = sum(min(part.chunk, part.long - first) for name, first in record.done if name == part.name)
    return round(done / part.long, 4)


def write_figures(path: Path, content: dict[str, Any]) -> None:
    """Write them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def first_of_each(tally: Tally) -> list[dict[str, Any]]:
    """One fault of each kind, the kept ones first."""
    found: dict[str, dict[str, Any]] = {}
    for fault in sorted(tally.faults, key=lambda fault: not fault.kept):
        found.setdefault(fault.kind, asdict(fault))
    return list(found.values())


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _version(name: str) -> str:
    if name == "fptkit":
        import fptkit

        return fptkit.__version__
    return importlib.metadata.version(name)
