"""Zip files with the same bytes for the same content, and safe unpacking of those from others."""

from __future__ import annotations

import contextlib
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from fptkit.errors import DataError, UsageError
from fptkit.files import replacing
from fptkit.sources.archive import is_inside
from fptkit.sources.decoding import decoding

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every member: the earliest a zip file can have."""

MOST_FILES = 1_000_000

SMALL_BYTES = 256 * 2**20
"""Unpacked size up to which any compression is accepted."""

MOST_RATIO = 100
"""Unpacked over packed size beyond which a larger archive counts as a zip bomb; texts of a study compress 5 to 30
fold."""

_STORED = (".safetensors",)
"""Suffixes of files that do not compress."""


def write_zip(path: Path, content: Mapping[str, Path | bytes]) -> None:
    """Write a zip file atomically.

    The bytes depend on names and contents only, and on the version of zlib.

    Args:
        path: the zip file; replaced if it exists.
        content: file or bytes of every member, by its name with ``/``; names of folders end with it.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
            for name in sorted(content):
                _add(archive, name, content[name])
    except OSError as err:
        raise UsageError(f"{path} cannot be written: {err.strerror or err}; choose another --output") from err


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Unpack a zip file into a temporary folder, which is removed at the end.

    Raises:
        DataError: it is damaged, or unsafe to unpack: a name leads out of the folder or is used twice, a member is a
            link, or it is a zip bomb.
    """
    with tempfile.TemporaryDirectory(prefix="fptkit-bundle-") as place:
        folder = Path(place)
        with decoding(path, "a zip file", advice="fetch it again"), zipfile.ZipFile(path) as archive:
            for member in _checked(archive, path):
                target = folder.joinpath(*PurePosixPath(member.filename).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, 2**20)
        yield folder


def _add(archive: zipfile.ZipFile, name: str, content: Path | bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3  # Unix, on every system
    is_folder = name.endswith("/")
    info.external_attr = (stat.S_IFDIR | 0o755 if is_folder else stat.S_IFREG | 0o644) << 16
    info.compress_type = zipfile.ZIP_STORED if is_folder or name.endswith(_STORED) else zipfile.ZIP_DEFLATED
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    with archive.open(info, "w", force_zip64=size >= 2**31) as target:
        if isinstance(content, bytes):
            target.write(content)
        else:
            with content.open("rb") as source:
                shutil.copyfileobj(source, target, 2**20)


def _checked(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The files of an archive, after a check of names, links and sizes.

    Raises:
        DataError: see `unpacked`.
    """
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MOST_FILES:
        raise DataError(f"{path} has {len(members):,} files, more than any study; it is not unpacked")
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if not is_inside(name):
            raise DataError(f"{path}: the name {name!r} leads out of the archive's own folder; it is not unpacked")
        if name.casefold() in seen:
            raise DataError(f"{path}: the name {name!r} is used twice; it is not unpacked")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise DataError(f"{path}: {name!r} is a link or a device; it is not unpacked")
        seen.add(name.casefold())
    size, packed = sum(member.file_size for member in members), max(path.stat().st_size, 1)
    if size > SMALL_BYTES and size > MOST_RATIO * packed:
        raise DataError(
            f"{path} would unpack to {size / 2**20:,.0f} MiB, {size / packed:,.0f} times its size: a zip bomb; it is "
            "not unpacked"
        )
    return members
