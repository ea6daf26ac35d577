"""Writes the report of a run into its folder."""

from __future__ import annotations

from pathlib import Path

from fptkit.errors import FptkitError
from fptkit.files import RECIPE, RUN_REPORT
from fptkit.lab.reporting.document import Report
from fptkit.lab.reporting.of_plugins import of_run
from fptkit.lab.reporting.page import to_html
from fptkit.lab.reporting.single_run.compose import compose_run
from fptkit.lab.reporting.single_run.read import read_run
from fptkit.lab.reporting.write import write
from fptkit.lab.studies.suggest import Suggestion, control_study
from fptkit.recipe.load import load_recipe
from fptkit.registry import Registry


def run_report(folder: Path, registry: Registry) -> Report:
    """The report of a run, from the files of its folder.

    Args:
        folder: the run folder.
        registry: of the plugins, for the command of the control.

    Raises:
        UsageError: the folder holds no run.
        DataError: its summary or its assessment is damaged.
    """
    files = read_run(folder)
    return compose_run(files, _control(folder, registry), of_run(files.summary, registry))


def write_run_report(folder: Path, registry: Registry) -> Path:
    """Write ``report.html`` into a run folder.

    Args:
        folder: the run folder.
        registry: as for `run_report`.

    Returns:
        The file.

    Raises:
        UsageError: the folder holds no run, or the file cannot be written.
        DataError: the summary or the assessment is damaged.
    """
    return write(folder / RUN_REPORT, to_html(run_report(folder, registry)))


def _control(folder: Path, registry: Registry) -> Suggestion | None:
    """The study that compares the run with random weights; None if there is none, or its recipe cannot be read."""
    path = folder / RECIPE
    try:
        loaded = load_recipe(str(path), registry_loader=lambda _: registry)
    except FptkitError:
        return None
    return control_study(loaded, str(path))
