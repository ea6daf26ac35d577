"""Our results of the plan beside the papers' figures, through the code of ``fptkit report --against``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fptkit.errors import DataError, UsageError
from fptkit.lab.reproduction.plan import Job
from fptkit.lab.studies.results import CellResult, StudyResults, read_results


def job_folder(job: Job, folder: Path, profile: str) -> Path:
    """The folder of a job's study.

    Args:
        job: the job.
        folder: the plan's folder.
        profile: the profile that it runs in.
    """
    return folder / job.name / f"{job.recipe}-{profile}"


def result_of(job: Job, folder: Path, profile: str) -> StudyResults | None:
    """The results of a finished job; None if it is not finished. Takes the same arguments as `job_folder`."""
    try:
        found = read_results(job_folder(job, folder, profile))
    except (UsageError, DataError):  # not there, or cut off: it runs again
        return None
    return found if found.cells and all(cell.complete and cell.test for cell in found.cells) else None


def together(jobs: Sequence[Job], folder: Path, profile: str) -> dict[str, StudyResults]:
    """The results of all finished jobs as one study for each paper, without comparisons among them.

    Args:
        jobs: the plan.
        folder: the plan's folder.
        profile: the profile that they ran in.
    """
    found: dict[str, list[tuple[Job, StudyResults]]] = {}
    for job in jobs:
        if (results := result_of(job, folder, profile)) is not None:
            found.setdefault(job.paper, []).append((job, results))
    return {paper: _as_one(paper, some) for paper, some in found.items()}


def _as_one(paper: str, some: Sequence[tuple[Job, StudyResults]]) -> StudyResults:
    cells = tuple(_cells(some))
    first = some[0][1]
    return first.model_copy(
        update={
            "name": f"reproduction of {paper}",
            "tasks": tuple(dict.fromkeys(cell.task for cell in cells)),
            "arms": tuple(dict.fromkeys(cell.arm for cell in cells)),
            "reference": cells[0].arm,
            "cells": cells,
            "comparisons": (),
            "lifts": (),
            "answers": (),
            "ranks": (),
            "failures": (),
            "runs": (),
            "smoke": any(results.smoke for _, results in some),
        }
    )


def _cells(some: Sequence[tuple[Job, StudyResults]]) -> Iterator[CellResult]:
    """Every cell under its arm's name in the plan, since several arms run the same recipe."""
    for job, results in some:
        for cell in results.cells:
            yield cell.model_copy(update={"task": job.figure.task, "arm": job.arm})
