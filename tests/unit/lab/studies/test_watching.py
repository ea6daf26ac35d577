"""What is seen of a run or study that another process carries out; its files are only read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fptkit.cli.watch_views import drawn, line_of, sparkline
from fptkit.engine.terminal import console
from fptkit.errors import UnknownNameError, UsageError
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.watching import find_watched, look, see_run

SUMMARY: dict[str, Any] = {
    "status": "running",
    "steps": 0,
    "max_steps": 100,
    "batch_size": 8,
    "selection": {"metric": "accuracy", "higher_is_better": True},
    "metrics": {"validation": {}, "test": {}},
}


def run(folder: Path, *lines: dict[str, Any], **summary: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps({**SUMMARY, **summary}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def trained(step: int, loss: float) -> dict[str, Any]:
    return {"step": step, "split": "train", "loss": loss, "examples_per_second": 16.0}


def validated(step: int, accuracy: float) -> dict[str, Any]:
    return {"step": step, "split": "validation", "loss": 0.3, "accuracy": accuracy}


def test_a_run_in_progress(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", trained(10, 0.7), validated(10, 0.9), trained(20, 0.5), validated(20, 0.8))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "spl')  # a line that is being written
    seen = see_run(folder)
    assert (seen.status, seen.step, seen.max_steps, seen.losses) == ("running", 20, 100, (0.7, 0.5))
    assert (seen.metric, seen.best, seen.validation["accuracy"]) == ("accuracy", 0.9, 0.8)
    assert seen.seconds_left == 80 * 8 / 16.0
    assert line_of(seen) == "run: running, step 20/100, loss 0.5000, validation accuracy 0.8000"


def test_the_best_of_a_metric_that_should_be_low(tmp_path: Path) -> None:
    selection = {"metric": "loss", "higher_is_better": False}
    lines = [{**validated(10, 0.1), "loss": 0.2}, {**validated(20, 0.1), "loss": 0.4}]
    assert see_run(run(tmp_path / "run", *lines, selection=selection)).best == 0.2


def test_an_ended_run(tmp_path: Path) -> None:
    seen = look(run(tmp_path / "run", trained(100, 0.1), status="finished", steps=100))
    assert seen.over
    assert seen.runs[0].seconds_left is None


@pytest.mark.parametrize("content", ["", "not json\n", "[1, 2]\n", '{"step": 3}\n'])
def test_a_run_whose_files_are_missing_or_damaged_is_still_shown(content: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("task: bit_xor\n")
    (tmp_path / "metrics.jsonl").write_text(content)
    seen = see_run(tmp_path)
    assert (seen.status, seen.step, seen.losses) == ("waiting", 0, ())


def test_only_the_end_of_a_long_metrics_file_is_read(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", *(trained(step, 1 / step) for step in range(1, 3001)))
    assert (folder / "metrics.jsonl").stat().st_size > 150_000
    seen = see_run(folder)
    assert seen.step == 3000
    assert seen.losses[-1] == 1 / 3000
    assert len(seen.losses) < 1500


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Path]:
    """Two runs of a study and one of another, as a real ledger claims them."""
    place = tmp_path / "studies"
    with Ledger(place) as kept:
        for digit, name in (
            ("a", "fpt on xor, rate 0.1, seed 0"),
            ("b", "full on xor, rate 0.1, seed 0"),
            ("c", "x on y"),
        ):
            assert kept.claim(Outcome(digit * 64), name=name, recipe="")
            run(place / "runs" / (digit * 16), trained(10, 0.5))
        (place / "mine").mkdir()
        (place / "mine" / "study.yaml").write_text("arms: {fpt: {extends: a}, full: {extends: b}}\n")
        kept.settle("b" * 64, "failed", "no memory")
        yield place


def test_a_study_shows_the_runs_of_its_arms(ledger: Path) -> None:
    seen = look(find_watched("mine", ledger))
    assert [(each.name[:4], each.status) for each in seen.runs] == [("fpt ", "running"), ("full", "failed")]
    assert seen.runs[1].reason == "no memory"
    assert not seen.over
    assert len(look(ledger).runs) == 3


def test_looking_changes_nothing(ledger: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(ledger.rglob("*"))}

    before = state()
    look(ledger)
    look(ledger / "mine")
    assert state() == before
    with sqlite3.connect(ledger / "ledger.sqlite") as database:
        database.execute("BEGIN IMMEDIATE")  # a study is writing: reading does not wait
        assert len(look(ledger).runs) == 3


def test_places_that_cannot_be_watched(ledger: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mine'"):
        find_watched("min", ledger)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="neither the folder of a run nor of a study"):
        find_watched(str(tmp_path / "empty"), ledger)
    (ledger / "ledger.sqlite").write_bytes(b"no database at all, but long enough to be read as one" * 50)
    with pytest.raises(UsageError, match="cannot be read"):
        look(ledger)


def test_only_names_are_cut_on_a_narrow_terminal(ledger: Path) -> None:
    target = console(width=60)
    with target.capture() as captured:
        target.print(drawn(look(ledger), rows=2, width=60))
    text = captured.get()
    assert "10/100" in text
    assert "and 1 more runs" in text
    assert all(len(line) <= 60 for line in text.splitlines())


@pytest.mark.parametrize(
    ("values", "expected"),
    [((), ""), ((1.0,), ""), ((0.0, 7.0, 3.0), "▁█▄"), ((2.0, 2.0), "▁▁"), ((1.0, float("nan"), 0.0), "█▁")],
)
def test_sparkline(values: tuple[float, ...], expected: str) -> None:
    assert sparkline(values) == expected
