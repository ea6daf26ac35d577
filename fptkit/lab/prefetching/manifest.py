"""The manifest of what was fetched: names, revisions, digests, sizes and places; and the check against it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fptkit import __version__
from fptkit.errors import DataError, FptkitError, SourceError, UsageError
from fptkit.files import read_json, write_sealed
from fptkit.lab.prefetching.needs import Found, Loaded, Need, missing_data_set, needs_of, open_need
from fptkit.sources import data_sets
from fptkit.sources.activity import doing
from fptkit.sources.download import file_sha256
from fptkit.sources.probe import without_network

FORMAT = 1

MOST_FILES = 200
"""Data of more files are identified by one digest and listed by their folder only."""

NO_NETWORK = "this check uses no network"
"""Reason of what would have to be downloaded."""

State = Literal["ok", "fallback", "missing", "differs"]


@dataclass(frozen=True)
class Result:
    """How one need is met.

    Args:
        need: the need.
        state: ``ok``; ``fallback``: not by the first source; ``missing``; ``differs``: not what the manifest says.
        record: its entry of a manifest; None if it is missing.
        problem: why it is missing, or what differs, and what to do; for a fallback, why others are not available.
    """

    need: Need
    state: State
    record: dict[str, Any] | None
    problem: str = ""


def fetch(loaded: Loaded) -> list[Result]:
    """Download and open everything that a recipe or study needs and that is not here yet.

    Args:
        loaded: the recipe or study.
    """
    return [_fetched(need) for need in needs_of(loaded.recipes)]


def check(loaded: Loaded, manifest: Path | None) -> list[Result]:
    """Open everything that a recipe or study needs without using the network, and compare it with a manifest.

    Args:
        loaded: the recipe or study.
        manifest: its manifest; None to compare with nothing.

    Raises:
        DataError: the manifest cannot be read, or was altered.
        UsageError: the manifest is of a later version of fptkit.
    """
    recorded = None if manifest is None else read_manifest(manifest)
    results = []
    with without_network(NO_NETWORK):
        for result in (opened(need) for need in needs_of(loaded.recipes)):
            results.append(result if recorded is None else _compared(result, recorded))
    return results


def write_manifest(file: Path, loaded: Loaded, results: Iterable[Result]) -> None:
    """Write the manifest of what was fetched; what is missing is not in it.

    Raises:
        UsageError: it cannot be written.
    """
    content = {
        "format": FORMAT,
        "fptkit": __version__,
        "name": loaded.name,
        "kind": loaded.kind,
        "made_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "needs": [result.record for result in results if result.record is not None],
    }
    try:
        write_sealed(file, content)
    except OSError as err:
        raise UsageError(f"{file}: the manifest cannot be written: {err.strerror or err}; use --manifest") from err


def read_manifest(file: Path) -> dict[str, dict[str, Any]]:
    """Read the entries of a manifest, by the key of their need.

    Raises:
        DataError: it cannot be read, or was altered.
        UsageError: it is of a later version of fptkit.
    """
    content = read_json(file)
    if content.get("format") != FORMAT:
        raise UsageError(f"{file}: format {content.get('format')!r} of a manifest is not known; update fptkit")
    needs = content.get("needs")
    if not isinstance(needs, list) or not all(isinstance(one, dict) and "key" in one for one in needs):
        raise DataError(f"{file}: it has no list of needs; write it again with fptkit prefetch")
    return {one["key"]: one for one in needs}


def _fetched(need: Need) -> Result:
    """Open one need, and download the data set it lacks, if any."""
    result, found = _opened(need)
    name = missing_data_set(need, found)
    if not name:
        return result
    try:
        data_sets.fetch(name)
    except SourceError as err:
        reasons = "; ".join(f"{address}: {reason}" for address, reason in err.tried)
        return replace(result, problem=f"{reasons}; {result.problem}")
    except FptkitError as err:
        return replace(result, problem=f"{' '.join(str(err).split())}; {result.problem}")
    return opened(need)


def opened(need: Need) -> Result:
    """Open one need; a failure is a result, so that the others are still opened."""
    return _opened(need)[0]


def _opened(need: Need) -> tuple[Result, Found | None]:
    """How a need is met, and what was opened for it."""
    doing(f"{'opening the data of task' if need.kind == 'data' else 'opening the weights of backbone'} {need.name}")
    try:
        found = open_need(need)
        record = _record(need, found)
    except SourceError as err:
        reasons = "; ".join(f"{entry}: {reason}" for entry, reason in err.tried)
        return Result(need, "missing", None, f"{reasons}. {' '.join(err.advice.split())}".strip()), None
    except FptkitError as err:
        return Result(need, "missing", None, " ".join(str(err).split())), None
    except OSError as err:
        return Result(need, "missing", None, f"{err.filename or need.name}: {err.strerror or err}"), None
    if not found.stand_in:
        return Result(need, "ok", record), found
    reasons = "; ".join(f"{entry}: {reason}" for entry, reason in found.skipped)
    return Result(need, "fallback", record, reasons or next(iter(found.facts.get("notes", ())), "")), found


def _record(need: Need, found: Found) -> dict[str, Any]:
    """The entry of a manifest."""
    facts = {name: value for name, value in found.facts.items() if name != "notes"}
    listed = found.files if len(found.files) <= MOST_FILES else ()
    places = {str(file.parent.absolute()) for file in found.files}
    return {
        "key": need.key,
        "kind": need.kind,
        "name": need.name,
        "used_by": list(need.used_by),
        **facts,
        "source": found.entry,
        "stand_in": found.stand_in,
        "bytes": sum(file.stat().st_size for file in found.files),
        "place": os.path.commonpath(places) if places else "",
        "files": [
            {"name": file.name, "path": str(file.absolute()), "bytes": file.stat().st_size, "sha256": _sha256(file)}
            for file in listed
        ],
    }


def _sha256(file: Path) -> str:
    doing(f"computing the digest of {file.name}")
    return file_sha256(file)


def _compared(result: Result, recorded: dict[str, dict[str, Any]]) -> Result:
    """The result, ``differs`` if what is here is not what was recorded."""
    if result.record is None:
        return result
    before = recorded.get(result.need.key)
    if before is None:
        advice = "the recipe was changed since, or the manifest is of another one; run fptkit prefetch again"
        return Result(result.need, "differs", result.record, f"it is not in the manifest: {advice}")
    if problem := _difference(before, result.record):
        return Result(result.need, "differs", result.record, f"{problem}; copy the recorded files again")
    return Result(result.need, result.state, result.record, result.problem)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs between the record of a manifest and what is here; empty if nothing that matters does."""
    if before.get("source") != now["source"]:
        return f"{now['source']} is used, but {before.get('source')} was fetched"
    if before.get("digest") != now.get("digest"):
        return f"the data have the digest {now.get('digest')}, but {before.get('digest')} was fetched"
    files = before.get("files")
    was = {one["name"]: one["sha256"] for one in files} if isinstance(files, list) else {}
    for file in now["files"]:
        if was.get(file["name"]) != file["sha256"] and now["kind"] == "weights":
            return f"{file['path']} is not the file that was fetched: its SHA-256 is {file['sha256']}"
    missing = sorted(was.keys() - {file["name"] for file in now["files"]})
    return f"{', '.join(missing)} was fetched, but is not here" if missing else ""


def complete(results: Sequence[Result]) -> bool:
    """Whether everything is here, by the first source or a fallback, as recorded."""
    return all(result.state in ("ok", "fallback") for result in results)
