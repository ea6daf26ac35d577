"""Tar archives from others, unpacked by our own code: regular files under checked names, up to a size and a number.

Python's own protection (``tarfile.data_filter``) admits links, and could be led out of the folder by them for years:
CVE-2025-4517, CVE-2025-4330, CVE-2025-4138. Data sets need no links.
"""

from __future__ import annotations

import bz2
import contextlib
import fnmatch
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from fptkit.errors import DataError, UsageError
from fptkit.sources.decoding import Unpacked, decoded, decoding, shown_value

MOST_FILES = 1_000_000
"""Most members of an archive."""

_LONGEST_PART, _LONGEST_NAME = 255, 1000
_CHUNK = 1 << 20
_WHAT, _AGAIN = "a tar archive", "fetch it again"

_OPENERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}


def unpack(archive: Path, folder: Path, *, only: str = "*") -> None:
    """Unpack a tar archive, packed by gzip, bzip2, xz or not, into an existing folder without these files.

    Permissions, owners and times are not taken over.

    Args:
        archive: the archive.
        folder: destination.
        only: pattern of the names of files to unpack, by the rules of `fnmatch`.

    Raises:
        DataError: the file is not a tar archive, is damaged, unpacks to much more than its size, or has a member that
            is neither file nor folder, or whose name is used twice or leads out of the folder. Nothing outside of the
            folder is touched.
        UsageError: the folder cannot be written.
    """
    with decoding(archive, _WHAT, advice=_AGAIN):
        file = archive.open("rb")
    with file:
        with decoding(archive, _WHAT, advice=_AGAIN):
            begin = file.read(6)
            file.seek(0)
            opener = next((opener for magic, opener in _OPENERS.items() if begin.startswith(magic)), None)
            content = file if opener is None else opener(file)
        with io.BufferedReader(Unpacked(content, archive, _WHAT, limited=opener is not None), _CHUNK) as stream:
            _unpack_stream(archive, stream, folder, only)


def _unpack_stream(archive: Path, stream: IO[bytes], folder: Path, only: str) -> None:
    with decoding(str(archive), _WHAT, advice=_AGAIN):
        opened = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115  # the stream is closed, it has nothing else
    count = 0
    for count, member in enumerate(decoded(opened, archive, _WHAT, advice=_AGAIN), start=1):
        if count > MOST_FILES:
            raise _refused(archive, f"it has more than {MOST_FILES:,} members")
        target = folder.joinpath(*_parts(archive, member))
        if not fnmatch.fnmatchcase(member.name, only):
            continue
        if member.isdir():
            with _writing(folder):
                target.mkdir(parents=True, exist_ok=True)
            continue
        with decoding(str(archive), _WHAT, advice=_AGAIN):
            source = opened.extractfile(member)
        if source is not None:
            _copy(archive, source, target, folder)
    if not count:
        raise DataError(f"{archive}: an archive without files; {_AGAIN}")
    while stream.read(_CHUNK):  # to the end, where the packing has its checksum
        pass


def _parts(archive: Path, member: tarfile.TarInfo) -> list[str]:
    """The parts of a member's name, relative to the folder.

    Raises:
        DataError: it is refused.
    """
    name = shown_value(member.name, 80)
    if not member.isdir() and (member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse()):
        raise _refused(archive, f"{name} is a link, a device or a sparse file, which no data set needs")
    parts = [part for part in member.name.strip("/").split("/") if part != "."]
    if not parts and member.isdir():
        return []
    if not is_inside("/".join(parts)):
        raise _refused(archive, f"the name {name} leads out of the folder, or is too long")
    return parts


def is_inside(name: str) -> bool:
    """Whether the name of a member of an archive stays inside the folder it is unpacked to, on every system.

    Names that are too long for a system do not.

    Args:
        name: the name, with ``/`` between its parts.
    """
    lengths = [len(part.encode("utf-8", "surrogateescape")) for part in name.split("/")]
    if max(lengths) > _LONGEST_PART or sum(lengths) > _LONGEST_NAME:
        return False
    return bool(name) and not any(
        part in ("", ".", "..") or "\\" in part or ":" in part or any(ord(character) < 32 for character in part)
        for part in name.split("/")
    )


def _refused(archive: Path, reason: str) -> DataError:
    return DataError(f"{archive}: refused to unpack: {reason}; fetch it from another source")


def _copy(archive: Path, source: IO[bytes], target: Path, folder: Path) -> None:
    """Copy a member to a new file; existing files and links are never opened."""
    with _writing(folder):
        target.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    if os.path.lexists(target):
        raise _refused(archive, f"the name {shown_value(target.name)} is used twice")
    with _writing(folder):
        descriptor = os.open(target, flags, 0o666)
    with open(descriptor, "wb") as file:
        while True:
            with decoding(str(archive), _WHAT, advice=_AGAIN):
                piece = source.read(_CHUNK)
            if not piece:
                return
            with _writing(folder):
                file.write(piece)
                file.flush()


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as err:  # ValueError: a name that the system cannot have
        said = getattr(err, "strerror", None) or err
        raise UsageError(f"{folder}: cannot be written ({said}); make room, or choose another folder") from err
