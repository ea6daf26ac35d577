"""Predictions for new files, in a process of their own after the training data were deleted, for every format."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
pytest.importorskip("scipy")

import pandas as pd
from new_files import CASES, Case
from tiny_runs import lines

pytestmark = pytest.mark.slow

CODE = """
import json, sys
from fptkit.cli.main import main
for arguments in json.load(sys.stdin):
    try:
        main(arguments)
    except SystemExit as ended:
        assert not ended.code, arguments
"""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    """All cases; the training data are gone, and the run folders moved, before one process predicts for all of them."""
    base = tmp_path_factory.mktemp("cases")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPTKIT_DATA", str(base / "cache"))
        found, commands = {}, []
        for number, (name, make) in enumerate(CASES.items()):
            (base / str(number)).mkdir()
            case = make(base / str(number))
            for path in case.data:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            case.run = case.run.rename(base / f"run {number}")
            found[name] = case
            # Of numbers there are no probabilities.
            more = [] if all(isinstance(v, float) for v in case.expected[0].values()) else ["--probabilities"]
            for ending in ("jsonl", "csv", "parquet"):
                output = str(base / f"{number}.{ending}")
                commands.append(["predict", str(case.run), str(case.new), "--output", output, *more])
        done = subprocess.run(
            [sys.executable, "-c", CODE],
            input=json.dumps(commands),
            env={**os.environ, "FPTKIT_DATA": str(base / "cache"), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        yield found


def written(case: Case, ending: str) -> Path:
    number = case.run.name.removeprefix("run ")
    return case.run.with_name(f"{number}.{ending}")


@pytest.mark.parametrize("name", CASES)
def test_predictions_equal_a_direct_computation(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    found = lines(written(case, "jsonl"))
    assert len(found) == len(case.expected)
    for row, expected in zip(found, case.expected, strict=True):
        assert list(row) == ["example", *expected]
        for column, value in expected.items():
            exact = isinstance(value, (str, int)) or (isinstance(value, list) and isinstance(value[0], str))
            assert row[column] == (value if exact else pytest.approx(value, rel=1e-4, abs=1e-5)), column


@pytest.mark.parametrize("name", CASES)
def test_all_formats_hold_the_same(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    expected = lines(written(case, "jsonl"))
    parquet = pd.read_parquet(written(case, "parquet")).to_dict("records")
    assert [{key: plain(cell) for key, cell in row.items()} for row in parquet] == expected
    with written(case, "csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(expected[0])
    for row, values in zip(rows, expected, strict=True):
        read = {
            name: json.loads(row[name]) if isinstance(cell, list) else type(cell)(row[name])
            for name, cell in values.items()
        }
        assert read == values


def plain(cell: Any) -> Any:
    return cell.tolist() if hasattr(cell, "tolist") else cell
