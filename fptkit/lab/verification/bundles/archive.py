"""Archives with the same bytes for the same content, and safe unpacking of those from others."""

from __future__ import annotations

import contextlib
import io
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from fptkit.errors import DataError, UsageError
from fptkit.files import replacing
from fptkit.sources.archive import is_inside, unpack
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

_TAR = ".tar.xz"
_XZ = b"\xfd7zXZ\0"
_OTHERS = (".tar", ".gz", ".tgz", ".bz2", ".tbz", ".xz", ".txz", ".zst", ".7z", ".rar")
"""Suffixes that promise a format which is not written."""


def write_archive(path: Path, content: Mapping[str, Path | bytes]) -> None:
    """Write an archive atomically: packed by xz if the name ends with ``.tar.xz``, else a zip file.

    The bytes depend on names and contents only, and on the version of zlib or liblzma. A zip file packs each member by
    itself; a tar archive of many similar members takes a fourth of its size.

    Args:
        path: the archive; replaced if it exists.
        content: file or bytes of every member, by its name with ``/``; names of folders end with it.

    Raises:
        UsageError: its name is that of another format, or it cannot be written.
    """
    is_tar = path.name.lower().endswith(_TAR)
    if not is_tar and path.suffix.lower() in _OTHERS:
        raise UsageError(f"{path}: a bundle is a zip file, or packed by xz; name it .zip or {_TAR}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            (_write_tar if is_tar else _write_zip)(partial, content)
    except OSError as err:
        raise UsageError(f"{path} cannot be written: {err.strerror or err}; choose another --output") from err


def _write_zip(path: Path, content: Mapping[str, Path | bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(content):
            _add(archive, name, content[name])


def _write_tar(path: Path, content: Mapping[str, Path | bytes]) -> None:
    with lzma.open(path, "wb") as packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        # By their last part, so that files of one kind follow each other and are packed by what they have in common.
        for name in sorted(content, key=lambda name: (PurePosixPath(name).name, name)):
            if not name.endswith("/"):
                _add_to_tar(archive, name, content[name])


def _add_to_tar(archive: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    info = tarfile.TarInfo(name)  # of no owner, from 1970
    if isinstance(content, bytes):
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        return
    with content.open("rb") as source:
        info.size = content.stat().st_size
        archive.addfile(info, source)


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Unpack a zip file, or a tar archive packed by xz, into a temporary folder, which is removed at the end.

    Raises:
        DataError: it is damaged, or unsafe to unpack: a name leads out of the folder or is used twice, a member is a
            link, or it is a bomb.
    """
    with tempfile.TemporaryDirectory(prefix="fptkit-bundle-") as place:
        folder = Path(place)
        if _is_tar(path):
            unpack(path, folder)
            _check_twice(path, [file.relative_to(folder).as_posix() for file in folder.rglob("*")])
        else:
            _unpack_zip(path, folder)
        yield folder


def _is_tar(path: Path) -> bool:
    """Whether an archive is unpacked as a tar archive; its first bytes decide, and its name if they are damaged."""
    with decoding(path, "an archive", advice="fetch it again"), path.open("rb") as file:
        begin = file.read(len(_XZ))
    return begin == _XZ or (path.name.lower().endswith(_TAR) and not begin.startswith(b"PK"))


def _unpack_zip(path: Path, folder: Path) -> None:
    with decoding(path, "a zip file", advice="fetch it again"), zipfile.ZipFile(path) as archive:
        for member in _checked(archive, path):
            target = folder.joinpath(*PurePosixPath(member.filename).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 2**20)


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
    for member in members:
        name = member.filename
        if not is_inside(name):
            raise DataError(f"{path}: the name {name!r} leads out of the archive's own folder; it is not unpacked")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise DataError(f"{path}: {name!r} is a link or a device; it is not unpacked")
    _check_twice(path, [member.filename for member in members])
    size, packed = sum(member.file_size for member in members), max(path.stat().st_size, 1)
    if size > SMALL_BYTES and size > MOST_RATIO * packed:
        raise DataError(
            f"{path} would unpack to {size / 2**20:,.0f} MiB, {size / packed:,.0f} times its size: a zip bomb; it is "
            "not unpacked"
        )
    return members


def _check_twice(path: Path, names: Iterable[str]) -> None:
    """Refuse names that are one name where a file system ignores case.

    Raises:
        DataError: there are such names.
    """
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise DataError(f"{path}: the name {name!r} is used twice; it is not unpacked")
        seen.add(name.casefold())
