"""Locks the plan of a study, and compares later calls with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fptkit.errors import FptkitError, UsageError
from fptkit.lab.studies.earlier import earlier_addresses
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.locking import plan_file
from fptkit.lab.studies.locking.content import Plan, plan_of
from fptkit.lab.studies.locking.deviations import deviations
from fptkit.lab.studies.locking.digests import differing_data, opened_by
from fptkit.lab.studies.locking.plan_file import PlanFile
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Study
from fptkit.lab.studies.results import StudyResults, read_results
from fptkit.recipe.models import Recipe


@dataclass(frozen=True)
class Compared:
    """A call of a study compared with its locked plan.

    Args:
        plan: digest of the plan; empty if the study was never locked.
        deviations: what differs from the plan, in words and in order.
        warnings: what would be a deviation, if the study was never locked.
    """

    plan: str = ""
    deviations: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def marked(self, results: StudyResults) -> StudyResults:
        """The results with plan, deviations and warnings."""
        warnings = (*self.warnings, *results.warnings)
        return results.model_copy(update={"plan": self.plan, "deviations": self.deviations, "warnings": warnings})


NEVER_LOCKED = Compared()


def lock(plan: Plan, folder: Path, *, runs: int, late: bool) -> tuple[PlanFile, bool]:
    """Lock a plan in a study's folder, unless it is locked already.

    Args:
        plan: the plan of the study as it would run now.
        folder: folder of the study's own files.
        runs: number of runs of the study that exist.
        late: whether to lock even if runs exist; the plan then says so.

    Returns:
        The plan file, and whether this call made it.

    Raises:
        UsageError: another plan is locked, or runs exist and ``late`` is false.
        DataError: the locked plan is damaged.
    """
    path = folder / plan_file.FILE
    if found := plan_file.read(folder):
        if differing := [*found.faults, *deviations(found.plan, plan)]:
            raise UsageError(
                f"{path} locks another plan, since {found.locked}:\n{numbered(differing)}\n"
                "A locked plan is not replaced: run the study, and its report lists these deviations; or copy the "
                "study to a file of another name, and lock that"
            )
        return found, False
    if runs and not late:
        raise UsageError(
            f"{path} would be locked after {runs} run{'' if runs == 1 else 's'} of this study (another study in the "
            "ledger may have made them): a plan is locked before the first run. --late locks it all the same, and the "
            "plan and every report say so"
        )
    made = plan_file.locked_now(plan, runs=runs)
    plan_file.write(folder, made)
    return made, True


def runs_so_far(
    known: Mapping[str, Outcome], unmade: Mapping[str, Recipe], ledger: Ledger, folder: Path
) -> frozenset[str]:
    """Addresses of the runs of a study that were started: by this or another version of the code, or in its results.

    Args:
        known: outcomes of the runs that the study needs, by address.
        unmade: recipes of those that were not started.
        ledger: the open ledger.
        folder: folder of the study's own files.
    """
    started = {address for address, outcome in known.items() if outcome.status != "waiting"}
    try:
        shown = {row.address for row in read_results(folder).runs if row.status != "waiting"}
    except FptkitError:
        shown = set()  # no results yet
    return frozenset(started | shown | earlier_addresses(unmade, ledger))


def compare(study: Study, folder: Path) -> Compared:
    """Compare a study as it runs now with its locked plan.

    Args:
        study: the checked study.
        folder: folder of its own files.

    Raises:
        DataError: the locked plan is damaged.
    """
    locked = plan_file.read(folder)
    return _without_plan(folder) if locked is None else _compared(locked, plan_of(study))


def compare_results(
    folder: Path, present: Plan, runs: Iterable[tuple[str, Mapping[str, Any]]], *, locked: bool = True
) -> Compared:
    """Compare a study with its locked plan after its runs: also the data that these opened.

    Args:
        folder: folder of the study's own files.
        present: the plan of the study as it was run.
        runs: name of the task and summary of each run; without those that vary the data on purpose.
        locked: whether a plan in the folder counts; not if it was locked after the results were written.

    Raises:
        DataError: the locked plan is damaged.
    """
    found = plan_file.read(folder) if locked else None
    compared = _compared(found, present) if found else _without_plan(folder) if locked else NEVER_LOCKED
    data = differing_data(runs)
    if not compared.plan:
        return replace(compared, warnings=data)
    return replace(compared, deviations=(*compared.deviations, *data))


def _compared(locked: PlanFile, present: Plan) -> Compared:
    """Deviations of a present plan from a locked one, those of the file itself first."""
    return Compared(locked.digest, (*_late(locked), *locked.faults, *deviations(locked.plan, present)))


def _late(file: PlanFile) -> tuple[str, ...]:
    return (f"the plan was {file.late} of this study",) if file.late else ()


def _without_plan(folder: Path) -> Compared:
    """A study without a plan file; if earlier results name a plan, its absence is a deviation."""
    try:
        before = read_results(folder).plan
    except FptkitError:
        before = ""
    if not before:
        return NEVER_LOCKED
    return Compared(before, (f"{plan_file.FILE} is missing: the study was locked, digest {before[:12]}",))


def compare_stored(results: StudyResults, outcomes: Mapping[str, Outcome]) -> Compared:
    """The comparison that stored results hold, for results that are derived again.

    Args:
        results: the stored results.
        outcomes: outcomes of their runs, by address.
    """
    warnings = () if results.plan else differing_data(opened_by(results.runs, outcomes))
    return Compared(results.plan, results.deviations, warnings)


def record(folder: Path, found: Compared) -> None:
    """Add deviations to the log of the plan file, with the present time; known ones keep theirs.

    Args:
        folder: folder of the study's own files.
        found: the comparison of this call.
    """
    if not found.deviations:
        return
    import filelock

    with filelock.FileLock(folder / f".{plan_file.FILE}.lock"):
        file = plan_file.read(folder)
        if file is None:
            return
        longer = file.logged(text for text in found.deviations if text not in _late(file))
        if longer.log != file.log:
            plan_file.write(folder, longer)


def numbered(texts: tuple[str, ...] | list[str]) -> str:
    """Texts as a numbered list, one per line."""
    return "\n".join(f"  {number}. {text}" for number, text in enumerate(texts, start=1))
