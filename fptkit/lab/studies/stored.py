"""Reads a study back from its folder and the folders of its runs: no recipe is resolved, no plugin or ledger is needed.

``read_stored(folder, ledger_folder)`` gives a `StoredStudy`: the results as they were written, the facts and the lookup
that `fptkit.lab.studies.summarise.results_of` makes results from. So

    stored = read_stored(folder, ledger_folder)
    again = results_of(stored.facts, stored.lookup, stored.ledger_folder)

derives all results anew from the runs' ``summary.json`` and ``metrics.jsonl``. What comes from where:

- settings from ``study.yaml``; names of tasks, arms and cells, and the addresses of the runs from ``results.json``;
- a cell's training options and freezing from the ``recipe.yaml`` of one of its runs;
- outcomes from the runs' ``summary.json``. Only the ledger knows that a run failed or was lost, so this and its reason
  are as in ``results.json``.

It works for studies of other code versions, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from fptkit.errors import DataError, UsageError
from fptkit.files import RECIPE, find_summary
from fptkit.lab.studies.job import REQUEST
from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.outcome import Outcome, Status
from fptkit.lab.studies.plan import SMOKE, CellFacts, CellName, StudyFacts, Trial
from fptkit.lab.studies.record import FILE
from fptkit.lab.studies.results import CellResult, Failure, RunRow, StudyResults, read_results, run_folder
from fptkit.recipe.models import TrainOptions
from fptkit.recipe.splits import draws_data
from fptkit.recipe.tree import Fault, Faults, plain, read_tree, recipe_error

NOT_STORED = "not among the stored runs"
"""Reason of the outcome of a trial that the study did not make."""

_TOLD: tuple[Status, ...] = ("paused", "validated", "finished", "diverged")
"""States that a run's summary records; of the others, only the ledger knows."""

_NEEDED = ("max_steps", "validate_every", "learning_rate", "data_fraction", "seeds")
"""Training options that a search and its results need."""


@dataclass(frozen=True)
class StoredStudy:
    """A study as it is stored.

    Args:
        folder: folder of the study.
        ledger_folder: folder of the ledger, with the runs.
        results: the results as they were written.
        settings: the settings it was run with.
    """

    folder: Path
    ledger_folder: Path
    results: StudyResults
    settings: StudySettings

    @cached_property
    def facts(self) -> StudyFacts:
        """What results need of the study beside its runs."""
        results = self.results
        return StudyFacts(
            name=results.name,
            profile=results.profile,
            settings=self.settings,
            tasks=results.tasks,
            arms=results.arms,
            arm_summaries=results.arm_summaries,
            cells=tuple(map(self._cell, results.cells)),
            skipped=results.skipped,
            code_version=results.code_version,
            smoke=SMOKE in (results.profile, self.settings.recipe_profile),
        )

    @cached_property
    def outcomes(self) -> Mapping[str, Outcome]:
        """Outcome of every stored run, by address."""
        failures = {failure.address: failure for failure in self.results.failures}
        rows = {row.address: row for row in self.results.runs}
        return {
            address: _outcome(row, failures.get(address), run_folder(self.ledger_folder, address))
            for address, row in rows.items()
        }

    def lookup(self, name: CellName, trial: Trial) -> Outcome:
        """The outcome of a cell's trial; ``waiting`` and without an address if it is not stored."""
        row = self._rows.get((name, trial))
        return Outcome("", reason=NOT_STORED) if row is None else self.outcomes[row.address]

    @cached_property
    def _rows(self) -> Mapping[tuple[CellName, Trial], RunRow]:
        return {(_name(row), Trial(row.learning_rate, row.seed, row.varied)): row for row in self.results.runs}

    def _cell(self, cell: CellResult) -> CellFacts:
        """The facts of a cell, from the recipe of one of its runs."""
        name = _name(cell)
        rows = [row for (of_cell, trial), row in self._rows.items() if of_cell == name and not trial.varied]
        recipe = _first_recipe(run_folder(self.ledger_folder, row.address) for row in rows)
        # If no run of the cell has started, its rows still have the rate.
        train = recipe.get("train") or ({"learning_rate": rows[0].learning_rate} if rows else {})
        freezing = recipe.get("freezing") or self._freezing_of_unstarted(name)
        try:
            options = _train_options(train)
        except ValidationError as err:
            raise DataError(f"the recipes of the runs of {name} are damaged: {err}; put intact copies back") from err
        return CellFacts(name, options, freezing, draws_data(options, recipe.get("task", {})))

    def _freezing_of_unstarted(self, name: CellName) -> Mapping[str, Any]:
        """A stand-in for the freezing of a cell without runs: equal to the reference's if their lift was listed."""
        lifts = {(lift.task, lift.b, lift.data_fraction) for lift in self.results.lifts}
        reference = CellName(name.task, self.results.reference, name.data_fraction)
        rows = [row for (of_cell, _), row in self._rows.items() if of_cell == reference]
        if name == reference:
            return {}
        if (name.task, name.arm, name.data_fraction) in lifts:
            found = _first_recipe(run_folder(self.ledger_folder, row.address) for row in rows)
            return found.get("freezing") or {}
        return {"name": f"of {name}"}


