"""Reading ListOps files: Long Range Arena's and Nangia & Bowman's tables, and damaged ones."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from fptkit.errors import DataError
from fptkit.tasks.listops.arrays import Expressions
from fptkit.tasks.listops.files import read_expressions
from fptkit.tasks.listops.grammar import decode, evaluate

ROWS = [
    ("( ( ( [MAX 4 ) 3 ) ] )", 4),
    ("( ( ( ( [SM 9 ) ( ( ( [MIN 7 ) 8 ) ] ) ) 9 ) ] )", 5),
    ("6", 6),
    ("( ( ( [MED 1 ) 2 ) ] )", 1),
]


def arena(path: Path, rows: list[tuple[str, object]]) -> Path:
    """A file as Long Range Arena's ``write_to_file`` makes it: Python's csv module with tabs, lines ended by CR LF."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["Source", "Target"])
        writer.writerows(rows)
    return path


def texts(some: Expressions) -> list[str]:
    return [decode(some.symbols[start:end]) for start, end in zip(some.offsets, some.offsets[1:], strict=False)]


def test_long_range_arenas_form(tmp_path: Path) -> None:
    some = read_expressions(arena(tmp_path / "basic_train.tsv", ROWS))
    assert texts(some) == ["[MAX 4 3 ]", "[SM 9 [MIN 7 8 ] 9 ]", "6", "[MED 1 2 ]"]
    assert some.values.tolist() == [4, 5, 6, 1]
    assert some.symbols.dtype == np.uint8


def test_nangia_and_bowmans_form(shared_data: Path) -> None:
    some = read_expressions(shared_data / "listops_nangia_sample.tsv.gz")
    with gzip.open(shared_data / "listops_nangia_sample.tsv.gz", "rt") as lines:
        pairs = [line.rstrip("\n").split("\t") for line in lines]
    assert some.values.tolist() == [int(label) for label, _ in pairs]
    bare = [" ".join(text.replace("(", " ").replace(")", " ").split()) for _, text in pairs]
    assert texts(some) == bare


def test_columns_are_found_by_name_and_others_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("Id\tTarget\tSource\n7\t4\t[MAX 4 3 ]\n\n8\t3\t[MIN 4 3 ]\n\n")
    some = read_expressions(path)
    assert some.values.tolist() == [4, 3]


@pytest.mark.parametrize("text", ["[MAX 4 3]", "[MAX  4   3 ]", "((([MAX 4)3)])", "[MAX 4 3 ] "])
def test_other_spacing_is_read_as_well(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(f"4\t{text}\n")
    assert texts(read_expressions(path)) == ["[MAX 4 3 ]"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("4", "expected 2 tab-separated columns, got 1"),
        ("[MAX 4 3 ] 4", "expected 2 tab-separated columns, got 1"),
        ("\t4", "no symbols"),
        ("[MAX 4 3 ]\t10", "the label must be one digit, 0 to 9, got '10'"),
        ("[MAX 4 3 ]\t-1", "the label must be one digit, 0 to 9, got '-1'"),
        ("[MAX 4 3 ]\t", "the label must be one digit, 0 to 9, got ''"),
        ("[MAX 4 3 ]\t4.0", "the label must be one digit, 0 to 9, got '4.0'"),
        ("[MAX 4 3 ]\tx", "the label must be one digit, 0 to 9, got 'x'"),
        ("[MAX 4 3 ]\t3", "the label is 3, but the value of the expression is 4"),
        ("[FIRST 4 3 ]\t4", r"symbol 1 \(character 1\) '\[FIRST': unknown symbol"),
        ("[MAX 4 12 ]\t4", "'12': numbers must be one digit"),
        ("[MAX 12  4 ]\t4", "'12': numbers must be one digit"),
        ("[MAX4 3 ]\t4", r"'\[MAX4': unknown symbol"),
        ("[MAX 4 3\t4", r"ends too early: the list of \[MAX, symbol 1, has no '\]'"),
        ("[MAX 4 3 ] ]\t4", "extra symbol after the end of the expression"),
        ("[MAX ]\t4", "has no argument"),
        ("( ( ( [MAX 4 ) 3 ) ]\t4", r"ends too early: 1 '\)' missing"),
        ("[MAX 4 \x81 ]\t4", "unknown symbol"),
        ("[MAX 4 é ]\t4", "'é': unknown symbol"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "basic_val.tsv"
    path.write_text(f"Source\tTarget\n[MAX 1 2 ]\t2\n{line}\n7\t7\n")
    with pytest.raises(DataError, match=message) as caught:
        read_expressions(path)
    assert f"{path}:3: " in str(caught.value)


def test_several_wrong_labels_are_counted(tmp_path: Path) -> None:
    path = arena(tmp_path / "x.tsv", [*ROWS, ("5", 4), ("4", 4), ("9", 0)])
    with pytest.raises(
        DataError, match=r":6: the label is 4, but the value of the expression is 5 \(2 wrong lines in total\)"
    ):
        read_expressions(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no expressions"),
        (b"Source\tTarget\r\n", "no expressions"),
        (b"source,target\n1,2\n", r"x\.tsv:1: expected a header with the columns Source and Target"),
        (b"{}", "expected a header"),
        (b"\x00\x01\x02\xff", "expected a header"),
    ],
)
def test_another_kind_of_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_expressions(path)


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_expressions(tmp_path / "x.tsv")
    with pytest.raises(DataError, match="not a file, but a folder"):
        read_expressions(tmp_path)


def test_damaged_gzip_files(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv.gz"
    whole = gzip.compress(b"".join(b"%d\t%d\n" % (digit, digit) for digit in (1, 2, 3)) * 2000)
    path.write_bytes(whole)
    assert len(read_expressions(path)) == 6000
    path.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"not readable as a file packed by gzip: .* replace it by an intact copy"):
        read_expressions(path)
    path.write_bytes(b"1\t1\n")
    with pytest.raises(DataError, match="not a gzip file"):
        read_expressions(path)


def test_fast_and_careful_reading_agree(shared_data: Path, tmp_path: Path) -> None:
    """The same expressions with two spaces between symbols take the slow path of the reader."""
    usual = read_expressions(shared_data / "listops_nangia_sample.tsv.gz")
    with gzip.open(shared_data / "listops_nangia_sample.tsv.gz", "rt") as lines:
        wide = "".join(line.replace(" ", "  ") for line in list(lines)[:300])
    (tmp_path / "wide.tsv").write_text(wide)
    careful = read_expressions(tmp_path / "wide.tsv")
    assert careful.symbols.tolist() == usual.symbols[: usual.offsets[300]].tolist()
    assert [evaluate(text) for text in texts(careful)] == careful.values.tolist()
