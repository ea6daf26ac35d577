"""Study, cell, trial and request: the parts of a study, from the largest to the smallest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fptkit.lab.studies.options import StudySettings
from fptkit.recipe.dump import component_mapping
from fptkit.recipe.find import ReadFile
from fptkit.recipe.load import LoadedRecipe
from fptkit.recipe.models import TrainOptions
from fptkit.recipe.splits import draws_data

SMOKE = "smoke"
"""Profile of studies and recipes that only shows that they run."""


@dataclass(frozen=True, order=True)
class CellName:
    """Name of a cell: one task, one arm, one fraction of the training data.

    Args:
        task: name of the task in the study.
        arm: name of the arm in the study.
        data_fraction: fraction of the training split, in (0, 1].
    """

    task: str
    arm: str
    data_fraction: float = 1.0

    def __str__(self) -> str:
        share = "" if self.data_fraction == 1 else f", {self.data_fraction:g} of the data"
        return f"{self.arm} on {self.task}{share}"


class SearchedCell(Protocol):
    """What a search needs of a cell."""

    @property
    def name(self) -> CellName:
        """Name of the cell."""
        ...

    @property
    def train(self) -> TrainOptions:
        """Training options of its recipe: the length, the validations, and the rate if there is no grid."""
        ...

    @property
    def draws_data(self) -> bool:
        """Whether the seed of data decides which examples its runs are trained on."""
        ...


@dataclass(frozen=True)
class CellFacts:
    """What results need of a cell beside its runs.

    Args:
        name: name of the cell.
        train: training options of its recipe.
        freezing: name and options of its freezing policy.
        draws_data: whether the seed of data decides which examples its runs are trained on.
    """

    name: CellName
    train: TrainOptions
    freezing: Mapping[str, Any]
    draws_data: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell: an arm on a task, with the recipe of its runs.

    Args:
        name: name of the cell.
        loaded: the checked recipe with the budget, the fraction of the data and the study's first seed applied; each
            trial replaces its learning rate, and its seed or that of one source of randomness.
    """

    name: CellName
    loaded: LoadedRecipe

    @property
    def train(self) -> TrainOptions:
        """Training options of its recipe."""
        return self.loaded.recipe.train

    @property
    def facts(self) -> CellFacts:
        """What results need of it."""
        return CellFacts(self.name, self.train, component_mapping(self.loaded.recipe.freezing), self.draws_data)

    @property
    def draws_data(self) -> bool:
        """Whether the seed of data decides which examples its runs are trained on."""
        return draws_data(self.train, component_mapping(self.loaded.recipe.task))


@dataclass(frozen=True, order=True)
class Trial:
    """One training of a cell.

    Args:
        learning_rate: learning rate, > 0.
        seed: seed, >= 0.
        varied: the source of randomness that alone has this seed, while the others keep the study's first: ``init``,
            ``order`` or ``data``; empty: all have it.
    """

    learning_rate: float
    seed: int
    varied: str = ""

    @property
    def words(self) -> str:
        """Its seed for readers: ``seed 3``, ``init seed 3``."""
        return f"{self.varied} seed {self.seed}".lstrip()


def run_name(cell: CellName, trial: Trial) -> str:
    """Name of a run in the ledger and in messages."""
    return f"{cell}, rate {trial.learning_rate:g}, {trial.words}"


@dataclass(frozen=True)
class Request:
    """How far to run a trial.

    Args:
        trial: the trial.
        until_step: step to pause at, None for the end of training.
        open_test: whether to evaluate the test splits after training.
    """

    trial: Trial
    until_step: int | None = None
    open_test: bool = False


@dataclass(frozen=True)
class StudyFacts:
    """What results need of a study beside its runs: of a checked study, or of one that is read from its folder.

    Args:
        name, profile, settings, tasks, arms, arm_summaries, code_version: as in `Study`.
        cells: every possible cell, by task, then fraction, then arm.
        skipped: the reason for each impossible cell, by name of the cell.
        smoke: whether the profile only shows that the study runs.
    """

    name: str
    profile: str | None
    settings: StudySettings
    tasks: tuple[str, ...]
    arms: tuple[str, ...]
    arm_summaries: Mapping[str, str]
    cells: tuple[CellFacts, ...]
    skipped: Mapping[str, str]
    code_version: str
    smoke: bool = False

    @property
    def reference(self) -> str:
        """The arm that others are compared with; the first by default."""
        return self.settings.reference_among(self.arms)


@dataclass(frozen=True)
class Study:
    """A checked study.

    Args:
        name: name of its file (of a study or a recipe), without extension.
        file: its file as read.
        profile: the selected profile, None for the base.
        settings: everything but tasks and arms.
        tasks: names of the tasks, in the order of the file.
        arms: names of the arms, in the order of the file, controls last.
        arm_summaries: one line per arm, empty if the file gives none.
        cells: every possible cell, by task, then fraction, then arm.
        skipped: the reason for each impossible cell, such as a control the backbone does not support.
        code_version: digest of the code that decides results, see `fptkit.lab.studies.address`.
        data: digests of the data that recipes name, by task and options, as they were when first asked for: all runs of
            a study are addressed by the same data, even if files change meanwhile.
    """

    name: str
    file: ReadFile
    profile: str | None
    settings: StudySettings
    tasks: tuple[str, ...]
    arms: tuple[str, ...]
    arm_summaries: Mapping[str, str]
    cells: tuple[Cell, ...]
    skipped: Mapping[CellName, str]
    code_version: str
    data: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def path(self) -> Path:
        """Path of its file."""
        return self.file.path

    @property
    def reference(self) -> str:
        """The arm that others are compared with; the first by default."""
        return self.settings.reference_among(self.arms)

    @property
    def facts(self) -> StudyFacts:
        """What results need of it."""
        return StudyFacts(
            name=self.name,
            profile=self.profile,
            settings=self.settings,
            tasks=self.tasks,
            arms=self.arms,
            arm_summaries=self.arm_summaries,
            cells=tuple(cell.facts for cell in self.cells),
            skipped={str(name): reason for name, reason in self.skipped.items()},
            code_version=self.code_version,
            smoke=SMOKE in (self.profile, self.settings.recipe_profile),
        )
