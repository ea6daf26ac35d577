"""Writes everything in a study's folder: the resolved study, results, reports, and the manifest that seals them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import fptkit
from fptkit.errors import UsageError
from fptkit.files import write_text
from fptkit.lab.studies.locking.digests import opened_by
from fptkit.lab.studies.locking.lock import Compared, compare, compare_results, record
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Study
from fptkit.lab.studies.record import FILE, STATE, study_folder, study_text
from fptkit.lab.studies.results import RESULTS, StudyResults
from fptkit.lab.verification.manifest import MANIFEST


def write_outputs(
    study: Study,
    outcomes: Mapping[str, Outcome],
    ledger_folder: Path,
    *,
    overrides: Sequence[str],
    command: Sequence[str],
) -> None:
    """Write the files of a study, unless they exist and were made from the same outcomes.

    Args:
        study: the checked study.
        outcomes: outcomes of its runs, by address.
        ledger_folder: folder of the ledger.
        overrides: the overrides it was loaded with.
        command: the command line.
    """
    folder = study_folder(ledger_folder, study)
    state = _state(study, outcomes, compare(study, folder))
    made = [folder / name for name in (FILE, RESULTS, "report.md", "report.html", MANIFEST)]
    if _read(folder / STATE) == state and all(path.exists() for path in made):
        return
    from fptkit.lab.reporting import write_reports
    from fptkit.lab.reporting.of_plugins import of_study
    from fptkit.lab.reporting.write import FILES
    from fptkit.lab.studies.locking.content import plan_of
    from fptkit.lab.studies.summarise import write_results
    from fptkit.lab.verification.manifest import make_manifest, record_reports, write_manifest

    folder.mkdir(parents=True, exist_ok=True)
    for name in (STATE, MANIFEST):  # if this is interrupted, the next call writes everything
        (folder / name).unlink(missing_ok=True)
    write_text(folder / FILE, study_text(study, overrides, command))
    plan = plan_of(study)

    def mark(results: StudyResults) -> StudyResults:
        compared = compare_results(folder, plan, opened_by(results.runs, outcomes))
        record(folder, compared)
        return compared.marked(results)

    results = write_results(study, outcomes, ledger_folder, folder, mark=mark)
    own = of_study(results)
    write_reports(folder, ledger_folder, own=own)
    write_text(folder / STATE, state)
    write_manifest(folder, make_manifest(folder, ledger_folder, plan, results, outcomes))
    if own:
        record_reports(folder, [folder / name for name in FILES.values()], (), own)


def renew_outputs(folder: Path) -> None:
    """Replace results and reports of a stored study by what the statistics of this version derive from its runs.

    Runs, plan and recipes must be as the manifest records them. What is interrupted is done by another call.

    Args:
        folder: the study's folder, in the ledger folder.

    Raises:
        UsageError: anything but results, costs and reports differs from the manifest, runs were continued since, or
            this version's statistics need runs that were not made.
    """
    from fptkit.lab.studies.summarise import costs_of, save_results
    from fptkit.lab.verification.derive import derived_reports, derived_results
    from fptkit.lab.verification.manifest import PICTURES, read_manifest, study_digests, write_manifest
    from fptkit.lab.verification.verify import DERIVED, verify_study

    folder = folder.resolve()
    manifest, ledger_folder = read_manifest(folder), folder.parent
    findings = verify_study(folder)
    renewed = tuple(f"{folder.name}/{name}" for name in (*DERIVED, f"{PICTURES}/"))
    others = [one for one in findings.differences if not one.file.startswith(renewed)]
    if others:
        raise UsageError(f"{folder}: its results cannot be derived anew: {others[0]}; see: fptkit verify {folder}")
    if findings.continued:
        raise UsageError(
            f"{folder}: runs were continued since the results were written; run its fptkit study command again, which "
            "writes the results"
        )
    results = derived_results(folder, ledger_folder, manifest)
    lacking = [one for one in results.failures if not one.address]
    if lacking:
        raise UsageError(
            f"{folder}: this version's statistics need {len(lacking)} run{'s' if len(lacking) > 1 else ''} that the "
            "study did not make; fptkit report --anew without --save lists them"
        )
    costs = costs_of(results, {address: record.outcome(address) for address, record in manifest.runs.items()})
    texts = derived_reports(folder, ledger_folder, manifest, results, costs)
    (folder / STATE).unlink(missing_ok=True)  # what it describes is replaced
    save_results(results, costs, folder)
    for file, text in texts.items():
        write_text(folder / file, text)
    write_manifest(folder, manifest.model_copy(update={"files": study_digests(folder)}).sealed())


def _state(study: Study, outcomes: Mapping[str, Outcome], compared: Compared) -> str:
    """Digest of everything that the files are made from."""
    content = [
        fptkit.__version__,
        study.name,
        study.profile,
        study.code_version,
        study.settings.model_dump(mode="json"),
        [[str(cell.name), cell.loaded.recipe.model_dump(mode="json")] for cell in study.cells],
        {str(place): reason for place, reason in study.skipped.items()},
        dict(study.arm_summaries),
        [compared.plan, compared.deviations],
        {
            address: [outcome.status, outcome.reason, outcome.step, outcome.summary]
            for address, outcome in outcomes.items()
        },
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
