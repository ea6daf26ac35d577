"""Verifies a study's folder or a single run's folder."""

from __future__ import annotations

from pathlib import Path

from fptkit.errors import DataError, FptkitError
from fptkit.lab.studies.locking import plan_file
from fptkit.lab.studies.results import COSTS, RESULTS
from fptkit.lab.verification.consistency import check_run
from fptkit.lab.verification.derive import check_figures
from fptkit.lab.verification.differences import Findings
from fptkit.lab.verification.manifest import MANIFEST, OWN, PICTURES, Manifest, read_manifest
from fptkit.lab.verification.plans import check_plan_file, check_recipes, check_study_file, unlisted
from fptkit.lab.verification.runs import MayLack, check_listed_run, check_runs
from fptkit.sources.download import file_sha256

DERIVED = (RESULTS, COSTS, "report.md", "results.csv", "report.html")
"""Files of a study's folder that are derived again."""


def verify_study(folder: Path, *, tensors: bool = True, may_lack: MayLack | None = None) -> Findings:
    """Verify a study's folder, with the runs beside it.

    Args:
        folder: the study's folder.
        tensors: whether to read tensor files, which may be large.
        may_lack: whether a bundle may lack a file, by its path in the study's or a run's folder; None if it is no
            bundle.

    Raises:
        UsageError: the folder has no manifest.
    """
    findings = Findings()
    try:
        manifest = read_manifest(folder)
    except DataError as err:
        findings.wrong(f"{folder.name}/{MANIFEST}", str(err))
        return findings
    ledger_folder = folder.parent
    _check_manifest(folder, manifest, findings)
    check_plan_file(folder, manifest, findings)
    _check_digests(folder, manifest, findings, may_lack)
    check_study_file(folder, manifest, findings)
    continued = check_runs(manifest, ledger_folder, findings, tensors=tensors, may_lack=may_lack)
    check_recipes(ledger_folder, manifest, findings)
    check_figures(folder, ledger_folder, manifest, continued, findings)
    if others := unlisted(folder, {*OWN, PICTURES, MANIFEST, plan_file.FILE}):
        findings.notes.append(f"not covered: {', '.join(others)}, which fptkit study did not write")
    return findings


def verify_run(folder: Path, *, tensors: bool = True, may_lack: MayLack | None = None) -> Findings:
    """Verify the folder of a single run: its files agree with each other, and with the manifests of studies beside it.

    Args:
        folder: the run folder.
        tensors: whether to read tensor files, which may be large.
        may_lack: as in `verify_study`.
    """
    findings = Findings(runs=1)
    check_run(folder, folder.name, findings, tensors=tensors)
    listed = False
    for path in sorted(folder.resolve().parent.parent.glob(f"*/{MANIFEST}")):
        try:
            manifest = read_manifest(path.parent)
        except FptkitError as err:
            findings.notes.append(str(err))
            continue
        if check_listed_run(folder.resolve(), manifest, findings, tensors=tensors, may_lack=may_lack):
            findings.notes.append(f"compared with the manifest of {path.parent.name}")
            listed = True
    if not listed:
        findings.notes.append(
            "no study's manifest lists this run, so only its metrics, steps and tensors could be checked, against each "
            "other"
        )
    return findings


def _check_manifest(folder: Path, manifest: Manifest, findings: Findings) -> None:
    name = f"{folder.name}/{MANIFEST}"
    if manifest.digest != manifest.right_digest:
        findings.wrong(name, f"was changed after it was written: its digest is {manifest.right_digest[:12]}", "digest")
    elif (folder / MANIFEST).read_text(encoding="utf-8") != manifest.text:
        findings.wrong(name, "was changed after it was written, though not in its values")


def _check_digests(folder: Path, manifest: Manifest, findings: Findings, may_lack: MayLack | None) -> None:
    """Compare the files of a study's folder that are not derived again."""
    for file, digest in manifest.files.items():
        path = folder / file
        if file in DERIVED:
            findings.files += 1
        elif not path.is_file():
            if may_lack is None or not may_lack(file):
                findings.wrong(f"{folder.name}/{file}", "is missing")
        elif file_sha256(path) != digest:
            findings.wrong(f"{folder.name}/{file}", "was changed since it was written: its digest differs")
        else:
            findings.files += 1
