"""Study, cell, trial and request: the parts of a study, from the largest to the smallest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fptkit.lab.studies.options import StudySettings
from fptkit.recipe.find import ReadFile
from fptkit.recipe.load import LoadedRecipe


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


@dataclass(frozen=True)
class Cell:
    """One cell: an arm on a task, with the recipe of its runs.

    Args:
        name: name of the cell.
        loaded: the checked recipe with the budget and the fraction of the data applied; each trial replaces its
            learning rate and seed.
    """

    name: CellName
    loaded: LoadedRecipe


@dataclass(frozen=True, order=True)
class Trial:
    """One training of a cell.

    Args:
        learning_rate: learning rate, > 0.
        seed: seed, >= 0.
    """

    learning_rate: float
    seed: int


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
        return self.settings.reference or self.arms[0]
