"""Text files: packed or not, in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from fptkit.errors import DataError
from fptkit.sources.decoding import Unpacked, decoding

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_MAGIC = {".gz": b"\x1f\x8b", ".xz": b"\xfd7zXZ\0", ".bz2": b"BZh"}

_KINDS = {".gz": "gzip", ".xz": "xz", ".bz2": "bzip2"}

PACKED = tuple(_MAGIC)
"""Endings of packed files, which are unpacked while they are read."""

_FORMATS = {
    b"PK\x03\x04": "a zip archive or a workbook of Excel; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old workbook of Excel; save the sheet as CSV",
    b"\x1f\x8b": "packed by gzip; rename it to end in .gz",
    b"BZh": "packed by bzip2; rename it to end in .bz2",
    b"\xfd7zXZ\0": "packed by xz; rename it to end in .xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"Rar!": "a rar archive; unpack it",
    b"PAR1": "a Parquet file; rename it to end in .parquet",
    b"ARROW1": "an Arrow file; write it as Parquet or CSV",
    b"\x89HDF": "an HDF5 file, such as .mat or .h5; write it as CSV",
    b"MATLAB 5": "a .mat file of Matlab; write it as CSV",
    b"SQLite f": "a database of SQLite; write its table as CSV",
    b"%PDF": "a PDF; save the table as CSV",
    b"\x80\x04": "a pickle of Python; write it as CSV",
}
"""What files are that begin with these bytes, and what to do."""

_UNKNOWN = "check what file it is"

_SAMPLE = 1 << 16

_UNPACKERS: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    ".xz": lzma.LZMAFile,
    ".bz2": bz2.BZ2File,
}

_BUFFER = 1 << 18


def unpacked_name(path: Path) -> str:
    """The name of a file without the ending of its packing: ``a.csv`` for ``a.csv.gz``."""
    return path.name[: -len(path.suffix)] if path.suffix.lower() in PACKED else path.name


def file_type(path: Path) -> str:
    """The ending that names a file's format, in lower case and without that of its packing: ``.csv``."""
    return Path(unpacked_name(path)).suffix.lower()


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked if its name ends in ``.gz``, ``.xz`` or ``.bz2``.

    Raises:
        DataError: it is missing, cannot be read, or is damaged; also while it is read.
    """
    ending = path.suffix.lower()
    with decoding(path, "a file"):
        file = path.open("rb")
    with file:
        if ending in _MAGIC:
            _check_magic(path, file)
        what = f"a file packed by {_KINDS[ending]}" if ending in _KINDS else "a file"
        with decoding(path, what):
            content = _UNPACKERS[ending](file) if ending in _UNPACKERS else file
            raw = Unpacked(content, path, what, limited=ending in _UNPACKERS)
        with io.BufferedReader(raw, _BUFFER) as buffered:
            yield buffered


def _check_magic(path: Path, file: IO[bytes]) -> None:
    ending = path.suffix.lower()
    with decoding(path, "a file"):
        begins = file.read(len(_MAGIC[ending]))
        file.seek(0)
    if begins != _MAGIC[ending]:
        raise DataError(
            f"{path}: not a {_KINDS[ending]} file: it begins with {begins.hex(' ') or 'nothing'}; rename it, or fetch "
            "it again"
        )


@contextlib.contextmanager
def open_text(path: Path, errors: str = "strict") -> Iterator[IO[str]]:
    """Open a text file for reading, decoded and unpacked; line ends are not changed.

    The encoding is UTF-8, or what a byte-order mark says (UTF-8, UTF-16, UTF-32); the mark is skipped.

    Args:
        path: the file.
        errors: ``replace`` for formats whose comments may have any encoding, while their data are plain ASCII.

    Raises:
        DataError: as `open_bytes`; or the bytes are not text in this encoding, with their place and line.
    """
    with open_bytes(path) as raw:
        begin = raw.read(4)
        raw.seek(0)
        encoding = _encoding(begin)
        text = io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline="")
        try:
            yield text
        except UnicodeDecodeError as err:
            raise _undecodable(path, encoding) from err
        finally:
            with contextlib.suppress(ValueError):  # already closed by a reader
                text.detach()


def read_text(path: Path, errors: str = "strict") -> str:
    """Read a text file completely, see `open_text`; line ends become ``\\n``.

    Raises:
        DataError: as `open_text`; or the text has zero bytes.
    """
    with open_text(path, errors) as file:
        text = file.read()
    check_text(text, str(path))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode(data: bytes, where: str) -> str:
    """Decode bytes as `open_text` does.

    Args:
        data: the bytes.
        where: what they are, for messages.

    Raises:
        DataError: the bytes are not text.
    """
    encoding = _encoding(data[:4])
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as err:
        raise DataError(_undecodable_message(where, encoding, data)) from err
    check_text(text, where)
    return text


def check_text(text: str, where: str, first: int = 1) -> None:
    """Refuse text with zero bytes: binary data, or UTF-16 without a byte-order mark.

    Args:
        text: the text.
        where: what it is, for messages.
        first: number of its first line.

    Raises:
        DataError: there is a zero byte.
    """
    place = text.find("\0")
    if place >= 0:
        if (kind := _what_it_is(text[:16].encode())) != _UNKNOWN and first == 1:
            raise DataError(f"{where}: binary data instead of text; {kind}")
        line = text.count("\n", 0, place) + first
        raise DataError(f"{where}:{line}: a zero byte, so this is not text in UTF-8; if it is UTF-16, save it as UTF-8")


def lines_of(path: Path, errors: str = "strict") -> Iterator[tuple[int, str]]:
    """Yield number, from 1, and text of each line that is not blank, without its line end.

    Lines end with ``\\n``, ``\\r\\n`` or ``\\r``, and with nothing else: other separators of Unicode are text.

    Raises:
        DataError: as `open_text`.
    """
    with open_text(path, errors) as file:
        for number, piece in enumerate(file, start=1):  # newline="" also ends pieces at a lone \r
            line = piece.rstrip("\r\n")
            if "\0" in line:
                check_text(line, str(path), number)
            if line.strip():
                yield number, line


def byte_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield number, from 1, and bytes in UTF-8 of each line with its end, without a byte-order mark.

    For large files whose lines are parsed as bytes: text in UTF-8 is not decoded, nor checked.

    Raises:
        DataError: as `open_bytes`; or text in another encoding cannot be decoded.
    """
    with open_bytes(path) as raw:
        first = raw.readline()
        if _encoding(first[:4]) in ("utf-8", "utf-8-sig"):
            yield 1, first.removeprefix(codecs.BOM_UTF8)
            yield from enumerate(raw, start=2)
            return
    with open_text(path) as text:
        yield from ((number, line.encode()) for number, line in enumerate(text, start=1))


