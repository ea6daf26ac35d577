"""Data sets that can be fetched: their sources, their files, and which of them are installed.

Imports neither torch nor numpy, so that listings start fast. Each data set has an installer, named as text.
"""

from __future__ import annotations

import importlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from fptkit.errors import DataError, SourceError, UnknownNameError, UsageError
from fptkit.files import find_json, write_json
from fptkit.sources import Unavailable, data_folder
from fptkit.sources.archive import unpack
from fptkit.sources.download import RETRIES, Progress, Retries, download, file_sha256

MANIFEST = "fptkit-manifest.json"

MOST_BYTES = 8 * 2**30
"""Most bytes of an archive."""

Installer = Callable[[Path, Path], Mapping[str, int]]
"""Checks the unpacked files and writes those that the task reads: (unpacked, destination) -> records per file stem."""


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Args:
        name: its name, also that of its folder under `fptkit.sources.data_folder`.
        summary: one line for listings.
        url: address of the archive.
        installer: ``"package.module:function"``, see `Installer`.
        records: number of records by file stem.
        extensions: file extensions, best first.
        source: paper or repository.
        licence: licence as stated by the source.
        checksum: what is known about the digest of the archive.
        sha256: digest of the archive, if its source publishes it; empty otherwise.
        advice: what a user can do if it cannot be fetched.
        members: pattern of the files in the archive that are unpacked, see `fptkit.sources.archive.unpack`.
    """

    name: str
    summary: str
    url: str
    installer: str
    records: Mapping[str, int]
    extensions: tuple[str, ...]
    source: str
    licence: str
    checksum: str
    advice: str
    sha256: str = ""
    members: str = "*"


DATA_SETS: Mapping[str, DataSet] = {
    "remote_homology": DataSet(
        name="remote_homology",
        summary="TAPE remote homology: protein domains of SCOP 1.75 labelled by fold, three hold-outs",
        # The JSON form ("raw data"); data_pytorch/remote_homology.tar.gz is the LMDB form, with pickled records.
        # Read in songlab-cal/tape, README.md, section "Raw Data", at 6d345c2b.
        url="https://s3.amazonaws.com/songlabdata/proteindata/data_raw_pytorch/remote_homology.tar.gz",
        installer="fptkit.tasks.homology.install:install",
        # Rao et al. 2019; checked_against: transcription
        records={
            "remote_homology_train": 12_312,
            "remote_homology_valid": 736,
            "remote_homology_test_fold_holdout": 718,
            "remote_homology_test_superfamily_holdout": 1_254,
            "remote_homology_test_family_holdout": 1_272,
        },
        extensions=(".json.gz", ".json", ".lmdb"),
        source="TAPE, Rao et al. 2019, arXiv 1906.08230; songlab-cal/tape",
        licence="none stated for the data; TAPE asks users to cite it and SCOPe (Fox et al. 2013)",
        checksum="TAPE publishes none: the digest of the first download is recorded and required later",
        advice=(
            "Get TAPE's data with 'fptkit data fetch remote_homology' (its link is often down). Or put its files,\n"
            "remote_homology_<split>.json, .json.gz or .lmdb, into a folder and name it: source: path:DIR.\n"
            "Or add 'simulated' as a fallback to task.source, for simulated families."
        ),
    ),
    "listops": DataSet(
        name="listops",
        summary="ListOps of Long Range Arena: nested expressions of 500 to 2,000 symbols; its archive has 7.7 GB",
        # A tar archive in spite of its name. Read in google-research/long-range-arena, README.md.
        url="https://storage.googleapis.com/long-range-arena/lra_release.gz",
        installer="fptkit.tasks.listops.install:install",
        # Tay et al. 2020; google-research/long-range-arena, lra_benchmarks/data/listops.py
        records={"basic_train": 96_000, "basic_val": 2_000, "basic_test": 2_000},
        extensions=(".tsv.gz", ".tsv"),
        source="Long Range Arena, Tay et al. 2020, arXiv 2011.04006; google-research/long-range-arena",
        licence="Apache-2.0, that of the repository",
        checksum="none is published: the digest of the first download is recorded; use --sha256 to require one",
        advice=(
            "Get the data with 'fptkit data fetch listops' (its link is often closed; --url names a mirror). Or put\n"
            "basic_train.tsv, basic_val.tsv and basic_test.tsv into a folder and name it: source: path:DIR.\n"
            "Or use 'generated': expressions by the same rules."
        ),
        members="*/listops-1000/basic_*.tsv",
    ),
}


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


def find_data_set(name: str) -> DataSet:
    """Return the data set with this name.

    Raises:
        UnknownNameError: there is no data set with this name.
    """
    if name not in DATA_SETS:
        raise UnknownNameError("data set", name, DATA_SETS)
    return DATA_SETS[name]


def files_of(name: str, folder: Path) -> dict[str, Path]:
    """Find the files of a data set in a folder, by stem; if a file exists in several formats, the best one.

    Raises:
        UnknownNameError: there is no data set with this name.
    """
    data_set = find_data_set(name)
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
            _install(data_set, archive, folder, {"url": address, "sha256": loaded.sha256, "size": loaded.size})
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


def _install(data_set: DataSet, archive: Path, folder: Path, origin: Mapping[str, object]) -> None:
    module, _, function = data_set.installer.partition(":")
    installer: Installer = getattr(importlib.import_module(module), function)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacked-") as temporary:
        unpacked, ready = Path(temporary, "unpacked"), Path(temporary, "ready")
        unpacked.mkdir()
        ready.mkdir()
        unpack(archive, unpacked, only=data_set.members)
        try:
            records = installer(unpacked, ready)
        except Unavailable as err:
            raise DataError(str(err)) from err
        for old in files_of(data_set.name, folder).values():  # other formats of the same split would be found first
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
            "records": dict(records),
            "files": digests,
        }
        write_json(folder / MANIFEST, manifest)
