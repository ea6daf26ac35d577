"""What a run or a study that runs elsewhere has done so far, from its files alone. Nothing is locked or written.

A run is seen by ``summary.json`` and the end of ``metrics.jsonl``; a study by the rows of its ledger, which is opened
for reading only, and the runs of its arms.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fptkit.engine.records import undamaged
from fptkit.errors import UnknownNameError, UsageError
from fptkit.files import METRICS, RECIPE, SUMMARY, find_summary
from fptkit.lab.studies.ledger import FILE as LEDGER
from fptkit.lab.studies.record import FILE as STUDY
from fptkit.lab.studies.results import run_folder
from fptkit.recipe.extends import read_file
from fptkit.recipe.tree import plain

TAIL_BYTES = 64 * 1024
"""How much of the end of a metrics file is read."""

OVER = ("validated", "finished", "diverged", "failed")
"""States in which a run takes no further steps."""


@dataclass(frozen=True)
class RunSeen:
    """A run as its files show it.

    Args:
        name: name of the run, for people.
        folder: the run folder.
        status: as in ``summary.json``; of a study's run, as in the ledger. ``waiting`` before it has written anything.
        step: training steps reported.
        max_steps: upper limit on the steps, 0 if unknown.
        losses: training loss of the latest reports, the oldest first.
        examples_per_second: training throughput of the latest report; None if there is none.
        validation: metrics of the latest validation.
        metric: name of the metric that chooses the best step, empty if unknown.
        best: best value of that metric so far.
        test: metrics of each test split.
        batch_size: examples per step.
        silent_s: seconds since the files last changed; None if there are none.
        reason: why it failed or diverged.
    """

    name: str
    folder: Path
    status: str
    step: int = 0
    max_steps: int = 0
    losses: tuple[float, ...] = ()
    examples_per_second: float | None = None
    validation: dict[str, float] = field(default_factory=dict)
    metric: str = ""
    best: float | None = None
    test: dict[str, dict[str, float]] = field(default_factory=dict)
    batch_size: int = 0
    silent_s: float | None = None
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether it takes no further steps."""
        return self.status in OVER

    @property
    def seconds_left(self) -> float | None:
        """Time for the remaining steps at the latest throughput, without evaluation; None if unknown or over."""
        speed = self.examples_per_second
        if self.over or not speed or not self.max_steps:
            return None
        return max(0, self.max_steps - self.step) * self.batch_size / speed


@dataclass(frozen=True)
class Seen:
    """A run alone, or the started runs of a study or ledger.

    Args:
        title: what is watched.
        runs: its runs; those in progress first, then the latest.
        single: whether it is one run alone.
    """

    title: str
    runs: tuple[RunSeen, ...]
    single: bool = False

    @property
    def over(self) -> bool:
        """Whether it is a single run that has ended. A study may always start further runs."""
        return self.single and self.runs[0].over


def find_watched(given: str, ledger: Path) -> Path:
    """The folder to watch: of a run, a study or a ledger.

    Args:
        given: its path, or the name of a study.
        ledger: ledger folder in which names are looked up.

    Raises:
        UnknownNameError: there is neither.
        UsageError: the folder is none of them.
    """
    for path in (Path(given), ledger / given):
        if path.is_dir():
            if not any((path / name).exists() for name in (STUDY, LEDGER, SUMMARY, METRICS, RECIPE)):
                raise UsageError(f"{path}: neither the folder of a run nor of a study; name one, such as runs/NAME")
            return path
    known = [path.parent.name for path in ledger.glob(f"*/{STUDY}")]
    raise UnknownNameError("run or study", given, known, f"studies are looked up in {ledger}/ (--ledger)")


def look(folder: Path) -> Seen:
    """What a folder shows now.

    Args:
        folder: of a run, a study or a ledger, see `find_watched`.
    """
    if (folder / STUDY).exists():
        return Seen(folder.name, tuple(_runs_of(folder.parent, _arms(folder / STUDY))))
    if (folder / LEDGER).exists():
        return Seen(str(folder), tuple(_runs_of(folder, None)))
    return Seen(str(folder), (see_run(folder),), single=True)


