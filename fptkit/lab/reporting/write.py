"""Writes the reports of a study into its folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from fptkit.errors import UsageError
from fptkit.files import write_text
from fptkit.lab.reporting.compose import compose
from fptkit.lab.reporting.document import Report
from fptkit.lab.reporting.markdown import to_markdown
from fptkit.lab.reporting.page import to_html
from fptkit.lab.reporting.spreadsheet import to_csv
from fptkit.lab.studies.record import FILE as STUDY
from fptkit.lab.studies.results import COSTS, Costs, StudyResults, read_costs, read_results, run_folder

Form = Literal["markdown", "csv", "html"]

FILES: dict[Form, str] = {"markdown": "report.md", "csv": "results.csv", "html": "report.html"}
"""What a report in each form is called in a study's folder."""


@dataclass(frozen=True)
class StudyFiles:
    """A finished, or partly finished, study as it lies in its folder.

    Args:
        folder: of the study.
        ledger_folder: holds the folders of the runs.
        results, costs: of the study; a study without a costs file has none.
        command: the command line it was made by, empty where that is not known.
    """

    folder: Path
    ledger_folder: Path
    results: StudyResults
    costs: Costs
    command: str

    def report(self, *, into: Path | None = None, against: Sequence[str] = ()) -> Report:
        """The report.

        Args:
            into: folder the report goes to. Runs are linked from the study's own folder alone: a report that is kept
                elsewhere does not take them along.
            against: published results to compare with.

        Raises:
            UnknownNameError: there are none of that name.
        """
        published = []
        if against:
            from fptkit.lab.reporting.against import section

            published = [section(self.results, name) for name in against]
        at_home = into is not None and into.resolve() == self.folder.resolve()
        link = links(self.folder, self.ledger_folder) if at_home else lambda address: ""
        return compose(self.results, self.costs, published=published, link=link, command=self.command)


def read_study(folder: Path, ledger_folder: Path) -> StudyFiles:
    """A study from its folder.

    Raises:
        UsageError: it holds no results.
        DataError: they are damaged.
    """
    results = read_results(folder)
    costs = read_costs(folder) if (folder / COSTS).exists() else Costs(runs={})
    return StudyFiles(folder, ledger_folder, results, costs, _command(folder))


def write_reports(folder: Path, ledger_folder: Path, *, against: Sequence[str] = ()) -> list[Path]:
    """Write ``report.md``, ``results.csv`` and ``report.html`` into a study's folder.

    Args:
        folder: of the study, with its results and, where there are any, its costs.
        ledger_folder: holds the run folders that the reports lead to.
        against: published results to compare with, see `fptkit.lab.published`.

    Returns:
        The files.

    Raises:
        UsageError: the folder holds no results, or a file cannot be written.
        DataError: the results are damaged.
        UnknownNameError: there are no published results of that name.
    """
    study = read_study(folder, ledger_folder)
    report = study.report(into=folder, against=against)
    return [write(folder / name, text_of(form, study, report)) for form, name in FILES.items()]


def text_of(form: Form, study: StudyFiles, report: Report, *, pictures: str = "") -> str:
    """A report in one form.

    Args:
        pictures: folder of a Markdown report's pictures, relative to it; empty to leave them out.
    """
    if form == "csv":
        return to_csv(study.results, study.costs)
    return to_html(report) if form == "html" else to_markdown(report, pictures=pictures)


def write_pictures(report: Report, folder: Path) -> list[Path]:
    """Every picture of a report as an SVG file; `to_markdown` refers to them by the same names.

    Raises:
        UsageError: one cannot be written.
    """
    pictures = [picture for section in report.sections for picture in section.pictures]
    return [write(folder / f"{picture.key}.svg", picture.file()) for picture in pictures]


def _command(folder: Path) -> str:
    """The command line a study was made by, as its `study.yaml` tells it."""
    try:
        text = (folder / STUDY).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"^# Made by: (.+)$", text, re.MULTILINE)
    return found[1] if found else ""


def links(folder: Path, ledger_folder: Path) -> Callable[[str], str]:
    """The way from a file in ``folder`` to the folder of a run, for runs that have one."""

    def link(address: str) -> str:
        there = run_folder(ledger_folder, address)
        if not there.is_dir():
            return ""
        try:
            return quote(Path(os.path.relpath(there, folder)).as_posix()) + "/"
        except ValueError:  # on another drive
            return ""

    return link


def write(path: Path, text: str) -> Path:
    """Write a file whole or not at all: a reader never meets half a report.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as err:
        raise UsageError(f"{path} cannot be written: {err.strerror or err}") from err
    return path
