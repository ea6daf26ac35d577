"""Derives the results of a stored study again, with the statistics of this version, and says what is missing for that.

Nothing is started and nothing is written. Earlier versions chose one rate for all seeds and tested only this; if each
seed chooses its own, some of the tests that this needs were never made.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fptkit.engine.code_version import code_version
from fptkit.files import RECIPE
from fptkit.lab.studies.locking.lock import compare_stored
from fptkit.lab.studies.plan import CellName, Trial, run_name
from fptkit.lab.studies.record import command_of
from fptkit.lab.studies.results import Failure, StudyResults, run_folder
from fptkit.lab.studies.stored import NOT_STORED, StoredStudy, read_stored
from fptkit.lab.studies.summarise import results_of

SHOWN = 6
"""Largest number of runs that a warning lists."""


@dataclass(frozen=True)
class Anew:
    """Results derived again.

    Args:
        results: the results; their first warnings say where they are from and what is missing.
        remedies: for each kind of missing thing, what to do and the command for it.
    """

    results: StudyResults
    remedies: tuple[str, ...]


def derive_anew(folder: Path, ledger_folder: Path) -> Anew:
    """Derive the results of a study again from its stored runs.

    Args:
        folder: folder of the study.
        ledger_folder: folder of the ledger, with the runs.

    Raises:
        UsageError: the folder holds no results, or no ``study.yaml``.
        DataError: its results or the recipe of a run are damaged.
        RecipeError: ``study.yaml`` is damaged.
    """
    stored = read_stored(folder, ledger_folder)
    compared = compare_stored(stored.results, stored.outcomes)
    results = compared.marked(results_of(stored.facts, stored.lookup, ledger_folder))
    made = tuple(row for row in results.runs if row.address)
    untested = [one for one in results.failures if one.address and stored.outcomes[one.address].status == "validated"]
    unmade = [one for one in results.failures if one.reason == NOT_STORED]
    versions = ", ".join(stored.results.versions.get("fptkit", ())) or "unknown"
    notes = [
        f"derived again with the statistics of this version from the {len(made)} stored runs of fptkit {versions}",
        *_untested(results, untested),
        *_unmade(unmade),
    ]
    return Anew(
        results.model_copy(update={"warnings": (*notes, *results.warnings), "runs": made}),
        tuple(_remedies(stored, untested, unmade)),
    )


def _untested(results: StudyResults, untested: Sequence[Failure]) -> list[str]:
    """Seeds without a test at the rate that they choose; the tests of a common rate are only beside."""
    own = [one for one in untested if _is_chosen(results, one)]
    if not own:
        return []
    if len(own) == 1:
        return [
            f"1 seed is missing from the comparisons, since no test is stored at the rate it chooses: {_listed(own)}"
        ]
    return [
        f"{len(own)} seeds are missing from the comparisons, since no test is stored at the rates they choose: "
        f"{_listed(own)}"
    ]


def _is_chosen(results: StudyResults, run: Failure) -> bool:
    cell = results.cell(run.task, run.arm, run.data_fraction)
    return cell is not None and not run.varied and cell.chosen_rates.get(run.seed) == run.learning_rate


def _unmade(unmade: Sequence[Failure]) -> list[str]:
    if not unmade:
        return []
    count = "1 run" if len(unmade) == 1 else f"{len(unmade)} runs"
    return [
        f"{count} that the choice of each seed needs {'was' if len(unmade) == 1 else 'were'} not made: "
        f"{_listed(unmade)}"
    ]


def _listed(runs: Sequence[Failure]) -> str:
    shown = [
        run_name(CellName(one.task, one.arm, one.data_fraction), Trial(one.learning_rate, one.seed, one.varied))
        for one in runs[:SHOWN]
    ]
    return "; ".join([*shown, *([f"and {len(runs) - SHOWN} more"] if len(runs) > SHOWN else [])])


def _remedies(stored: StoredStudy, untested: Sequence[Failure], unmade: Sequence[Failure]) -> list[str]:
    """What to do about missing tests and runs; runs of another code version can be tested, but not added to."""
    results = stored.results
    profile = f" --profile {shlex.quote(results.profile)}" if results.profile else ""
    study = command_of(stored.folder) or f"fptkit study {shlex.quote(results.name)}{profile}"
    if not untested and not unmade:
        return []
    if results.code_version == code_version():
        return [f"to evaluate the missing tests and make the missing runs: {study}"]
    anew = f"another version of the code made these runs; to make all of them with this one: {study}"
    if not untested:
        return [anew]
    folders = " ".join(shlex.quote(str(run_folder(stored.ledger_folder, one.address))) for one in untested)
    command = f'for run in {folders}; do fptkit run "$run/{RECIPE}" --output "$run" --resume; done'
    return [f"to evaluate the missing tests of the stored runs: {command}", anew]
