"""Cache of compiled libraries in the user's cache folder; a library is loaded only if nobody else can have written it.

A library is code that runs with the user's rights, and a damaged one ends the process by a signal that cannot be
caught. So a library is used only if it matches the digest recorded beside it, if folder and files belong to the user,
and if nobody else can write or replace them. Otherwise nothing is cached and each process compiles for itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from pathlib import Path

from fptkit.files import write_bytes
from fptkit.sources.ownership import HAS_OWNERS, is_own_group

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def find(name: str) -> Path | None:
    """Return the path of a cached library if it is complete and was written by this user, else None."""
    folder = _folder()
    if folder is None:
        return None
    data, recorded = _read(folder / name), _read(_record(folder / name))
    if data is None or recorded is None or _sha256(data) != recorded:
        return None
    return folder / name


def keep(built: Path, name: str) -> Path | None:
    """Copy a library into the cache, replacing an earlier one; return its path, or None if it cannot be cached.

    Processes that do this at the same time each publish complete files. If a library and a digest come from different
    processes, `find` ignores the library, and it is compiled again.

    Args:
        built: the compiled library.
        name: its name in the cache.
    """
    folder = _folder()
    if folder is None:
        return None
    data = built.read_bytes()
    try:
        write_bytes(folder / name, data, flush=True, mode=0o600)
        write_bytes(_record(folder / name), _sha256(data), flush=True, mode=0o600)
    except OSError:  # a full disk, a folder that is read only
        return None
    return folder / name


def _record(library: Path) -> Path:
    return library.with_name(f"{library.name}.sha256")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _read(path: Path) -> bytes | None:
    """Content of a file; None if it is missing, a link, another user's, or writable by others."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            return file.read() if stat.S_ISREG(status.st_mode) and _is_ours(status) else None
    except OSError:
        return None


def _is_ours(status: os.stat_result) -> bool:
    return not HAS_OWNERS or (status.st_uid == os.geteuid() and not status.st_mode & _OTHERS)


def _folder() -> Path | None:
    """The cache folder, created if missing; None if it cannot be created or others could put files into it."""
    import platformdirs

    try:
        cache = Path(platformdirs.user_cache_dir("fptkit"))
        if not cache.is_absolute():  # no home folder is known
            return None
        cache.mkdir(parents=True, exist_ok=True)
        folder = Path(os.path.realpath(cache)) / "kernels"
        if not all(map(_is_safe, folder.parents)):
            return None
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or (HAS_OWNERS and status.st_uid != os.geteuid()):
            return None
        if not _is_ours(status):  # ours, but others could write into it: its files cannot be trusted
            shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
    except (OSError, RuntimeError):  # RuntimeError if no home folder is known
        return None
    return folder


def _is_safe(folder: Path) -> bool:
    """True if only this user and root can replace this user's files in a folder."""
    if not HAS_OWNERS:
        return True
    status = folder.lstat()
    if status.st_uid not in (0, os.geteuid()):
        return False
    if status.st_mode & stat.S_ISVTX:  # sticky, like /tmp: everyone may add files but not replace those of others
        return True
    if status.st_mode & stat.S_IWOTH:
        return False
    return not status.st_mode & stat.S_IWGRP or is_own_group(status.st_gid)
