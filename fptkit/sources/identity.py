"""Identity of data by content: digests of files and folders, cached by size, times and inode.

A path is not an identity: another file under the same path gives other results. Digests are BLAKE2b of 16 bytes. A
folder's digest covers the relative names and contents of its files, so a copy in another place has the same one.

The cache holds, for each place, the status of every file when its digest was computed. A file is not cached if its last
change was so recent that a second one could leave the same time. Damaged caches, and those that others can write, are
ignored; those that were not used for long are removed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fptkit.errors import DataError
from fptkit.files import find_json, write_bytes
from fptkit.sources.choice import data_folder
from fptkit.sources.ownership import is_own

DIGEST_BYTES = 16
_CHUNK = 1 << 22
_LARGE = 1 << 26
_TICK_NS, _COARSE_TICK_NS = 50_000_000, 2_000_000_000
"""The longest time between two changes with equal times: most file systems take the kernel's clock ticks, of 10 ms at
most, FAT takes 2 s."""
_MOST_PARTS = 24
_DAY = 86_400
_KEPT_DAYS, _MOST_CACHED = 120, 2000
"""Days without use, and number of places, beyond which digests are no longer cached."""
_METADATA = frozenset(("thumbs.db", "desktop.ini", "__macosx", "__pycache__", "lock.mdb"))

Status = tuple[int, int, int, int]
"""Size, time of the last change of content and of status in nanoseconds, and inode of a file."""


@dataclass(frozen=True)
class DataIdentity:
    """What data were opened, by content.

    Args:
        source: where they came from, an entry of the recipe's ``task.source``.
        digest: digest of all of them, in hexadecimal.
        parts: digests of the files; of many files, of the folders that hold them.
        files: number of files; 0 for generated data.
        size: bytes of the files.
        other_parts: names of parts that are not files.
    """

    source: str
    digest: str
    parts: Mapping[str, str] = field(default_factory=dict)
    files: int = 0
    size: int = 0
    other_parts: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """As in ``summary.json``."""
        return {
            "source": self.source,
            "digest": self.digest,
            "files": self.files,
            "bytes": self.size,
            "parts": dict(self.parts),
            **({"other_parts": list(self.other_parts)} if self.other_parts else {}),
        }


@dataclass(frozen=True)
class Place:
    """Where data are.

    Args:
        base: a file or folder; names are relative to it.
        files: the files that are opened; None for ``base`` itself, with everything in it.
    """

    base: Path
    files: tuple[Path, ...] | None = None

    @classmethod
    def around(cls, files: Iterable[Path]) -> Place | None:
        """The place of some files: the smallest folder that holds all of them; None for no files."""
        found = tuple(dict.fromkeys(map(Path, files)))
        if len(found) < 2:
            return cls(found[0]) if found else None
        return cls(Path(os.path.commonpath([os.path.abspath(path) for path in found])), found)

    def named(self) -> dict[str, Path]:
        """The files that exist, by their names relative to the base; those in folders are included."""
        named: dict[str, Path] = {}
        folder = self.base if self.base.is_dir() else self.base.parent
        for part in (self.base,) if self.files is None else self.files:
            for path in walk(part) if part.is_dir() else (part,) if part.is_file() else ():
                named[Path(os.path.relpath(path, folder)).as_posix()] = path
        return named


@dataclass(frozen=True)
class Snapshot:
    """The files at some places at one time.

    Args:
        places: the places.
        files: files at each place, by their names relative to it.
        statuses: status of each file.
    """

    places: tuple[Place, ...]
    files: Mapping[Place, Mapping[str, Path]]
    statuses: Mapping[Path, Status]

    @classmethod
    def take(cls, places: Iterable[Place]) -> Snapshot:
        """Look at places, without reading content. Places and files that do not exist are left out."""
        places = tuple(dict.fromkeys(places))
        statuses: dict[Path, Status] = {}
        files: dict[Place, dict[str, Path]] = {}
        for place in places:
            named = {name: path for name, path in place.named().items() if _status(path, statuses)}
            if named:
                files[place] = named
        return cls(places, files, statuses)

    def check(self) -> None:
        """Check that the files are still the same.

        Raises:
            DataError: one was changed, replaced, added or removed.
        """
        now = Snapshot.take(self.places).statuses
        changed = [path for path in {**self.statuses, **now} if self.statuses.get(path) != now.get(path)]
        if changed:
            raise DataError(
                f"{changed[0]}: the file changed while it was read, so it is not known what was read; start again when "
                "nothing writes to it"
            )

    def identity(self, source: str, extra: Mapping[str, str] | None = None) -> DataIdentity:
        """The identity of these files.

        Args:
            source: where they came from.
            extra: digests of parts that are not files, by name.

        Raises:
            DataError: a file changed since the snapshot was taken, or cannot be read.
        """
        named: dict[str, str] = {}
        for number, (place, files) in enumerate(self.files.items()):
            # The name of a place does not count, so that a copy elsewhere has the same identity; the order does.
            prefix = f"{number}/" if len(self.files) > 1 else ""
            named |= {prefix + name: digest for name, digest in _digests_at(place, files, self.statuses).items()}
        self.check()
        named |= dict(extra or {})
        alone = len(named) == 1 and not extra and all(place.base.is_file() for place in self.files)
        size = sum(status[0] for status in self.statuses.values())
        digest = next(iter(named.values())) if alone else _combined(named)
        return DataIdentity(source, digest, _parts(named), len(self.statuses), size, tuple(extra or ()))


def defined(source: str, definition: str, extra: Mapping[str, str] | None = None) -> DataIdentity:
    """The identity of generated data: that of their definition.

    Args:
        source: name of the source, such as ``generated``.
        definition: everything that decides the data, as text.
        extra: digests of further parts, by name.
    """
    digest = hashlib.blake2b(definition.encode(), digest_size=DIGEST_BYTES).hexdigest()
    if not extra:
        return DataIdentity(source, digest)
    named = {"definition": digest, **extra}
    return DataIdentity(source, _combined(named), named, other_parts=tuple(extra))


def file_digest(path: Path) -> str:
    """The digest of a file's content, from the cache if the file did not change.

    Raises:
        DataError: it cannot be read, or changes meanwhile.
    """
    return Snapshot.take([Place(path)]).identity(str(path)).digest


def walk(folder: Path, unreadable: list[Path] | None = None, *, within: Path | None = None) -> Iterator[Path]:
    """Yield the files in a folder and those below, in the order of their names; links are followed, but not in circles.

    Hidden files and metadata of systems are left out, see `is_metadata`.

    Args:
        folder: the folder.
        unreadable: receives what is neither file nor folder: pipes, devices, links to nothing, and circles of links.
        within: a folder above; a link to it is a circle, too.

    Raises:
        DataError: a folder cannot be read.
    """
    above = frozenset() if within is None else frozenset({os.path.realpath(within)})
    yield from _walk(folder, above, [] if unreadable is None else unreadable)


def _walk(folder: Path, above: frozenset[str], unreadable: list[Path]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        unreadable.append(folder)
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as err:
        raise DataError(f"{folder}: cannot be read ({err.strerror or err}); check its permissions") from err
    for entry in entries:
        path = folder / entry.name
        if is_metadata(path):
            continue
        if _is(entry.is_dir, path):
            yield from _walk(path, above | {real}, unreadable)
        elif _is(entry.is_file, path):
            yield path
        else:
            unreadable.append(path)


def _is(test: Callable[[], bool], path: Path) -> bool:
    """The answer of a test of a folder's entry; no, for links in a circle."""
    try:
        return test()
    except OSError as err:
        if err.errno == errno.ELOOP:
            return False
        raise DataError(f"{path}: cannot be read ({err.strerror or err}); check its permissions") from err