def _encoding(begin: bytes) -> str:
    return next((name for mark, name in _MARKS if begin.startswith(mark)), "utf-8")


def _what_it_is(data: bytes) -> str:
    return next((f"it is {kind}" for begin, kind in _FORMATS.items() if data.startswith(begin)), _UNKNOWN)


def _undecodable(path: Path, encoding: str) -> DataError:
    """The error for a file that is not text; it is read again, since the first error knows no absolute place."""
    with open_bytes(path) as file:
        return DataError(_undecodable_message(str(path), encoding, file.read()))


def _undecodable_message(where: str, encoding: str, data: bytes) -> str:
    name = encoding.removesuffix("-sig").upper()
    try:
        data.decode(encoding)
    except UnicodeDecodeError as err:
        # err.object lacks the mark of UTF-8, so its places are counted from there.
        start = err.start + (len(codecs.BOM_UTF8) if encoding == "utf-8-sig" else 0)
        line = data.count(b"\n", 0, start) + 1
        if b"\0" in data[:_SAMPLE] and name == "UTF-8":
            return f"{where}: binary data instead of text (byte {start} is 0x{data[start]:02x}); {_what_it_is(data)}"
        return (
            f"{where}:{line}: byte {start} (0x{data[start]:02x}) is not {name} text; save the file as UTF-8, "
            "for example: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE"
        )
    return f"{where}: the file changed while it was read; read it again"