def read_stored(folder: Path, ledger_folder: Path) -> StoredStudy:
    """Read a study from its folder.

    Args:
        folder: folder of the study, with ``results.json`` and ``study.yaml``.
        ledger_folder: folder of the ledger, with the runs.

    Raises:
        UsageError: the folder holds no results, or no ``study.yaml``.
        DataError: the results or the recipe of a run are damaged.
        RecipeError: ``study.yaml`` is damaged.
    """
    return StoredStudy(folder, ledger_folder, read_results(folder), read_settings(folder / FILE))


def read_settings(path: Path) -> StudySettings:
    """Read the settings of a resolved study, without its tasks and arms.

    A file of fptkit 0.1 does not say who chooses a rate. Each seed does, unless only some of them searched.

    Args:
        path: ``study.yaml`` in the study's folder.

    Raises:
        UsageError: it is missing.
        RecipeError: it is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as err:
        raise UsageError(f"{path} is missing, which holds the settings of the study; put it back") from err
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{path} cannot be read: {err}; put an intact copy back") from err
    content = _plain_mapping(text, str(path))
    settings = {key: value for key, value in content.items() if key in StudySettings.model_fields}
    if "choose" not in settings and (settings.get("search") or {}).get("seeds") is not None:
        settings["choose"] = "common"
    try:
        return StudySettings.model_validate(settings)
    except ValidationError as err:
        raise DataError(f"{path} is damaged, or written by another version of fptkit: {err}") from err


def _plain_mapping(text: str, source: str) -> dict[str, Any]:
    """The mapping in a YAML text that fptkit wrote.

    Raises:
        RecipeError: it is no YAML, or no mapping.
    """
    faults: list[Fault] = Faults()
    tree = read_tree(text, source, faults)
    if tree is None or faults:
        raise recipe_error(faults)
    found = plain(tree)
    return found if isinstance(found, dict) else {}


def _first_recipe(folders: Iterable[Path]) -> dict[str, Any]:
    """The first recipe in these run folders that there is; empty if there is none."""
    for folder in folders:
        for name in (RECIPE, REQUEST):
            try:
                return _plain_mapping((folder / name).read_text(encoding="utf-8"), str(folder / name))
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as err:
                raise DataError(f"{folder / name} cannot be read: {err}; put an intact copy back") from err
    return {}


def _train_options(given: Mapping[str, Any]) -> TrainOptions:
    """The training options in a recipe, which another version of fptkit may have written.

    Raises:
        ValidationError: those that a search needs are damaged.
    """
    known = {key: value for key, value in given.items() if key in TrainOptions.model_fields}
    try:
        return TrainOptions.model_validate(known)
    except ValidationError:
        return TrainOptions.model_validate({key: known[key] for key in _NEEDED if key in known})


def _outcome(row: RunRow, failure: Failure | None, folder: Path) -> Outcome:
    """The outcome of a stored run: from its summary, unless only the ledger knew it."""
    summary = find_summary(folder)
    told, stored = summary.get("status"), row.status
    if told in _TOLD and stored != "failed":
        status: Status = told
        return Outcome(row.address, status, str(summary.get("reason", "")), int(summary.get("steps", 0)), summary)
    status = stored if stored in get_args(Status) and stored not in _TOLD else "waiting"  # type: ignore[assignment]
    reason = failure.reason if failure and status != "waiting" else ""
    return Outcome(row.address, status, reason, int(summary.get("steps", 0)), summary)


def _name(cell: CellResult | RunRow) -> CellName:
    return CellName(cell.task, cell.arm, cell.data_fraction)
