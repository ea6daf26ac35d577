"""What a tracker writes, and when: the figures of metrics.jsonl, each once, whatever happens to the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tracked_life import LIFE, Life
from tracker_stores import Figures, figures_of

from fptkit.engine.trackers.store import Point, TrackedRun
from fptkit.engine.trackers.tracker import Tracker


class Appends:
    """A store in memory that only appends, as MLflow does."""

    rewrites = False

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.opened: list[tuple[TrackedRun, str]] = []
        self.ends: list[tuple[str, Mapping[str, Any]]] = []

    def open(self, run: TrackedRun, known: str) -> str:
        self.opened.append((run, known))
        return known or "run 1"

    def write(self, points: Sequence[Point]) -> None:
        self.points += points

    def close(self, status: str, result: Mapping[str, Any]) -> None:
        self.ends.append((status, result))

    @property
    def figures(self) -> Figures:
        return Counter((name, point.step, value) for point in self.points for name, value in point.figures.items())


class Rewrites(Appends):
    """A store that begins anew, as TensorBoard's files do."""

    rewrites = True

    def open(self, run: TrackedRun, known: str) -> str:
        self.points.clear()
        return super().open(run, known)


@pytest.mark.parametrize("store", [Appends, Rewrites])
@pytest.mark.parametrize("stop", ["", "interrupted", "failed"])
@pytest.mark.parametrize("kill", range(LIFE))
def test_a_run_that_stops_anywhere_and_resumes_has_each_figure_once(
    store: type[Appends], stop: str, kill: int, tmp_path: Path
) -> None:
    kept = store()
    life = Life(tmp_path / "run", lambda: Tracker("kept", kept, tmp_path / "run"))
    life.attempt(kill, stop)
    life.attempt()
    assert kept.figures == figures_of(tmp_path / "run")
    assert set(kept.figures.values()) == {1}


def test_killed_twice_between_the_same_checkpoints(tmp_path: Path) -> None:
    kept = Appends()
    life = Life(tmp_path / "run", lambda: Tracker("kept", kept, tmp_path / "run"))
    for kill in (8, 9, LIFE):
        life.attempt(kill)
    assert kept.figures == figures_of(tmp_path / "run")
    assert [known for _, known in kept.opened] == ["", "run 1", "run 1"]


def test_a_store_that_only_appends_gets_lines_when_a_checkpoint_covers_them(tmp_path: Path) -> None:
    kept = Appends()
    Life(tmp_path / "run", lambda: Tracker("kept", kept, tmp_path / "run")).attempt(8)
    assert max(point.step for point in kept.points) == 4
    assert max(step for _, step, _ in figures_of(tmp_path / "run")) > 4


def test_a_tracker_added_to_a_resumed_run_receives_the_earlier_figures_too(tmp_path: Path) -> None:
    kept, folder = Appends(), tmp_path / "run"
    life = Life(folder, lambda: Tracker("first", Appends(), folder))
    life.attempt(8)
    life._make = lambda: Tracker("second", kept, folder)
    life.attempt()
    assert kept.figures == figures_of(folder)


def test_a_diverged_run_shows_how_it_ended(tmp_path: Path) -> None:
    kept = Appends()
    Life(tmp_path / "run", lambda: Tracker("kept", kept, tmp_path / "run")).attempt(8, "diverged")
    assert kept.figures == figures_of(tmp_path / "run")
    ((status, result),) = kept.ends
    assert status == "diverged"
    assert result["reason"] == "no"


def test_the_facts_of_a_run(tmp_path: Path) -> None:
    kept, folder = Appends(), tmp_path / "run"
    Life(folder, lambda: Tracker("kept", kept, folder)).attempt()
    ((run, _),) = kept.opened
    assert run.config == {"task.name": "bit_xor", "task.bits": 5}, "options of listeners may be secret"
    assert (run.name, run.study) == ("run", "")
    assert run.tags["stand_in"] == "backbone"
    assert kept.ends == [
        ("finished", {"best/validation/accuracy": 0.75, "best/test/accuracy": 0.5, "best_step": 4, "steps": 8})
    ]


def test_the_name_of_a_run_of_a_study_says_its_cell_and_is_unique(tmp_path: Path) -> None:
    kept, folder = Appends(), tmp_path / "0123456789abcdef"
    Life(folder, lambda: Tracker("kept", kept, folder), study="mine").attempt()
    ((run, _),) = kept.opened
    assert (run.name, run.study) == ("fpt on bit_xor, rate 0.001, seed 0 (012345)", "mine")
