"""Columns found by their names, and kinds of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fptkit.errors import SourceError, UsageError
from fptkit.tasks.reading.usual import TARGETS, find_first, target_columns, usual_column


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["x", "Label", "class"], "Label"),
        (["class", "x"], "class"),
        (["Fold Label", "x"], "Fold Label"),
        (["anything"], "anything"),
    ],
)
def test_usual_names_best_first(columns: list[str], found: str) -> None:
    assert usual_column(columns, TARGETS, "task.target", "f.csv", "labels") == found


@pytest.mark.parametrize(("columns", "said"), [(["p", "q"], "its columns are p, q"), ([], "no other columns")])
def test_nothing_is_guessed(columns: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=rf"task.target: f.csv has no column .* {said}"):
        usual_column(columns, TARGETS, "task.target", "f.csv", "labels")


def test_the_first_kind_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("x")
    kinds = ((".csv",), (".txt",))
    source = {"all": (f"path:{tmp_path}",)}
    assert [file.name for file in find_first(source, kinds).files] == ["b.txt"]
    (tmp_path / "a.csv").write_text("x")
    found = find_first(source, kinds)
    assert [file.name for file in found.files] == ["a.csv"]
    assert found.notes == ("1 files passed over: .txt 1",)


def test_no_kind_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(SourceError, match=r"no file \.csv, \.txt in .*\.png 1"):
        find_first({"all": (f"path:{tmp_path}",)}, ((".csv",), (".txt",)))


@pytest.mark.parametrize(
    ("columns", "wanted", "others", "found"),
    [
        (["path", "label", "weight"], [], ["path"], ("label",)),
        (["path", "kind"], [], ["path"], ("kind",)),
        (["label", "weight"], [], ["label", None], ("weight",)),  # a column of groups may have any name
        (["path", "a", "b"], ["b", "a"], ["path"], ("b", "a")),
    ],
)
def test_columns_to_predict(columns: list[str], wanted: list[str], others: list[str], found: tuple[str, ...]) -> None:
    assert target_columns(columns, wanted, others, "t.csv") == found


def test_columns_to_predict_that_are_not_clear() -> None:
    with pytest.raises(UsageError, match=r"task\.target: t\.csv has no column 'c'; it has a, b"):
        target_columns(["a", "b"], ["c"], [], "t.csv")
    with pytest.raises(UsageError, match=r"task\.target: t\.csv has no column that is known to be labels"):
        target_columns(["path", "kind", "room"], [], ["path"], "t.csv")