def see_run(folder: Path, name: str = "", status: str = "", reason: str = "") -> RunSeen:
    """A run from its folder.

    Args:
        folder: the run folder.
        name: name of the run; empty: that of its folder.
        status: as the ledger has it, empty for that of its summary.
        reason: why it failed, if the ledger knows.
    """
    summary = find_summary(folder)
    lines = list(_last_lines(folder / METRICS))
    train = [line for line in lines if line.get("split") == "train"]
    validations = [line for line in lines if line.get("split") == "validation"]
    metrics = summary.get("metrics") or {}
    metric = (summary.get("selection") or {}).get("metric", "")
    latest = max((line.get("step", 0) for line in lines if line.get("split") in ("train", "validation")), default=0)
    return RunSeen(
        name=name or folder.name,
        folder=folder,
        status=_status(status, summary),
        step=max(latest, summary.get("steps", 0)),
        max_steps=summary.get("max_steps") or 0,
        losses=tuple(line["loss"] for line in train if "loss" in line),
        examples_per_second=train[-1].get("examples_per_second") if train else None,
        validation={k: v for k, v in (validations[-1] if validations else {}).items() if k not in ("step", "split")},
        metric=metric,
        best=_best(summary, metric, validations),
        test=metrics.get("test") or {},
        batch_size=summary.get("batch_size") or 0,
        silent_s=_silence(folder),
        reason=str(summary.get("reason") or reason),
    )


def _status(of_ledger: str, summary: dict[str, Any]) -> str:
    """The ledger knows that a run failed before it began or waits; what its summary says comes first."""
    told = str(summary.get("status") or "")
    if of_ledger in ("failed", "lost", "waiting") or (of_ledger == "running" and told not in OVER):
        return of_ledger
    return told or of_ledger or "waiting"


def _best(summary: dict[str, Any], metric: str, validations: list[dict[str, Any]]) -> float | None:
    """Of a run in progress the summary may be older than its latest validations."""
    kept = ((summary.get("metrics") or {}).get("validation") or {}).get(metric)
    values = [line[metric] for line in validations if metric in line] + ([] if kept is None else [kept])
    if not values:
        return None
    return max(values) if (summary.get("selection") or {}).get("higher_is_better", True) else min(values)


def _silence(folder: Path) -> float | None:
    times = []
    for name in (METRICS, SUMMARY, "log.txt"):
        with contextlib.suppress(OSError):
            times.append((folder / name).stat().st_mtime)
    return max(0.0, time.time() - max(times)) if times else None


def _last_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines at the end of a metrics file; empty if it is missing."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = file.seek(max(0, size - TAIL_BYTES))
            content = file.read()
    except OSError:
        return
    lines = content.splitlines(keepends=True)
    for found in undamaged(line for line in (lines[1:] if start else lines) if line.endswith(b"\n")):
        yield {name: value for name, value in found.items() if name == "split" or isinstance(value, int | float)}


def _arms(study: Path) -> list[str]:
    """Names of a study's arms, controls included."""
    tree = read_file(study, study.name, [])
    content = {} if tree is None else plain(tree)
    return [*(content.get("arms") or {}), *(content.get("controls") or ())]


def _runs_of(ledger: Path, arms: list[str] | None) -> list[RunSeen]:
    """The started runs of a ledger, those of the arms only unless these are None; the latest of each name."""
    latest: dict[str, tuple[str, str, str, float]] = {}
    for address, name, status, reason, started in _rows(ledger / LEDGER):
        mine = arms is None or any(name.startswith(f"{arm} on ") for arm in arms)
        if mine and (name not in latest or started >= latest[name][3]):
            latest[name] = (address, status, reason, started)
    ordered = sorted(latest.items(), key=lambda item: (item[1][1] != "running", -item[1][3]))
    return [
        see_run(run_folder(ledger, address), name, status, reason) for name, (address, status, reason, _) in ordered
    ]


def _rows(path: Path) -> list[tuple[str, str, str, str, float]]:
    """Address, name, status, reason and start of every run in a ledger, which is not changed.

    Raises:
        UsageError: it cannot be read.
    """
    if not path.exists():
        return []
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            return database.execute("SELECT address, name, status, reason, coalesce(started, 0) FROM runs").fetchall()
    except sqlite3.Error as err:
        raise UsageError(f"the ledger {path} cannot be read: {err}; try again when its study has written") from err
