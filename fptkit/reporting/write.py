"""Writes the reports of a study into its folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from fptkit.errors import UsageError
from fptkit.reporting.compose import compose
from fptkit.reporting.document import Report
from fptkit.reporting.markdown import to_markdown
from fptkit.reporting.page import to_html
from fptkit.reporting.spreadsheet import to_csv
from fptkit.studies.record import FILE as STUDY
from fptkit.studies.results import COSTS, Costs, StudyResults, read_costs, read_results, run_folder

MARKDOWN, CSV, HTML = "report.md", "results.csv", "report.html"


def write_reports(folder: Path, ledger_folder: Path, *, against: Sequence[str] = ()) -> list[Path]:
    """Write ``report.md``, ``results.csv`` and ``report.html`` into a study's folder.

    Args:
        folder: of the study, with its results and, where there are any, its costs.
        ledger_folder: holds the run folders that the reports lead to.
        against: published results to compare with, see `fptkit.published`.

    Returns:
        The files.

    Raises:
        UsageError: the folder holds no results, or a file cannot be written.
        DataError: the results are damaged.
    """
    results, costs = read_study(folder)
    link = links(folder, ledger_folder)
    report = report_of(results, costs, against=against, link=link, command=command_of(folder))
    return [
        write(folder / MARKDOWN, to_markdown(report)),
        write(folder / CSV, to_csv(results, costs)),
        write(folder / HTML, to_html(report)),
    ]


def read_study(folder: Path) -> tuple[StudyResults, Costs]:
    """Results and costs of a study's folder; a study without a costs file has none.

    Raises:
        UsageError: it holds no results.
        DataError: they are damaged.
    """
    results = read_results(folder)
    return results, read_costs(folder) if (folder / COSTS).exists() else Costs(runs={})


def report_of(
    results: StudyResults,
    costs: Costs,
    *,
    against: Sequence[str] = (),
    link: Callable[[str], str] = lambda address: "",
    command: str = "",
) -> Report:
    """The report, with a section for each paper it is compared with; `compose` has the other arguments."""
    published = []
    if against:
        from fptkit.reporting.against import section

        published = [section(results, name) for name in against]
    return compose(results, costs, published=published, link=link, command=command)


def command_of(folder: Path) -> str:
    """The command line a study was made by, as its `study.yaml` tells it; empty where that tells none."""
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
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as err:
        beside.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {err.strerror or err}") from err
    return path
