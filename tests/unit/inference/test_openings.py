"""Counting how often data were opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fptkit.errors import DataError, UsageError
from fptkit.files import ADDRESS, EVALUATIONS, SUMMARY, find_json, is_sealed, locked_folder
from fptkit.inference.openings import evaluations_file, open_files, open_test, record_split


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / SUMMARY).write_text(json.dumps({"status": "finished", "times_tested": 1, "metrics": {}, "further": [1]}))
    return folder


def test_tests_are_counted_in_the_summary(run: Path) -> None:
    assert [open_test(run, ["test"], "d") for _ in range(3)] == [2, 3, 4]
    assert is_sealed(run / SUMMARY)
    summary = find_json(run / SUMMARY)
    assert summary == {"status": "finished", "times_tested": 4, "metrics": {}, "further": [1]}


def test_files_are_counted_by_digest_and_other_splits_are_not_counted(run: Path) -> None:
    assert open_files(run, ["path:a.csv"], "one") == 1
    assert open_files(run, ["path:b.csv"], "two") == 1
    record_split(run, ["validation"], "one")
    open_test(run, ["test"], "one")
    assert open_files(run, ["path:c.csv"], "one") == 2
    lines = [json.loads(line) for line in (run / EVALUATIONS).read_text().splitlines()]
    assert [line.get("source") or line["splits"] for line in lines] == [
        ["path:a.csv"],
        ["path:b.csv"],
        ["validation"],
        ["test"],
        ["path:c.csv"],
    ]
    assert json.loads((run / SUMMARY).read_text())["times_tested"] == 2


def test_a_run_in_progress_is_not_touched(run: Path) -> None:
    with locked_folder(run, "run"), pytest.raises(UsageError, match="in use by another run"):
        open_test(run, ["test"], "d")
    assert json.loads((run / SUMMARY).read_text())["times_tested"] == 1
    assert not (run / EVALUATIONS).exists()


def test_a_run_of_a_study_is_counted_beside_its_folder(run: Path) -> None:
    (run / ADDRESS).write_text("a" * 64)
    before = {path: path.read_bytes() for path in run.iterdir()}
    assert open_test(run, ["test"], "d") == 2
    assert open_files(run, ["path:a.csv"], "d") == 1
    assert open_test(run, ["test"], "d") == 3
    assert {path: path.read_bytes() for path in run.iterdir()} == before
    assert evaluations_file(run) == run.resolve().with_name("run.evaluations.jsonl")


def test_a_damaged_line_is_named(run: Path) -> None:
    (run / EVALUATIONS).write_text('{"digest": "d"}\nnothing\n')
    with pytest.raises(DataError, match=r"evaluations\.jsonl:2: not readable as JSON"):
        open_files(run, ["path:a.csv"], "d")


def test_a_folder_that_cannot_be_written(run: Path) -> None:
    (run / EVALUATIONS).mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        open_test(run, ["test"], "d")
    assert json.loads((run / SUMMARY).read_text())["times_tested"] == 1
