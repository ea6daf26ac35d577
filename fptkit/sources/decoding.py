"""The boundary around foreign decoders: whatever one raises becomes an error that names the file. Light.

Libraries raise what they like for damaged files: a list of exceptions is never complete. So each call into a library
that decodes a file is made inside `decoding`, and nothing else is, so that faults of our own code stay visible.

Sizes are limited here too, since a small packed file may claim or have any size.
"""

from __future__ import annotations

import contextlib
import io
import os
import reprlib
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fptkit.errors import DataError, FptkitError

SMALL_BYTES = 256 * 2**20
"""Unpacked size up to which any compression is accepted."""

MOST_RATIO = 200
"""Unpacked over packed size beyond which a larger file counts as a bomb; data compress 2 to 50 fold."""

SAFETENSORS = "a safetensors file"
"""What files with tensors are decoded as."""

REPLACE = "replace it by an intact copy"
"""What to do about a damaged file."""

_MOST_CHARACTERS = 300
"""Length of the cause in a message; some libraries quote the file."""

Item = TypeVar("Item")


@contextlib.contextmanager
def decoding(
    source: Path | str,
    what: str,
    fault: type[FptkitError] = DataError,
    *,
    where: str = "",
    advice: str = REPLACE,
) -> Iterator[None]:
    """Turn whatever the block raises into an error that names the file. The block is the call of a library, only.

    Args:
        source: the file; pipes, devices and folders are refused. Text names what is not a file, and is not checked.
        what: what the file is decoded as, with its article: ``a gzip file``.
        fault: error to raise.
        where: what the file belongs to, put before its name.
        advice: what to do about a damaged file.

    Raises:
        FptkitError: of kind ``fault``: the file is missing, not a regular file, not readable, or damaged. Errors of
            fptkit itself pass unchanged.
    """
    subject = f"{where}: {source}" if where else str(source)
    if isinstance(source, Path):
        check_regular(source, fault, name=subject)
    try:
        yield
    except FptkitError:
        raise
    except BaseException as err:
        if not _is_of_decoder(err):
            raise
        raise fault(f"{subject}{_problem(err, what, advice)}") from err


def decoded(items: Iterable[Item], source: Path | str, what: str, *, advice: str = REPLACE) -> Iterator[Item]:
    """Yield the items of a decoder that reads while it is iterated over, see `decoding`.

    Args:
        items: the decoder.
        source: the file.
        what: what the file is decoded as, with its article.
        advice: what to do about a damaged file.

    Raises:
        DataError: the decoder raised something.
    """
    iterator = iter(items)
    while True:
        try:  # not by `decoding`, which would take longer than the decoder
            item = next(iterator)
        except StopIteration:
            return
        except FptkitError:
            raise
        except Exception as err:
            raise DataError(f"{source}{_problem(err, what, advice)}") from err
        yield item


def _is_of_decoder(err: BaseException) -> bool:
    """Whether an error is one of a decoder; those written in Rust end in a panic, which is no `Exception`."""
    return isinstance(err, Exception) or type(err).__name__ == "PanicException"


def _problem(err: BaseException, what: str, advice: str) -> str:
    """What is wrong with a file, and what to do."""
    if isinstance(err, FileNotFoundError):
        return ": there is no such file; check the path"
    if isinstance(err, OSError) and err.errno:
        return f": cannot be read ({err.strerror or err}); check the path and its permissions"
    return f": not readable as {what}: {cause_of(err)}; {advice}"


def cause_of(err: BaseException) -> str:
    """What an error of a library says, as one short line without control characters."""
    if isinstance(err, RecursionError):
        return "it is nested too deeply"
    if isinstance(err, MemoryError):
        return "it needs more memory than there is"
    if isinstance(err, UnicodeDecodeError):
        return f"byte {err.start} is not {err.encoding.upper()}"
    try:
        said = str(err)
    except Exception:  # an error of the error
        said = ""
    line = one_line(said)
    return (line if line.endswith(" ...") else line.rstrip(".")) or type(err).__name__


