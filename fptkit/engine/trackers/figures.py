"""Reads a run's files for a tracker: the lines of ``metrics.jsonl`` as they are added, the recipe, the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fptkit.engine.trackers.store import Point, flat
from fptkit.files import RECIPE
from fptkit.recipe.extends import read_file
from fptkit.recipe.tree import plain

_FACTS = (
    "best_step",
    "steps",
    "seconds",
    "examples_per_second",
    "peak_memory_mib",
    "times_tested",
    "ended_by",
    "reason",
)
"""Entries of a summary that are part of the result, in addition to the metrics."""


class MetricsReader:
    """Reads the metrics file of a run from where it was read before.

    Args:
        path: the file; it may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.lines = 0

    def size(self) -> int:
        """Bytes of the file now."""
        return self._path.stat().st_size if self._path.exists() else 0

    def read(self, end: int) -> list[Point]:
        """The complete lines up to byte ``end`` that were not read before."""
        if end <= self._offset:
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            found = file.read(end - self._offset)
        whole = found[: found.rfind(b"\n") + 1]
        self._offset += len(whole)
        points = [_point(json.loads(line)) for line in whole.splitlines()]
        self.lines += len(points)
        return points


def _point(record: dict[str, Any]) -> Point:
    split = record.pop("split")
    return Point(record.pop("step"), {f"{split}/{name}": value for name, value in record.items()})


def config_of(folder: Path) -> dict[str, Any]:
    """The resolved recipe of a run by dotted key, without its listeners, whose options may be secret."""
    tree = read_file(folder / RECIPE, RECIPE, [])
    content = {} if tree is None else plain(tree)
    return dict(flat({key: value for key, value in content.items() if key != "listeners"}))


def tags_of(facts: Mapping[str, Any], recipe: str, study: str) -> dict[str, str]:
    """What a run is about, from the facts of its start; stand-ins are marked."""
    task, backbone = facts.get("task", {}), facts.get("backbone", {})
    stand_ins = [name for name, part in (("task", task), ("backbone", backbone)) if part.get("stand_in")]
    tags = {
        "recipe": recipe,
        "study": study,
        "task": task.get("name"),
        "protocol": task.get("protocol"),
        "source": task.get("source"),
        "backbone": backbone.get("name"),
        "weights": backbone.get("weights"),
        "freezing": facts.get("freezing"),
        "stand_in": ", ".join(stand_ins),
    }
    return {name: str(value) for name, value in tags.items() if value}


def result_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The result in a summary: metrics of the best step as ``best/SPLIT/METRIC``, and some facts."""
    metrics = summary.get("metrics") or {}
    splits = {**{k: v for k, v in metrics.items() if k != "test"}, **(metrics.get("test") or {})}
    found = dict(flat({name: split for name, split in splits.items() if split}, "best/", "/"))
    return found | {name: summary[name] for name in _FACTS if summary.get(name) is not None}