def is_metadata(path: Path) -> bool:
    """Whether a file or folder is metadata of a system and not data: ``.DS_Store``, ``._x.wav``, ``Thumbs.db``."""
    return path.name.startswith(".") or path.name.lower() in _METADATA


def _status(path: Path, into: dict[Path, Status]) -> bool:
    """Note the status of a file; false if it no longer exists."""
    with contextlib.suppress(OSError):
        found = path.stat()
        into[path] = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    return path in into


def _digests_at(place: Place, files: Mapping[str, Path], statuses: Mapping[Path, Status]) -> dict[str, str]:
    """Digests of the files at a place, from its cache if their statuses are those it has."""
    cache_file = _cache_file(place.base)
    known = _read_cache(cache_file)
    _mark_used(cache_file)
    digests = {name: known[name][1] for name, path in files.items() if known.get(name, (None,))[0] == statuses[path]}
    missing = [name for name in files if name not in digests]
    if missing:
        _let_settle([statuses[files[name]] for name in missing])
        begun = time.time_ns()
        with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
            digests |= dict(zip(missing, pool.map(_digest, [files[name] for name in missing]), strict=True))
        settled = [name for name in files if _settled_at(statuses[files[name]]) < begun]
        entries = {name: (statuses[files[name]], digests[name]) for name in settled}
        _write_cache(cache_file, place.base, entries)
    return {name: digests[name] for name in files}


