"""The studies of the answers: what they are, where their data are, and how long they take. Used by ``answers.py``.

Hours are estimates: operations of each run, counted by `fptkit.lab.benchmarking.estimate`, times the seconds per 10^12
operations of a core. They say nothing about how many seeds a comparison needs, so there is a smallest and a largest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from fptkit.engine.build import build_task
from fptkit.errors import DataError
from fptkit.lab.benchmarking.estimate import estimate
from fptkit.lab.benchmarking.hours import Speed
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.options import StudySettings, UntilDecided
from fptkit.lab.studies.plan import Cell, Study
from fptkit.lab.studies.search.halving import rung_steps
from fptkit.recipe.dump import recipe_mapping

FOLDER = Path(__file__).resolve().parent / "answers"
"""Folder of the study files."""

SECONDS_PER_TFLOP = 12.0
"""Of one core. Measured: 9 to 15 on an AMD EPYC with AVX-512, by task and load."""

DECIDES = 5
"""Fewest seeds with which a comparison of a study that adds seeds can be decided; see docs/statistics.md."""

DATA = {
    "mnist": "mnist_subset.npz",
    "cifar10": "cifar10_subset.npz",
    "remote_homology": "homology",
    "spoken_digits": "fsdd.npz",
    "ecg5000": "timeseries_ecg5000.npz",
}
"""File or folder of each task with real data, in the folder of ``--data``."""


@dataclass(frozen=True)
class Question:
    """A study of the answers.

    Args:
        study: name of its file in `FOLDER`, without the suffix.
        page: name of its page in ``docs/results``, without the suffix.
        core_hours: its budget: hours times cores.
        needs: packages that must be installed.
        sizes_of: weights that give the sizes of all arms to the estimate, if those of the study cannot be read here.
    """

    study: str
    page: str
    core_hours: float
    needs: tuple[str, ...] = ()
    sizes_of: str | None = None

    @property
    def file(self) -> Path:
        """The study file."""
        return FOLDER / f"{self.study}.yaml"


def questions() -> tuple[Question, ...]:
    """All studies, in the order in which they are made."""
    rows = yaml.safe_load((FOLDER / "plan.yaml").read_text("utf-8"))
    return tuple(Question(**{**row, "needs": tuple(row["needs"])}) for row in rows)


def data_overrides(question: Question, data: Path | None) -> list[str]:
    """The overrides that name the data of a study's tasks.

    Args:
        question: the study.
        data: folder with the files of `DATA`; None for the sources that the study names.

    Raises:
        DataError: a file is missing.
    """
    if data is None:
        return []
    found = []
    for task in _tasks(question):
        if (name := DATA.get(task)) is None:
            continue
        if not (data / name).exists():
            raise DataError(f"{data / name} does not exist; {question.study} needs it for its task {task}")
        found.append(f"tasks.{task}.task.source=path:{data / name}")
    return found


def _tasks(question: Question) -> list[str]:
    """Names of the tasks of a study."""
    study = load_study(str(question.file))
    return list(dict.fromkeys(cell.name.task for cell in study.cells))


@dataclass(frozen=True)
class Hours:
    """Estimated core-hours of a study.

    Args:
        study: its name.
        runs_least, runs_most: runs at the smallest number of seeds that can decide, and at the largest.
        least, most: core-hours at these numbers, without what an earlier study of the list makes.
    """

    study: str
    runs_least: int
    runs_most: int
    least: float
    most: float


def estimated(asked: Sequence[Question], data: Path | None, seconds_per_tflop: float) -> Iterator[Hours]:
    """Estimate studies one after the other; runs that an earlier one makes cost nothing.

    Args:
        asked: the studies.
        data: as of `data_overrides`.
        seconds_per_tflop: of one core.
    """
    speed, made, known = Speed(1 / seconds_per_tflop), dict[str, int](), dict[str, Seconds]()
    for question in asked:
        overrides = data_overrides(question, data)
        study = load_study(str(question.file), overrides=overrides)
        sized = [f"arms.{arm}.backbone.weights={question.sizes_of}" for arm in study.arms] if question.sizes_of else []
        skeletons = load_study(str(question.file), overrides=[*overrides, *sized]).cells
        yield _of_study(study, [_seconds(cell, speed, known) for cell in skeletons], made)


def _of_study(study: Study, seconds: Sequence[Seconds], made: dict[str, int]) -> Hours:
    """Hours of a study with so many seconds for a training of each cell; ``made`` counts the seeds of earlier ones."""
    settings = study.settings
    seeds = settings.seeds
    least, most = (
        (max(seeds.at_least, DECIDES), seeds.at_most) if isinstance(seeds, UntilDecided) else (len(seeds), len(seeds))
    )
    hours = {least: 0.0, most: 0.0}
    for cell, one in zip(study.cells, seconds, strict=True):
        alone = recipe_key(cell)
        for count in hours:
            new = max(count - made.get(alone, 0), 0)
            hours[count] += new * (one.training * share_of_rates(settings, cell) + one.tests) / 3600
        made[alone] = max(made.get(alone, 0), least)
    runs = len(study.cells) * len(settings.learning_rates)
    return Hours(study.name, runs * least, runs * most, hours[least], hours[most])


def share_of_rates(settings: StudySettings, cell: Cell) -> float:
    """Trainings that one seed of a cell costs: less than one for each rate, since halving stops the worse ones."""
    left, done, total = len(settings.learning_rates), 0, 0.0
    for step in rung_steps(settings.search, cell.train) if settings.search.name == "halving" else ():
        total += left * (step - done) / cell.train.max_steps
        left, done = math.ceil(left / settings.search.keep), step
    return total + left * (1 - done / cell.train.max_steps)


@dataclass(frozen=True)
class Seconds:
    """Estimated seconds of one training of a cell: with its validations, and of its tests, which a seed needs once."""

    training: float
    tests: float


def _seconds(cell: Cell, speed: Speed, known: dict[str, Seconds]) -> Seconds:
    """Seconds of one training of a cell. Cells that differ in weights alone take the same time."""
    recipe = recipe_mapping(cell.loaded.recipe)
    backbone = {key: value for key, value in recipe["backbone"].items() if key not in ("weights", "init")}
    key = json.dumps({**recipe, "backbone": backbone, "description": ""}, sort_keys=True, default=str)
    if key not in known:
        found = estimate(cell.loaded)
        task = build_task(cell.loaded.recipe, cell.loaded.registry)
        tested = sum(task.split(name).size or 0 for name in task.test_splits) * found.flops_per_example
        work = found.work
        trained = replace(work, evaluation_flops=work.evaluation_flops - tested)
        known[key] = Seconds(speed.seconds(trained), tested / (1e12 * speed.tflops))
    return known[key]


def recipe_key(cell: Cell) -> str:
    """What makes two cells of different studies the same, apart from learning rate and seed."""
    recipe: dict[str, Any] = recipe_mapping(cell.loaded.recipe)
    return json.dumps({**recipe, "description": ""}, sort_keys=True, default=str)
