"""Verifies a study without a manifest, which earlier versions of fptkit made: its figures, not its files."""

from __future__ import annotations

import json
from pathlib import Path

from fptkit.engine.code_version import code_version
from fptkit.files import read_json
from fptkit.lab.studies.locking.lock import compare_stored
from fptkit.lab.studies.results import RESULTS, run_folder
from fptkit.lab.studies.stored import read_stored
from fptkit.lab.studies.summarise import results_of
from fptkit.lab.verification.consistency import check_run
from fptkit.lab.verification.differences import ROUNDING, Findings, json_differences
from fptkit.lab.verification.manifest import MANIFEST


def verify_unsealed(folder: Path, *, tensors: bool = True) -> Findings:
    """Derive the results of a study from its run folders as they are now.

    Args:
        folder: the study's folder, without a manifest.
        tensors: whether to read tensor files, which may be large.

    Raises:
        UsageError: the folder holds no results, or no ``study.yaml``.
        DataError: its files are damaged.
        RecipeError: ``study.yaml`` is damaged.
    """
    findings = Findings()
    findings.notes.append(
        f"{folder.name} has no {MANIFEST}, so only figures are checked: other changes of its files are not found. "
        "fptkit study writes one"
    )
    stored = read_stored(folder, folder.parent)
    for row in {row.address: row for row in stored.results.runs}.values():
        there = run_folder(folder.parent, row.address)
        if there.is_dir():
            findings.runs += 1
            check_run(there, there.relative_to(folder.parent).as_posix(), findings, tensors=tensors)
    if stored.results.format == 1:
        findings.notes.append(
            f"{RESULTS} is of an earlier version of fptkit, which tested otherwise, so it cannot be derived as it was; "
            "fptkit report --anew derives today's figures from the same runs"
        )
        return findings
    compared = compare_stored(stored.results, stored.outcomes)
    results = compared.marked(results_of(stored.facts, stored.lookup, folder.parent))
    derived = json.loads(results.model_dump_json())
    name = f"{folder.name}/{RESULTS}"
    newer = stored.results.code_version != code_version()
    findings.differences += json_differences(name, read_json(folder / RESULTS), derived, rounding=ROUNDING, newer=newer)
    return findings
