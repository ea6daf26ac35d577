"""The parts of a study, from the widest to the narrowest: study, cell, trial, request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fptkit.lab.studies.options import StudySettings
from fptkit.recipe.find import ReadFile
from fptkit.recipe.load import LoadedRecipe


@dataclass(frozen=True, order=True)
class CellName:
    """Which place of the table a cell is: one task, one arm, one share of the training data.

    Args:
        task: name of the task in the study.
        arm: name of the arm in the study.
        data_fraction: share of the training split, in (0, 1].
    """

    task: str
    arm: str
    data_fraction: float = 1.0

    def __str__(self) -> str:
        share = "" if self.data_fraction == 1 else f", {self.data_fraction:g} of the data"
        return f"{self.arm} on {self.task}{share}"


@dataclass(frozen=True)
class Cell:
    """One place of the table, with the recipe its runs are made from.

    Args:
        name: which place.
        loaded: the checked recipe with the budget and the share of the data applied; its learning rate and seed are
            those of the recipe and are replaced by each trial's.
    """

    name: CellName
    loaded: LoadedRecipe


@dataclass(frozen=True, order=True)
class Trial:
    """One training of a cell: a learning rate and a seed."""

    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Request:
    """How far a trial is to be carried.

    Args:
        trial: which.
        until_step: step to pause at, None for the end of its training.
        open_test: whether the test splits are to be opened after it.
    """

    trial: Trial
    until_step: int | None = None
    open_test: bool = False


@dataclass(frozen=True)
class Study:
    """A checked study.

    Args:
        name: what it is called: the file's name, or the recipe's where a recipe is studied.
        file: its file as it was read.
        profile: the profile taken, None for the base.
        settings: everything but tasks and arms.
        tasks: names of the tasks, in the order of the file.
        arms: names of the arms, in the order of the file, controls last.
        arm_summaries: one line on each arm, empty where the file gives none.
        cells: every place of the table that can be made, by task, then fraction, then arm.
        skipped: for each place that cannot be made, such as a control the backbone has no counterpart for, the reason.
        code_version: digest of the code that decides results, see `fptkit.lab.studies.address`.
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

    @property
    def path(self) -> Path:
        """Its file."""
        return self.file.path

    @property
    def reference(self) -> str:
        """The arm others are compared with."""
        return self.settings.reference or self.arms[0]
