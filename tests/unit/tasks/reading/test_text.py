"""Decoding: marks, packing, and where a fault is."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
from pathlib import Path

import pytest

from fptkit.errors import DataError
from fptkit.tasks.reading.text import byte_lines, decode, file_type, lines_of, open_text, read_text, unpacked_name

TEXT = "näme,värde\n1,å\u2028ß\x85x\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
    ],
    ids=["utf-8", "utf-8 mark", "utf-16", "utf-16 big", "utf-32", "utf-32 big"],
)
def test_a_byte_order_mark_names_the_encoding_and_is_skipped(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    assert read_text(path) == TEXT
    assert decode(data, "here") == TEXT


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)])
def test_packed_files_are_unpacked(tmp_path: Path, ending: str, pack: object) -> None:
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(pack(codecs.BOM_UTF8 + TEXT.encode()))  # type: ignore[operator]
    assert read_text(path) == TEXT
    assert (unpacked_name(path), file_type(path)) == ("a.csv", ".csv")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="not readable as a file packed by"):
        read_text(path)
    path.write_bytes(b"plain text")
    with pytest.raises(DataError, match=r"not a (gzip|xz|bzip2) file"):
        read_text(path)


def test_a_line_ends_only_where_files_end_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("a\u2028b\r\n\r\n \nc\x0cd\re\n".encode())
    assert list(lines_of(path)) == [(1, "a\u2028b"), (4, "c\x0cd"), (5, "e")]
    assert read_text(path) == "a\u2028b\n\n \nc\x0cd\ne\n"


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_bytes_that_are_no_text_are_reported_with_place_and_line(tmp_path: Path, mark: bytes) -> None:
    good = b"a,b\n" * 5000
    path = tmp_path / "latin.csv"
    path.write_bytes(mark + good + "Müller".encode("latin-1"))
    place = len(mark) + len(good) + 1
    for read in (read_text, lambda file: list(lines_of(file)), lambda file: decode(file.read_bytes(), str(file))):
        with pytest.raises(DataError, match=rf"latin.csv:5001: byte {place} \(0xfc\) is not UTF-8"):
            read(path)


def test_utf16_without_a_mark_and_binary_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("a,b\n1,2\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"a.csv:1: a zero byte"):
        read_text(path)
    with pytest.raises(DataError, match=r"a.csv:1"):
        list(lines_of(path))


def test_binary_data_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"PK\x03\x04\0\0\xff\xfe")
    with pytest.raises(DataError, match="binary data instead of text"):
        read_text(path)


def test_other_encodings_in_comments_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_bytes(codecs.BOM_UTF8 + "# Müller\n1\n".encode("latin-1"))
    assert read_text(path, errors="replace") == "# M\ufffdller\n1\n"
    assert [line for _, line in lines_of(path, errors="replace")] == ["# M\ufffdller", "1"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_as_bytes(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("ä\n\nb".encode(encoding))
    assert list(byte_lines(path)) == [(1, "ä\n".encode()), (2, b"\n"), (3, b"b")]


def test_odd_numbers_of_bytes_in_utf16_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("a,b".encode("utf-16") + b"x")
    with pytest.raises(DataError, match="UTF-16"):
        read_text(path)


def test_a_missing_file_and_a_folder_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"), open_text(tmp_path / "absent.csv"):
        pass
    with pytest.raises(DataError, match="not a file, but a folder"), open_text(tmp_path):
        pass


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"PK\x03\x04\x14\0\0\0\x9c\xff", "zip archive or a workbook of Excel"),
        (gzip.compress(b"x,y\n1,2\n" * 9, mtime=0), "packed by gzip; rename it"),
        (b"SQLite format 3\0", "database of SQLite"),
        (b"PAR1\x15\x04\xff\0", "Parquet file"),
    ],
)
def test_binary_files_are_named(tmp_path: Path, data: bytes, what: str) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    for read in (read_text, lambda path: list(lines_of(path))):
        with pytest.raises(DataError, match=f"binary data instead of text.*it is .*{what}"):
            read(tmp_path / "a.csv")
