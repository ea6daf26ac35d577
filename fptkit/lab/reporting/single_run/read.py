"""What the report of a run is made from: the files of its folder. Nothing is built, and no test is opened again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fptkit.engine.assessment.file import read_assessment
from fptkit.engine.assessment.records import RunAssessed, SplitAssessed
from fptkit.engine.records import undamaged
from fptkit.errors import DataError, UsageError
from fptkit.files import ENVIRONMENT, METRICS, PREPARATION, RECIPE, SUMMARY, find_json, find_summary, read_json
from fptkit.lab.studies.results import Measure
from fptkit.sources.decoding import decoding

MODEL = "model.json"


@dataclass(frozen=True)
class RunFiles:
    """A run, as read from its folder. What an older version did not write is empty.

    Args:
        folder: the run folder.
        summary: of ``summary.json``.
        environment: of ``environment.json``.
        model: of ``model.json``.
        preparation: of ``preparation.json``.
        recipe: of ``recipe.yaml``.
        lines: of ``metrics.jsonl``, in order.
        assessed: of ``assessment.json``; None if there is none.
    """

    folder: Path
    summary: Mapping[str, Any]
    environment: Mapping[str, Any]
    model: Mapping[str, Any]
    preparation: Mapping[str, Any]
    recipe: Mapping[str, Any]
    lines: tuple[Mapping[str, Any], ...]
    assessed: RunAssessed | None

    @property
    def profile(self) -> str:
        """The profile of the recipe; empty for none."""
        return str((self.recipe.get("pinned") or {}).get("profile") or "")

    @property
    def metric(self) -> Measure:
        """The validation metric that chose the best step; the loss if it is not recorded."""
        return self.measure(str((self.summary.get("selection") or {}).get("metric") or "loss"))

    def measure(self, name: str) -> Measure:
        """A metric by its name."""
        return Measure(name, name in self.summary.get("fractions", ()))

    @property
    def tested(self) -> Mapping[str, Mapping[str, float]]:
        """Metrics of each test split; empty if none was evaluated."""
        return dict((self.summary.get("metrics") or {}).get("test") or {})

    @property
    def splits(self) -> dict[str, SplitAssessed]:
        """Assessments of the test splits whose metrics are in the summary, of the same step."""
        if self.assessed is None or self.assessed.step != self.summary.get("best_step"):
            return {}
        return {name: one for name, one in self.assessed.splits.items() if name in self.tested}

    def of_split(self, name: str) -> Iterator[Mapping[str, Any]]:
        """The lines of one split."""
        return (line for line in self.lines if line.get("split") == name)


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return (folder / SUMMARY).is_file()


def read_run(folder: Path) -> RunFiles:
    """Read a run from its folder.

    Raises:
        UsageError: the folder holds no run.
        DataError: its summary or its assessment is damaged.
    """
    if not is_run(folder):
        raise UsageError(f"{folder} holds no run ({SUMMARY}); fptkit run writes one")
    read_json(folder / SUMMARY)
    summary = find_summary(folder)
    if not isinstance(summary.get("task"), dict) or not isinstance(summary.get("metrics"), dict):
        raise DataError(f"{folder / SUMMARY} is not the summary of a run; replace it by an intact copy")
    return RunFiles(
        folder=folder,
        summary=summary,
        environment=find_json(folder / ENVIRONMENT),
        model=find_json(folder / MODEL),
        preparation=find_json(folder / PREPARATION),
        recipe=_recipe(folder / RECIPE),
        lines=tuple(_lines(folder / METRICS)),
        assessed=read_assessment(folder),
    )


def _recipe(path: Path) -> Mapping[str, Any]:
    try:
        with decoding(path, "YAML"):
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}


def _lines(path: Path) -> Iterable[Mapping[str, Any]]:
    """The undamaged lines of a metrics file, if it exists."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return undamaged(text.splitlines())
