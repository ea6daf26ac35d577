"""Compares run folders with a study's manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fptkit.files import ADDRESS, ENVIRONMENT, METRICS, RUN_REPORT, SUMMARY, find_summary
from fptkit.lab.studies.job import LOG
from fptkit.lab.studies.results import run_folder
from fptkit.lab.verification.consistency import check_run
from fptkit.lab.verification.differences import Findings, json_differences
from fptkit.lab.verification.manifest import MANIFEST, Manifest, RunRecord, files_in, same_json
from fptkit.sources.download import file_sha256

TENSORS = ".safetensors"

MayLack = Callable[[str], bool]
"""Whether a file may be missing, by its path in its folder."""

_OPEN = ("waiting", "running", "paused", "validated", "failed", "interrupted", "lost")
"""States from which another study may take a run further."""


def check_runs(
    manifest: Manifest, ledger_folder: Path, findings: Findings, *, tensors: bool, may_lack: MayLack | None = None
) -> frozenset[str]:
    """Compare the folders of all runs with a manifest.

    Args:
        manifest: the manifest.
        ledger_folder: folder of the ledger.
        findings: receives what does not agree.
        tensors: whether to read tensor files.
        may_lack: whether a bundle may lack a file of a run folder; None if it is no bundle. Runs of a bundle are never
            continued.

    Returns:
        Addresses of the runs that were continued since the manifest was written.
    """
    continued = set()
    for address, record in manifest.runs.items():
        if _check_run(address, record, ledger_folder, findings, tensors=tensors, may_lack=may_lack):
            continued.add(address)
    if continued:
        findings.continued = count = len(continued)
        findings.notes.append(
            f"{count} run{' was' if count == 1 else 's were'} continued since the results were written, by another "
            "study or call: figures are derived from the record in the manifest. Run the study again to update them"
        )
    return frozenset(continued)


def check_listed_run(
    folder: Path, manifest: Manifest, findings: Findings, *, tensors: bool, may_lack: MayLack | None = None
) -> bool:
    """Compare a single run folder with a manifest; returns whether it lists the run."""
    for address, record in manifest.runs.items():
        if record.files and run_folder(Path(), address).name == folder.name:
            if may_lack is None and _continued(folder, record):
                _check_prefixes(folder, folder.name, record, findings)
            else:
                _check_files(folder, folder.name, record, findings, tensors=tensors, may_lack=may_lack)
            return True
    return False


def _check_run(
    address: str,
    record: RunRecord,
    ledger_folder: Path,
    findings: Findings,
    *,
    tensors: bool,
    may_lack: MayLack | None,
) -> bool:
    """Compare one folder; whether the run was continued."""
    if not record.files:
        return False  # not started, or in progress: the results use nothing of it
    folder = run_folder(ledger_folder, address)
    name = folder.relative_to(ledger_folder).as_posix()
    findings.runs += 1
    if not folder.is_dir():
        findings.wrong(name, "the run folder is missing")
        return False
    continued = may_lack is None and _continued(folder, record)
    if continued:
        _check_prefixes(folder, name, record, findings)
    else:
        _check_files(folder, name, record, findings, tensors=tensors, may_lack=may_lack)
    if continued and (folder / ADDRESS).read_text(encoding="utf-8").strip() != address:
        findings.wrong(f"{name}/{ADDRESS}", f"is not {address}, the address of the run in {MANIFEST}")
    check_run(folder, name, findings, tensors=tensors)
    return continued


def _check_files(
    folder: Path, name: str, record: RunRecord, findings: Findings, *, tensors: bool, may_lack: MayLack | None
) -> None:
    there = {*files_in(folder)} - {RUN_REPORT}
    for file, digest in record.files.items():
        if file.endswith(TENSORS) and not tensors:
            continue
        if file not in there:
            if may_lack is None or not may_lack(file):
                findings.wrong(f"{name}/{file}", "is missing")
            continue
        findings.files += 1
        if file_sha256(folder / file) == digest or (
            file == LOG and _starts_with(folder / file, record.log_bytes, digest)
        ):
            continue  # a worker that finds nothing to do adds to the log
        if file == SUMMARY and not same_json(found := find_summary(folder), record.summary):
            findings.differences += json_differences(f"{name}/{file}", found, record.summary)
        else:
            findings.wrong(f"{name}/{file}", "was changed since the results were written: its digest differs")
    findings.added += [f"{name}/{file}" for file in sorted(there - record.files.keys())]


def _continued(folder: Path, record: RunRecord) -> bool:
    """Whether another study or call took a run further: then its summary advances and its records of calls change."""
    found = find_summary(folder)
    before = record.summary
    advanced = (
        _number(found, "steps") > _number(before, "steps")
        or _number(found, "times_tested") > _number(before, "times_tested")
        or (record.status in _OPEN and found.get("status") != before.get("status"))
    )
    log, environment = folder / LOG, folder / ENVIRONMENT
    longer = log.is_file() and log.stat().st_size > record.log_bytes > 0
    grown = longer and _starts_with(log, record.log_bytes, record.files.get(LOG, ""))
    again = environment.is_file() and file_sha256(environment) != record.files.get(ENVIRONMENT)
    return bool(advanced and (grown or again))


def _check_prefixes(folder: Path, name: str, record: RunRecord, findings: Findings) -> None:
    """A continued run keeps the metrics it reported before, unless it had to go back to a checkpoint."""
    if record.status in ("running", "lost", "interrupted", "failed") or METRICS not in record.files:
        return
    if not _starts_with(folder / METRICS, record.metrics_bytes, record.files[METRICS]):
        findings.wrong(f"{name}/{METRICS}", "its lines from before the run was continued were changed")


def _starts_with(path: Path, size: int, digest: str) -> bool:
    """Whether the first ``size`` bytes of a file have this SHA-256."""
    with path.open("rb") as file:
        return hashlib.sha256(file.read(size)).hexdigest() == digest if path.stat().st_size >= size else False


def _number(summary: Mapping[str, Any], key: str) -> int:
    value = summary.get(key, 0)
    return value if isinstance(value, int) else 0
