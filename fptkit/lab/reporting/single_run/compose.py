"""Assembles the report of a run."""

from __future__ import annotations

from fptkit.lab.reporting import of_plugins
from fptkit.lab.reporting.document import Report
from fptkit.lab.reporting.of_plugins import Own
from fptkit.lab.reporting.single_run import about, classes, numbers
from fptkit.lab.reporting.single_run.mistakes import mistakes
from fptkit.lab.reporting.single_run.progress import progress
from fptkit.lab.reporting.single_run.read import RunFiles
from fptkit.lab.reporting.single_run.result import result
from fptkit.lab.reporting.single_run.speed import speed
from fptkit.lab.reporting.single_run.trained import trained
from fptkit.lab.studies.suggest import Suggestion


def compose_run(files: RunFiles, control: Suggestion | None = None, own: Own | None = None) -> Report:
    """The report of a run.

    Args:
        files: of the run.
        control: the study that compares it with random weights; None if there is none.
        own: sections of plugins; None for none.
    """
    splits = list(files.splits.items())
    sections = (
        about.what_was_run(files),
        about.notes(files),
        result(files),
        trained(files),
        progress(files),
        *classes.answers(splits),
        numbers.errors(splits),
        mistakes(files),
        speed(files),
        *of_plugins.sections(own or {}),
        about.repeat(files, control),
    )
    return Report(
        title=f"Run of {files.summary.get('recipe') or files.folder.name}",
        question="",
        description=str(files.recipe.get("description") or ""),
        status=about.status_of(files),
        warnings=tuple(about.warnings(files)),
        sections=tuple(section for section in sections if not section.empty or section.key == "result"),
        banner=about.banner(files),
    )
