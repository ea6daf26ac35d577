"""Data sets that can be fetched: their sources, their files, and which of them are installed.

Imports neither torch nor numpy, so that listings start fast. fptkit's own are in `fptkit.sources.records`.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from fptkit.errors import DataError, PluginError, SourceError, UsageError
from fptkit.files import find_json, write_json
from fptkit.registry import in_use
from fptkit.sources import Unavailable, data_folder
from fptkit.sources.archive import unpack
from fptkit.sources.download import RETRIES, Progress, Retries, download, file_sha256
from fptkit.specs import DataSetSpec, resolve_target
from fptkit.specs.guard import during

MANIFEST = "fptkit-manifest.json"

MOST_BYTES = 8 * 2**30
"""Most bytes of an archive."""


@dataclass(frozen=True)
class Status:
    """Which files of a data set are installed.

    Args:
        name: name of the data set.
        state: ``fetched``: complete, installed by fptkit; ``by_hand``: complete, without a record of its source;
            ``incomplete``; ``absent``.
        folder: the folder that was searched.
        files: the files found, by stem.
        missing: stems of missing files.
        size: bytes on disk.
        manifest: record of the download: ``url``, ``sha256`` and ``size`` of the archive, ``fetched_at`` (UTC),
            ``records`` by stem, ``files`` (SHA-256 by name).
    """

    name: str
    state: Literal["fetched", "by_hand", "incomplete", "absent"]
    folder: Path
    files: Mapping[str, Path] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    size: int = 0
    manifest: Mapping[str, object] = field(default_factory=dict)


def data_set_names() -> list[str]:
    """Names of all data sets that can be fetched, those of plugins too."""
    return list(in_use().names(DataSetSpec))


def find_data_set(name: str) -> DataSetSpec:
    """Return the data set with this name.

    Raises:
        UnknownNameError: there is no data set with this name.
    """
    return in_use().get(DataSetSpec, name)


def files_of(name: str, folder: Path) -> dict[str, Path]:
    """Find the files of a data set in a folder, by stem; if a file exists in several formats, the best one.

    Raises:
        UnknownNameError: there is no data set with this name.
    """
    return files_in(find_data_set(name), folder)


def files_in(data_set: DataSetSpec, folder: Path) -> dict[str, Path]:
    """Find the files of a data set in a folder, as `files_of` does."""
    found: dict[str, Path] = {}
    for stem in data_set.records:
        for extension in data_set.extensions:
            path = folder / (stem + extension)
            if path.exists():
                found[stem] = path
                break
    return found


def status(name: str, *, folder: Path | None = None) -> Status:
    """Report which files of a data set are installed.

    Args:
        name: name of the data set.
        folder: folder to search; by default, its folder in the data folder.

    Raises:
        UnknownNameError: there is no data set with this name.
    """
    data_set = find_data_set(name)
    folder = folder or data_folder() / name
    files = files_of(name, folder)
    missing = tuple(stem for stem in data_set.records if stem not in files)
    if not files:
        return Status(name, "absent", folder, missing=missing)
    manifest = _manifest(folder)
    state: Literal["fetched", "by_hand", "incomplete"] = "fetched" if manifest else "by_hand"
    if missing:
        state = "incomplete"
    size = sum(part.stat().st_size for path in files.values() for part in (path, *path.glob("*")) if part.is_file())
    return Status(name, state, folder, files, missing, size, manifest)


def _manifest(folder: Path) -> dict[str, object]:
    return find_json(folder / MANIFEST)  # missing or damaged: then nothing is known about the files


def fetch(
    name: str,
    *,
    url: str | None = None,
    sha256: str | None = None,
    folder: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
    retries: Retries = RETRIES,
) -> Status:
    """Download, unpack, check and install a data set; do nothing if it was fetched before.

    Args:
        name: name of the data set.
        url: another address of the archive, such as a mirror.
        sha256: required digest of the archive, in hexadecimal. If not given, that of the data set, or of the archive
            that was fetched into this folder before.
        folder: destination; by default, its folder in the data folder.
        force: fetch it even if it is installed; files with the same names are replaced.
        progress: called with the bytes received and the bytes in total.
        retries: time limit and number of attempts for a broken connection.

    Raises:
        UnknownNameError: there is no data set with this name.
        SourceError: it cannot be downloaded.
        DataError: the archive is not the expected one, or the folder has files that fptkit did not fetch.
        UsageError: the folder cannot be created.
    """
    from filelock import FileLock

    data_set = find_data_set(name)
    folder = folder or data_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise UsageError(f"cannot create the folder {folder}: {err}; choose another with $FPTKIT_DATA") from err
    with FileLock(folder / ".lock"):  # a second process waits and then finds the data set installed
        here = status(name, folder=folder)
        if here.state == "fetched" and not force:
            if sha256 is not None and here.manifest.get("sha256") != sha256.lower():
                raise DataError(
                    f"{folder} was fetched from an archive with SHA-256 {here.manifest.get('sha256')},\n"
                    f"not {sha256.lower()}; use --force to fetch it again"
                )
            return here
        if here.files and not here.manifest and not force:
            names = ", ".join(path.name for path in here.files.values())
            raise DataError(
                f"{folder} holds files that fptkit did not fetch: {names}.\n"
                "Use them by naming the folder (source: path:DIR), move them away, or replace them with --force."
            )
        address = url or data_set.url
        archive = folder / (name + ".download")
        wanted = sha256 or data_set.sha256 or _recorded_digest(here)
        try:
            loaded = download(
                address, archive, sha256=wanted, most_bytes=MOST_BYTES, progress=progress, retries=retries
            )
        except SourceError as err:
            raise SourceError(f"data set {name}", err.tried, data_set.advice) from err
        except DataError as err:
            if sha256 or not wanted:
                raise
            raise DataError(f"{err}\nThis digest was recorded before; accept another archive with --digest") from err
        try:
            install(data_set, archive, folder, {"url": address, "sha256": loaded.sha256, "size": loaded.size})
        finally:
            archive.unlink(missing_ok=True)
        return status(name, folder=folder)


def _recorded_digest(here: Status) -> str | None:
    """Digest of the archive that was fetched before, as its manifest says; None if nothing usable is recorded."""
    recorded = str(here.manifest.get("sha256", ""))
    return recorded if re.fullmatch(r"[0-9a-f]{64}", recorded) else None


def changed_files(folder: Path) -> list[str]:
    """Names of fetched files that are no longer those that were installed; empty for files put there by hand.

    Args:
        folder: folder of the data set.
    """
    digests = _manifest(folder).get("files")
    if not isinstance(digests, dict):
        return []
    return [
        name
        for name, digest in digests.items()
        if Path(name).name == name and (folder / name).is_file() and file_sha256(folder / name) != digest
    ]


def install(data_set: DataSetSpec, archive: Path, folder: Path, origin: Mapping[str, object]) -> Mapping[str, int]:
    """Unpack, check and install a downloaded archive.

    Args:
        data_set: the data set.
        archive: the archive, or the one file.
        folder: existing folder for its files.
        origin: what the manifest says about the download.

    Returns:
        Number of records by file stem.

    Raises:
        DataError: the archive is not the expected one.
        PluginError: the installer of a plugin cannot be imported, or did something else than it should.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacked-") as temporary:
        unpacked, ready = Path(temporary, "unpacked"), Path(temporary, "ready")
        unpacked.mkdir()
        ready.mkdir()
        if data_set.archive:
            unpack(archive, unpacked, only=data_set.members)
        else:
            shutil.copyfile(archive, unpacked / _file_name(data_set))
        records = _installed(data_set, unpacked, ready)
        for old in files_in(data_set, folder).values():  # other formats of the same split would be found first
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        digests = {}
        for path in sorted(ready.iterdir()):
            digests[path.name] = file_sha256(path)
            path.replace(folder / path.name)
        manifest = {
            "data_set": data_set.name,
            **origin,
            "checksum": data_set.checksum,
            "fetched_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "records": records,
            "files": digests,
        }
        write_json(folder / MANIFEST, manifest)
    return records


