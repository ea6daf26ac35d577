"""Tables: what is read back equals what was written, and nothing is left of one that failed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from fptkit.errors import DataError, UsageError
from fptkit.inference.tables import check_place, writing_table

NASTY = [
    *("plain", "=1+1", "a, b", 'say "so"', "two\nlines", "cr\rhere", "both\r\n"),
    *("ünï ☃ 🐦", " spaces ", "", "\t", "NA", "'"),
]

COLUMNS: dict[str, list[Any]] = {
    "example": [f"f.csv:{number}" for number in range(len(NASTY))],
    'a "name", with =': NASTY,
    "number": [
        *(0.1 + 0.2, 1e-300, -0.0, 1 / 3, 5e-324, 1.7976931348623157e308, 2.0),
        *(3.5, 1e22, 0.1, 7.0, -1e-7, 123456789.1),
    ],
    "count": list(range(len(NASTY))),
    "tags": [["H", "a, b", '"'] for _ in NASTY],
    "chances": [[0.1, 1 / 3] for _ in NASTY],
    "nested": [[[1, 0], [0, 1]] for _ in NASTY],
}


def write(path: Path) -> None:
    with writing_table(path) as table:
        for start in (0, 5):
            end = 5 if not start else None
            table.write({name: cells[start:end] for name, cells in COLUMNS.items()})


def fail(path: Path) -> None:
    with writing_table(path) as table:
        table.write({"example": ["a"]})
        raise KeyError


def rows() -> list[dict[str, Any]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]


def test_csv(tmp_path: Path) -> None:
    write(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    parsed = [
        {name: json.loads(row[name]) if isinstance(cell, list) else type(cell)(row[name]) for name, cell in one.items()}
        for row, one in zip(found, rows(), strict=True)
    ]
    assert parsed == rows()
    assert b"\r\n" not in (tmp_path / "t.csv").read_bytes().replace(b'both\r\n"', b"")


def test_pandas_reads_the_csv(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    write(tmp_path / "t.csv")
    found = pandas.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert list(found) == list(COLUMNS)
    assert found["number"].tolist() == COLUMNS["number"]
    # Its C parser takes a lone carriage return in quotes for what it is, too.
    assert found['a "name", with ='].tolist() == NASTY


def test_json_lines(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl")
    assert [json.loads(line) for line in (tmp_path / "t.jsonl").read_bytes().split(b"\n")[:-1]] == rows()


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path / "t.parquet")
    assert parquet.read_table(tmp_path / "t.parquet").to_pylist() == rows()


def test_names_of_files_that_are_no_unicode(tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    for ending in ("csv", "jsonl"):
        with writing_table(tmp_path / f"t.{ending}") as table:
            table.write({"example": [name], "class": ["a"]})
    assert b"caf\xe9.png,a" in (tmp_path / "t.csv").read_bytes()
    assert json.loads((tmp_path / "t.jsonl").read_text())["example"] == name
    pytest.importorskip("pyarrow")
    with writing_table(tmp_path / "t.parquet") as table:
        table.write({"example": [name], "class": ["a"]})


def test_a_text_that_has_no_utf8_form(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"write \.jsonl"), writing_table(tmp_path / "t.csv") as table:
        table.write({"example": ["\ud800"]})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_an_error_leaves_the_earlier_file(tmp_path: Path, ending: str) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"t.{ending}"
    path.write_text("before")
    with pytest.raises(KeyError):
        fail(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    for name, message in (
        ("t.xlsx", "unknown ending '.xlsx'"),
        ("nowhere/t.csv", "create it first"),
        ("t", "ending ''"),
    ):
        with pytest.raises(UsageError, match=message):
            check_place(tmp_path / name, (".csv",))
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        check_place(tmp_path / "t.csv", (".csv",))