def one_line(text: str) -> str:
    """Text of others for a message: one line, short, without control characters."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text[:2000]).split())
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]} ..."


def check_regular(path: Path, fault: type[FptkitError] = DataError, *, name: str = "") -> None:
    """Refuse what is not a regular file: a pipe waits for a writer, and a device may never end.

    A path where nothing is passes: opening it says so.

    Raises:
        FptkitError: of kind ``fault``: it is something else.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a zero byte in the path
        return
    if not stat.S_ISREG(mode):
        raise fault(f"{name or path}: not a file, but a folder, pipe or device; name a file")


def check_not_empty(path: Path) -> None:
    """Refuse a file without content, or what is not a file.

    Raises:
        DataError: it is empty, missing, not a regular file, or not readable.
    """
    with decoding(path, "a file"), path.open("rb") as file:
        empty = not file.read(1)
    if empty:
        raise DataError(f"{path}: the file is empty (0 bytes); copy or fetch it again")


def read_bytes(path: Path, fault: type[FptkitError] = DataError, *, name: str = "") -> bytes:
    """Read a regular file.

    Args:
        path: the file.
        fault: error to raise.
        name: what to call it in messages; empty for the path.

    Raises:
        FptkitError: of kind ``fault``: it is missing, not a regular file, or not readable.
    """
    check_regular(path, fault, name=name)
    with decoding(name or str(path), "a file", fault):
        return path.read_bytes()


def check_unpacked(path: Path, size: int) -> None:
    """Refuse a packed file whose content is much larger than itself.

    Args:
        path: the file.
        size: bytes of its content.

    Raises:
        DataError: it exceeds `SMALL_BYTES` and `MOST_RATIO`.
    """
    packed = max(path.stat().st_size, 1)
    if size > SMALL_BYTES and size > MOST_RATIO * packed:
        raise DataError(
            f"{path}: would unpack to {size / 2**20:,.0f} MiB or more, {size / packed:,.0f} times its size, as files "
            "that are made to fill the memory do; if it is your own, store it unpacked"
        )


class Unpacked(io.RawIOBase):
    """The content of a packed or plain file, read inside the boundary and up to the limit of `check_unpacked`.

    Args:
        file: the decoder's file; closed with this one.
        path: its path.
        what: what it is decoded as, with its article.
        limited: whether the content may be larger than the file.
    """

    def __init__(self, file: BinaryIO, path: Path, what: str, *, limited: bool) -> None:
        super().__init__()
        self._file, self._path, self._what = file, path, what
        self._most = max(SMALL_BYTES, MOST_RATIO * path.stat().st_size) if limited else None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is, slowly if packed."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; returns the number of bytes.

        Raises:
            DataError: the file is damaged, or its content exceeds the limit.
        """
        with decoding(self._path, self._what):
            read: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
        if self._most is not None and read and (place := self._file.tell()) > self._most:
            check_unpacked(self._path, place)
        return read

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place of the content.

        Raises:
            DataError: the file is damaged.
        """
        with decoding(self._path, self._what):
            return self._file.seek(offset, whence)

    def close(self) -> None:
        """Close it and the decoder's file."""
        if not self.closed:
            self._file.close()
        super().close()


class _Shown(reprlib.Repr):
    """Python's own abbreviation, with numbers of any length and few levels."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxother, self.maxstring = 2, 60, 60

    def repr_int(self, x: int, level: int) -> str:
        """A number; of a very long one, its size, since Python refuses to write it out."""
        return f"a number of {x.bit_length():,} bits" if x.bit_length() > 200 else repr(x)


def shown_value(value: object, most: int = 60) -> str:
    """A value of a file for messages: short whatever it is, however deeply it is nested.

    Args:
        value: the value.
        most: number of characters.
    """
    try:
        text = _Shown().repr(value)
    except Exception:  # a value whose own repr fails
        text = f"a value of type {type(value).__name__}"
    return text[:most]
