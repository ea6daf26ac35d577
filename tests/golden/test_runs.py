"""Run folders that earlier versions wrote load for ever, and predict what they predicted then."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import fptkit
from tiny_runs import lines

RUNS = sorted((Path(__file__).parent / "run_folders").iterdir())


def test_there_are_runs() -> None:
    assert {folder.name for folder in RUNS} >= {"0.1.0-table", "0.1.0-forecast", "0.1.0-tagging"}
    assert sum(file.stat().st_size for folder in RUNS for file in folder.iterdir()) < 100_000


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_an_earlier_run_predicts_what_it_predicted(folder: Path, tmp_path: Path) -> None:
    done = fptkit("predict", folder, "new.csv", "--output", tmp_path / "now.jsonl", cwd=folder)
    assert done.returncode == 0, done.stderr
    now, then = lines(tmp_path / "now.jsonl"), lines(folder / "predictions.jsonl")
    assert len(now) == len(then)
    for row, expected in zip(now, then, strict=True):
        assert row.keys() == expected.keys()
        for name, cell in expected.items():
            exact = isinstance(cell, str) or (isinstance(cell, list) and isinstance(cell[0], str))
            assert row[name] == (cell if exact else pytest.approx(cell, rel=1e-3, abs=1e-4))