def _settled_at(status: Status) -> int:
    """The time from which a change of the file would change its times, too."""
    _, changed, status_changed, _ = status
    coarse = changed % 10**9 == 0 and status_changed % 10**9 == 0
    return max(changed, status_changed) + (_COARSE_TICK_NS if coarse else _TICK_NS)


def _let_settle(statuses: Iterable[Status]) -> None:
    """Wait until large files can be cached; small ones are read again next time."""
    latest = max((_settled_at(status) for status in statuses if status[0] >= _LARGE), default=0)
    wait = latest - time.time_ns()
    if 0 < wait <= _COARSE_TICK_NS:
        time.sleep(wait / 1e9 + 1e-3)


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror or err}); check its permissions") from err
    return digest.hexdigest()


def _combined(named: Mapping[str, str]) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for name, part in sorted(named.items()):
        digest.update(f"{len(name.encode('utf-8', 'surrogateescape'))} ".encode())
        digest.update(f"{name} {part}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _parts(named: Mapping[str, str]) -> dict[str, str]:
    """Digests by name; of more than a few files, by the folders at the top."""
    if len(named) <= _MOST_PARTS:
        return dict(named)
    tops: dict[str, dict[str, str]] = {}
    for name, digest in named.items():
        top, slash, _ = name.partition("/")
        tops.setdefault(top + slash, {})[name] = digest
    if len(tops) > _MOST_PARTS:
        return {}
    return {top: _combined(some) for top, some in tops.items()}


def _cache_file(place: Path) -> Path:
    name = hashlib.blake2b(os.fsencode(os.path.realpath(place)), digest_size=DIGEST_BYTES).hexdigest()
    return data_folder() / "digests" / f"{name}.json"


def _read_cache(file: Path) -> dict[str, tuple[Status, str]]:
    """Status and digest by name; empty if there is no usable cache."""
    found: dict[str, tuple[Status, str]] = {}
    files = find_json(file).get("files") if is_own(file) else None
    for name, entry in files.items() if isinstance(files, dict) else ():
        match entry:
            case [int(size), int(changed), int(status), int(inode), str(digest)] if len(digest) == 2 * DIGEST_BYTES:
                found[name] = ((size, changed, status, inode), digest)
    return found


def _write_cache(file: Path, place: Path, entries: Mapping[str, tuple[Status, str]]) -> None:
    with contextlib.suppress(OSError, ValueError):  # a cache that cannot be written costs time only
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = {name: [*status, digest] for name, (status, digest) in entries.items()}
        write_bytes(file, json.dumps({"place": str(place), "files": files}).encode(), mode=0o600)
        _prune(file.parent)


def _mark_used(file: Path) -> None:
    """Note that a cache is used, once a day: `_prune` keeps those."""
    with contextlib.suppress(OSError):
        if time.time() - file.stat().st_mtime > _DAY:
            os.utime(file)


@functools.cache
def _prune(folder: Path) -> None:
    """Remove caches that were not used for `_KEPT_DAYS`, and the oldest beyond `_MOST_CACHED`; once per process."""
    with contextlib.suppress(OSError):
        caches = [Path(entry.path) for entry in os.scandir(folder) if entry.name.endswith(".json")]
        used = sorted(((path.stat().st_mtime, path) for path in caches), reverse=True)
        for number, (last, path) in enumerate(used):
            if number >= _MOST_CACHED or time.time() - last > _KEPT_DAYS * _DAY:
                path.unlink(missing_ok=True)
