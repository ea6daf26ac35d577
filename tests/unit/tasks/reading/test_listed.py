"""Tables that list files."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from fptkit.errors import DataError, UsageError
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.reading.listed import listed_files, path_column, repeated_notes, unused_note


def table(cells: list[str], name: str = "path") -> TextTable:
    return TextTable("t.csv", {name: cells, "label": ["x"] * len(cells)}, range(2, 2 + len(cells)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "in/b.jpg", "c.png", "c.jpg"):
        (tmp_path / name).touch()
    return tmp_path


def test_ways_to_write_a_path(folder: Path) -> None:
    cells = ["a.png", "in/b.jpg", "in\\b.jpg", "a", str(folder / "a.png"), "./in/../a.png"]
    found = listed_files(table(cells), "path", folder, (".png", ".jpg"))
    assert [path.resolve() for path in found] == [
        *(folder / name for name in ("a.png", "in/b.jpg", "in/b.jpg", "a.png", "a.png", "a.png"))
    ]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_of_the_macintosh(tmp_path: Path, forms: tuple[str, str]) -> None:
    in_table, on_disk = (unicodedata.normalize(form, "é/ü.png") for form in forms)
    (tmp_path / on_disk).parent.mkdir()
    (tmp_path / on_disk).touch()
    assert listed_files(table([in_table]), "path", tmp_path, ()) == [tmp_path / on_disk]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("absent.png", r"t\.csv:3: there is no file .*absent\.png; correct column 'path'"),
        ("c", "there is no file"),  # two files could be meant
        ("in", "there is no file"),
        ("", r"t\.csv:3: column 'path' has no path"),
        ("https://x/y.png", "is an address, not a path"),
        ("x\0y", "there is no file"),
        ("~nobody_of_this_name/x", "there is no file"),
        ("n" * 5000, "there is no file"),
    ],
)
def test_cells_that_are_no_file(folder: Path, cell: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        listed_files(table(["a.png", cell]), "path", folder, (".png", ".jpg"))


def test_missing_files_are_counted(folder: Path) -> None:
    with pytest.raises(DataError, match=r"x\.png, and 2 others are missing"):
        listed_files(table(["x.png", "a.png", "y.png", "z.png"]), "path", folder, ())


def test_the_column_of_paths_by_its_cells() -> None:
    cells = {"scan": ["a.PNG", "b.png"], "label": ["x", "y"], "image": ["1", "2"]}
    assert path_column(TextTable("t", cells), None, [".png"]) == "scan"
    assert path_column(TextTable("t", cells), None, [".wav"]) == "image"
    with pytest.raises(UsageError, match=r"several columns may have the paths \(a, b\); name it"):
        path_column(TextTable("t", {"a": ["1.png"], "b": ["2.png"]}), None, [".png"])


def test_unused_columns_are_said() -> None:
    found = TextTable("t.csv", {"path": ["a.png"], "label": ["x"], "weight": ["1"]})
    assert unused_note(found, ["path", "label"]) == ("t.csv: columns that are not used: weight",)
    assert unused_note(found, list(found.columns)) == ()


def test_the_column_of_paths(folder: Path) -> None:
    assert path_column(table([], "File Name"), None, [".png"]) == "File Name"
    assert path_column(table([], "scan"), "scan", [".png"]) == "scan"
    with pytest.raises(UsageError, match=r"no column is known to have paths; name it\. The columns are scan, label"):
        path_column(table([], "scan"), None, [".png"])
    with pytest.raises(UsageError, match="several columns"):
        path_column(TextTable("t", {"path": [], "image": []}), None, [".png"])
    with pytest.raises(DataError, match=r"task\.path: t\.csv has no column 'other'"):
        path_column(table([]), "other", [".png"])


def test_repeated_files() -> None:
    assert repeated_notes([Path("a"), Path("b"), Path("a")]) == ("1 files are listed more than once, such as a",)
    assert repeated_notes([Path("a"), Path("b")]) == ()
