"""Reads a study and writes its reports."""

from __future__ import annotations

import os
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
from fptkit.lab.reporting.of_plugins import Own
from fptkit.lab.reporting.page import to_html
from fptkit.lab.reporting.spreadsheet import to_csv
from fptkit.lab.studies.record import command_of
from fptkit.lab.studies.results import COSTS, Costs, StudyResults, read_costs, read_results, run_folder

Form = Literal["markdown", "csv", "html"]

FILES: dict[Form, str] = {"markdown": "report.md", "csv": "results.csv", "html": "report.html"}
"""File name of the report in each format, in the folder of a study."""

EARLIER = (
    "made by an earlier version, with one learning rate for all seeds and its own statistics; fptkit report --anew "
    "derives the results again from the stored runs"
)
"""Warning about results of format 1."""


@dataclass(frozen=True)
class StudyFiles:
    """A finished or partly finished study, as read from its folder.

    Args:
        folder: of the study.
        ledger_folder: holds the folders of the runs.
        results: of the study.
        costs: seconds of its runs; empty without a costs file.
        command: command line that made the study, empty if unknown.
    """

    folder: Path
    ledger_folder: Path
    results: StudyResults
    costs: Costs
    command: str

    def report(
        self,
        *,
        into: Path | None = None,
        against: Sequence[str] = (),
        own: Own | None = None,
        link: Callable[[str], str] | None = None,
    ) -> Report:
        """Compose the report of the study.

        Args:
            into: folder the report is written to. Runs are linked only if it is the study's own folder, since the runs
                are not copied elsewhere.
            against: names of papers to compare with.
            own: sections of plugins, see `of_study`; None for none.
            link: maps the address of a run to the relative path of its folder, or to ""; None to look at the folders.

        Raises:
            UnknownNameError: there is no such paper.
        """
        published = []
        if against:
            from fptkit.lab.reporting.against import section

            published = [section(self.results, name) for name in against]
        at_home = into is not None and into.resolve() == self.folder.resolve()
        if link is None:
            link = links(self.folder, self.ledger_folder) if at_home else lambda address: ""
        return compose(self.results, self.costs, published=published, own=own, link=link, command=self.command)


def read_study(folder: Path, ledger_folder: Path) -> StudyFiles:
    """Read a study from its folder.

    Args:
        folder: of the study.
        ledger_folder: holds the folders of the runs.

    Raises:
        UsageError: the folder holds no results.
        DataError: the results are damaged.
    """
    results = read_results(folder)
    if results.format == 1:
        results = results.model_copy(update={"warnings": (EARLIER, *results.warnings)})
    costs = read_costs(folder) if (folder / COSTS).exists() else Costs(runs={})
    return StudyFiles(folder, ledger_folder, results, costs, command_of(folder))


def write_reports(
    folder: Path, ledger_folder: Path, *, against: Sequence[str] = (), own: Own | None = None
) -> list[Path]:
    """Write ``report.md``, ``results.csv`` and ``report.html`` into a study's folder.

    Args:
        folder: of the study; holds its results and, if known, its costs.
        ledger_folder: holds the folders of the runs, which the reports link to.
        against: names of papers to compare with, see `fptkit.lab.published`.
        own: sections of plugins; None for none.

    Returns:
        The files written.

    Raises:
        UsageError: the folder holds no results, or a file cannot be written.
        DataError: the results are damaged.
        UnknownNameError: there is no such paper.
    """
    study = read_study(folder, ledger_folder)
    report = study.report(into=folder, against=against, own=own)
    return [write(folder / name, text_of(form, study, report)) for form, name in FILES.items()]


def text_of(form: Form, study: StudyFiles, report: Report, *, pictures: str = "") -> str:
    """Render a report in one format.

    Args:
        form: the format.
        study: source of the CSV table.
        report: source of the other formats.
        pictures: folder of a Markdown report's pictures, relative to it; empty to leave them out.
    """
    if form == "csv":
        return to_csv(study.results, study.costs)
    return to_html(report) if form == "html" else to_markdown(report, pictures=pictures)


def write_pictures(report: Report, folder: Path) -> list[Path]:
    """Write every picture of a report as an SVG file, under the names that `to_markdown` links to.

    Returns:
        The files written.

    Raises:
        UsageError: a file cannot be written.
    """
    return [write(folder / name, text) for name, text in pictures_of(report).items()]


def pictures_of(report: Report) -> dict[str, str]:
    """The SVG of every picture of a report, by the file name that `to_markdown` links to."""
    pictures = [picture for section in report.sections for picture in section.pictures]
    return {f"{picture.key}.svg": picture.file() for picture in pictures}


def links(folder: Path, ledger_folder: Path) -> Callable[[str], str]:
    """A function from the address of a run to the path of its folder relative to ``folder``; "" if it has none."""

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
    """Write a file atomically, so that a reader never sees an incomplete report.

    Halves of surrogate pairs, which UTF-8 cannot hold and file names may have, are written as escapes.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text.encode("utf-8", "backslashreplace").decode())
    except OSError as err:
        raise UsageError(f"{path} cannot be written: {err.strerror or err}") from err
    return path
