"""Derives results, costs and reports from a study's runs again, with the code that made them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from fptkit.engine.code_version import code_version
from fptkit.errors import FptkitError
from fptkit.files import METRICS, read_json
from fptkit.lab.reporting.write import FILES, StudyFiles, pictures_of, text_of
from fptkit.lab.studies.locking.content import facts_of
from fptkit.lab.studies.locking.digests import opened_by
from fptkit.lab.studies.locking.lock import compare_results
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import CellName, Trial
from fptkit.lab.studies.record import command_of
from fptkit.lab.studies.results import COSTS, RESULTS, Costs, StudyResults, run_folder
from fptkit.lab.studies.summarise import costs_of, results_of
from fptkit.lab.verification.differences import ROUNDING, Difference, Findings, json_differences, line_differences
from fptkit.lab.verification.manifest import Manifest, ReportRecord
from fptkit.sources.download import file_sha256
from fptkit.specs import ReportSection


def check_figures(
    folder: Path, ledger_folder: Path, manifest: Manifest, continued: Collection[str], findings: Findings
) -> None:
    """Derive every file with figures from the runs, and compare it with the stored one.

    Args:
        folder: the study's folder.
        ledger_folder: folder of the ledger.
        manifest: the study's manifest.
        continued: addresses of runs that were continued since it was written.
        findings: receives what does not agree.
    """
    check = _Check(folder, manifest, findings)
    if manifest.plan.code != code_version():
        findings.notes.append(
            f"made by another version of the code ({manifest.plan.code[:12]}, fptkit {manifest.plan.fptkit}); figures "
            f"are derived with this one ({code_version()[:12]}), which may compute differently"
        )
    try:
        results = derived_results(folder, ledger_folder, manifest, continued)
    except FptkitError as err:  # such as a search by optuna, which is not installed
        findings.wrong(check.name(RESULTS), f"cannot be derived: {err}")
        return
    costs = costs_of(results, {address: record.outcome(address) for address, record in manifest.runs.items()})
    check.json(RESULTS, results.model_dump_json())
    check.json(COSTS, costs.model_dump_json())
    check.reports(results, costs, ledger_folder)


def derived_results(
    folder: Path, ledger_folder: Path, manifest: Manifest, continued: Collection[str] = ()
) -> StudyResults:
    """The results that follow from the runs.

    Args:
        folder: the study's folder, with the locked plan if there is one.
        ledger_folder: folder of the ledger.
        manifest: the study's manifest.
        continued: addresses of runs whose folders have more than the results used.
    """
    addresses = {trial.key: trial.address for trial in manifest.trials}

    def lookup(name: CellName, trial: Trial) -> Outcome:
        address = addresses.get((name, trial), "")
        record = manifest.runs.get(address)
        return record.outcome(address) if record else Outcome(address)

    with tempfile.TemporaryDirectory() as place:
        runs = _as_they_were(ledger_folder, manifest, Path(place)) if continued else ledger_folder
        results = results_of(facts_of(manifest.plan), lookup, runs)
    outcomes = {address: record.outcome(address) for address, record in manifest.runs.items()}
    opened = opened_by(manifest.trials, outcomes)
    # A plan that was locked after the results were written does not belong to them.
    return compare_results(folder, manifest.plan, opened, locked=bool(manifest.locked)).marked(results)


def derived_reports(
    folder: Path, ledger_folder: Path, manifest: Manifest, results: StudyResults, costs: Costs
) -> dict[str, str]:
    """The text of every report by its file, with the comparisons and sections that the manifest records, and of the
    pictures beside it."""
    study = StudyFiles(folder, ledger_folder, results, costs, command_of(folder))
    texts = {}
    for form, file in FILES.items():
        made = manifest.reports.get(file, ReportRecord())
        own = {name: ReportSection.loaded(content) for name, content in made.sections.items()}
        report = study.report(into=folder, against=made.against, own=own, link=_recorded_links(manifest))
        texts[file] = text_of(form, study, report, pictures=made.pictures)
        if made.pictures:
            texts |= {f"{made.pictures}/{name}": text for name, text in pictures_of(report).items()}
    return texts


def _as_they_were(ledger_folder: Path, manifest: Manifest, place: Path) -> Path:
    """A folder of runs with the part of each metrics file that the results used."""
    for address, record in manifest.runs.items():
        there = run_folder(ledger_folder, address) / METRICS
        if record.metrics_bytes and there.is_file():
            copy = run_folder(place, address) / METRICS
            copy.parent.mkdir(parents=True)
            with there.open("rb") as file, copy.open("wb") as part:
                part.write(file.read(record.metrics_bytes))
    return place


class _Check:
    """Compares stored files with derived texts.

    A file whose digest is that of the manifest was not changed since it was written. If it still differs from what is
    derived, the last digits of numbers may come from another version of numpy or scipy, and the words of a report from
    another version of fptkit.
    """

    def __init__(self, folder: Path, manifest: Manifest, findings: Findings) -> None:
        self._folder, self._manifest, self._findings = folder, manifest, findings
        self._same_code = manifest.plan.code == code_version()

    def name(self, file: str) -> str:
        """Path of a file for the differences."""
        return f"{self._folder.name}/{file}"

    def json(self, file: str, derived: str) -> None:
        """Compare a JSON file."""
        path = self._folder / file
        if not path.is_file():
            self._findings.wrong(self.name(file), "is missing")
            return
        try:
            stored = read_json(path, altered=True)
        except FptkitError as err:
            self._findings.wrong(self.name(file), str(err))
            return
        as_written = self._unchanged(file)
        rounding, newer = ROUNDING if as_written else 0.0, as_written and not self._same_code
        found = list(json_differences(self.name(file), stored, json.loads(derived), rounding=rounding, newer=newer))
        self._findings.differences += found
        if not found and not self._unchanged(file):
            self._changed(file)

    def reports(self, results: StudyResults, costs: Costs, ledger_folder: Path) -> None:
        """Compare the reports."""
        derived = derived_reports(self._folder, ledger_folder, self._manifest, results, costs)
        for file in FILES.values():
            self._text(file, derived[file])

    def _text(self, file: str, derived: str) -> None:
        path = self._folder / file
        if not path.is_file():
            self._findings.wrong(self.name(file), "is missing")
            return
        stored = path.read_bytes().decode("utf-8", errors="replace")
        if stored == derived:
            return
        if self._unchanged(file) and not self._same_code:
            self._findings.notes.append(
                f"{self.name(file)} is as fptkit {self._manifest.plan.fptkit} wrote it; this version words it otherwise"
            )
            return
        self._findings.differences += line_differences(self.name(file), stored, derived)

    def _unchanged(self, file: str) -> bool:
        return file_sha256(self._folder / file) == self._manifest.files.get(file)

    def _changed(self, file: str) -> None:
        text = "was changed since it was written, though not in its values"
        self._findings.differences.append(Difference(self.name(file), "", "", text))


def _recorded_links(manifest: Manifest) -> Callable[[str], str]:
    """Links to the runs that had a folder when the report was written, whatever has happened to it since."""

    def link(address: str) -> str:
        record = manifest.runs.get(address)
        return f"../{run_folder(Path(), address).as_posix()}/" if record and record.folder else ""

    return link