def _file_name(data_set: DataSetSpec) -> str:
    """The name of a data set that is one file: the last part of its address, or its first stem and extension."""
    named = unquote(urlsplit(data_set.url).path).rpartition("/")[2]
    known = {stem + extension for stem in data_set.records for extension in data_set.extensions}
    return named if named in known else f"{next(iter(data_set.records))}{data_set.extensions[0]}"


def _installed(data_set: DataSetSpec, unpacked: Path, ready: Path) -> dict[str, int]:
    """Let the installer check the unpacked files and write those that the task reads; returns its counts.

    Raises:
        DataError: they are other files than expected, or some are missing.
        PluginError: the installer cannot be imported, or returned something else.
    """
    if data_set.installer is None:
        return _as_they_are(data_set, unpacked, ready)
    installer = resolve_target(data_set.installer, wanted_by=data_set)
    with during(of=data_set):
        try:
            counts = installer(unpacked, ready)
        except Unavailable as err:
            raise DataError(str(err)) from err
        if not isinstance(counts, Mapping):
            raise PluginError(f"{data_set}: its installer returned {type(counts).__name__}, expected records by stem")
        if missing := [stem for stem in data_set.records if stem not in files_in(data_set, ready)]:
            raise PluginError(f"{data_set}: its installer wrote no {missing[0]}{data_set.extensions[0]}")
    return dict(counts)


def _as_they_are(data_set: DataSetSpec, unpacked: Path, ready: Path) -> dict[str, int]:
    """Take the files of a data set without an installer, wherever they are in the archive."""
    for stem in data_set.records:
        found = [path for ending in data_set.extensions for path in sorted(unpacked.rglob(stem + ending))]
        if not found:
            endings = " or ".join(data_set.extensions)
            raise DataError(f"{data_set}: the archive has no {stem}, as {endings}; it is not the expected one")
        found[0].replace(ready / found[0].name)
    return dict(data_set.records)
