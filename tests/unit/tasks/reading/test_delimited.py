"""CSV and TSV, also as pandas and Excel write them."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from fptkit.errors import DataError
from fptkit.tasks.reading.delimited import read_delimited

pd = pytest.importorskip("pandas")


def written(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_pandas_writes_is_read_back(tmp_path: Path, delimiter: str, quoting: int, encoding: str) -> None:
    frame = pd.DataFrame({"a": ["x,y", 'q"q', "two\nlines"], "b": [1.5, -2, 3e-9], "c ä": ["", "1;2", "|"]})
    frame.to_csv(tmp_path / "t.csv", index=False, sep=delimiter, quoting=quoting, encoding=encoding)
    table = read_delimited(tmp_path / "t.csv")
    assert {name: list(cells) for name, cells in table.columns.items()} == {
        "a": ["x,y", 'q"q', "two\nlines"],
        "b": ["1.5", "-2.0", "3e-09"],
        "c ä": ["", "1;2", "|"],
    }
    assert list(table.lines) == [2, 3, 4]
    assert len(table) == 3


def test_packed_files_and_a_separator_line_of_excel(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(b"\xef\xbb\xbfsep=;\r\na;b\r\n1,5;x\r\n\r\n2,5;y\r\n"), "t.csv.gz")
    table = read_delimited(path)
    assert dict(table.columns) == {"a": ["1,5", "2,5"], "b": ["x", "y"]}
    assert [table.where(row) for row in (0, 1)] == [f"{path}:3", f"{path}:5"]


def test_a_record_of_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n"one\ntwo",1\n\n"x",2\n')
    assert list(read_delimited(path).lines) == [2, 5]


def test_decimal_commas_do_not_hide_the_delimiter(tmp_path: Path) -> None:
    assert list(read_delimited(written(tmp_path, "a;b\n1,5;2,5\n2,5;3,5\n")).columns) == ["a", "b"]


def test_a_single_column(tmp_path: Path) -> None:
    assert dict(read_delimited(written(tmp_path, "a\n1\n2\n")).columns) == {"a": ["1", "2"]}


def test_an_ending_decides_for_tabs(tmp_path: Path) -> None:
    assert list(read_delimited(written(tmp_path, "a,b\tc\n1,2\t3\n", "t.tsv")).columns) == ["a,b", "c"]


def test_without_a_header(tmp_path: Path) -> None:
    table = read_delimited(written(tmp_path, "1,x\n2,y\n"), header=False)
    assert dict(table.columns) == {"1": ["1", "2"], "2": ["x", "y"]}
    assert list(table.lines) == [1, 2]


def test_a_delimiter_at_the_end_of_lines_makes_no_column(tmp_path: Path) -> None:
    table = read_delimited(written(tmp_path, "a,b,\n1,2,\n3,4,\n"))
    assert list(table.columns) == ["a", "b"]
    assert "without name" in table.notes[0]


def test_cells_longer_than_the_limit_of_the_csv_module(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    table = read_delimited(written(tmp_path, "a,b\n" + "ACGT" * 100_000 + ",1\n"))
    assert len(table.columns["a"][0]) == 400_000
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("a,b\n", "no rows"),
        ("a,b\n1,2\n3\n", r"t.csv:3: 1 cells, line 1 has 2"),
        ("a,b\n1,2,3\n", r"t.csv:2: 3 cells"),
        ("a,a\n1,2\n", r"t.csv:1: two columns have the name 'a'"),
        (",a\n0,2\n0,3\n", r"t.csv:1: column 1 has no name.*index=False"),
        ("1.5,2\n3,4\n", r"t.csv:1: the first line has numbers"),
        ('a,b\n1,"x\n2,y\n', r"t.csv:2: a quoted cell is never closed"),
        ('a,b\n1,"x"y\n', r"t.csv:2: .*check the quotes"),
        (b"a,b\n1,\xff\n", r"t.csv:2: byte 6"),
        (b"a\0b\n1\n", "zero byte"),
    ],
)
def test_faults_name_the_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_delimited(written(tmp_path, text))


def test_an_unknown_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"target: .*no column 'z'; it has a, b"):
        read_delimited(written(tmp_path, "a,b\n1,2\n")).need("z", "target")


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6, 7, 8], [5, 2, 8, 1, 0, 3, 4, 7, 6]])
def test_the_index_of_pandas_is_not_used(tmp_path: Path, order: list[int]) -> None:
    frame = pd.DataFrame({"x": np.arange(9.0)}).iloc[order]
    frame.to_csv(tmp_path / "t.csv")
    found = read_delimited(tmp_path / "t.csv")
    assert list(found.columns) == ["x"]
    assert "first column, without a name, has row names" in found.notes[0]
    pd.read_csv(tmp_path / "t.csv").to_csv(tmp_path / "again.csv", index=False)
    assert read_delimited(tmp_path / "again.csv").columns == found.columns


@pytest.mark.parametrize("header", ["x\ty", "\tx\ty"])
@pytest.mark.parametrize("names", ["12", ("Mazda RX4", "Fiat 128")])
def test_row_names_of_r_are_not_used(tmp_path: Path, header: str, names: str) -> None:
    (tmp_path / "t.tsv").write_text(f'{header}\n"{names[0]}"\t5\ta\n"{names[1]}"\t6\tb\n')
    found = read_delimited(tmp_path / "t.tsv")
    assert found.columns == {"x": ["5", "6"], "y": ["a", "b"]}
    assert len(found.notes) == 1


def test_delimiters_at_the_end_of_all_rows_but_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,a,\n2,b,\n")
    assert read_delimited(tmp_path / "t.csv").columns == {"x": ["1", "2"], "y": ["a", "b"]}


@pytest.mark.parametrize("rows", ["1,2,3\n4,5\n", "0.5,2,3\n0.7,5,6\n", "1,2,3\n1,5,6\n", "7,2,3\n9,5,6\n"])
def test_rows_with_a_cell_too_many_are_refused(tmp_path: Path, rows: str) -> None:
    (tmp_path / "t.csv").write_text(f"x,y\n{rows}")
    with pytest.raises(DataError, match=r"t.csv:2: 3 cells, line 1 has 2"):
        read_delimited(tmp_path / "t.csv")


def test_a_quote_that_swallows_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('text\ty\n"one\ta\ntwo\tb\nthree"\ta\n')
    with pytest.raises(DataError, match=r"t.tsv:2: a cell that begins with a quote holds whole lines"):
        read_delimited(tmp_path / "t.tsv")


def test_empty_rows_at_the_end_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,a\n,\n2,b\n,\n,\n")
    found = read_delimited(tmp_path / "t.csv")
    assert found.columns == {"x": ["1", "", "2"], "y": ["a", "", "b"]}
    assert found.notes == ("t.csv: 2 rows of empty cells at the end are not used",)


def test_column_names_in_the_middle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,y\na,b\ntext,y\nc,d\n")
    with pytest.raises(DataError, match=r"t.csv:3: the column names of line 1 again"):
        read_delimited(tmp_path / "t.csv")
    (tmp_path / "n.csv").write_text("1,2\n3,4\n")
    assert len(read_delimited(tmp_path / "n.csv", header=False)) == 2
