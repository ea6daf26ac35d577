"""The jobs that reproduce the papers' tables: one for each figure, or for several of the same model on one task."""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fptkit.errors import UnknownNameError
from fptkit.lab.published import Figure, Published, load_published
from fptkit.lab.reproduction.arms import ARMS, LONGER, SIZES, TABLES, TASKS, ArmSetup, Preparation, TaskSetup

PAPER = "paper"
"""The profile of recipes with the papers' sizes."""

SWEPT = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Learning rates of a search. Source: Rothermel et al. 2021, from 1e-6 to 1e-2; the steps between are not recorded."""

VALIDATE_EVERY = 5000
"""Steps between validations of long trainings; more frequent ones would take a third of the time."""

_USUAL_BLOCKS = 12
"""Blocks of the papers' transformers."""

_FROZEN = {"fpt": "frozen"}


@dataclass(frozen=True)
class Job:
    """One model on one task: a study of one cell, and the figures that it reproduces.

    Args:
        paper: name of the paper, as for ``fptkit report --against``.
        arm: the kind of arm in one word, such as ``frozen_language``.
        figures: its published figures; more than one if tables repeat it.
        task, setup: how task and arm are set up.
        settings: overrides in every profile.
        paper_settings: overrides in the profile paper, in addition.
        learning_rates: the one, or those to search.
        seeds: number of seeds.
    """

    paper: str
    arm: str
    figures: tuple[Figure, ...]
    task: TaskSetup
    setup: ArmSetup
    settings: tuple[str, ...]
    paper_settings: tuple[str, ...]
    learning_rates: tuple[float, ...]
    seeds: int

    @property
    def figure(self) -> Figure:
        """One of its figures; those of one job have the same facts."""
        return self.figures[0]

    @property
    def name(self) -> str:
        """Its name in the plan: ``PAPER/TASK/ARM``."""
        return f"{self.paper}/{self.figure.task}/{self.arm}"

    @property
    def recipe(self) -> str:
        """The shipped recipe that it runs."""
        return f"{self.task.recipe}_{self.setup.recipe}"

    @property
    def runs(self) -> int:
        """Number of runs in the profile paper."""
        return self.seeds * len(self.learning_rates)

    @property
    def needs(self) -> tuple[Preparation, ...]:
        """What must be made before it can run."""
        return (*self.task.needs, *self.setup.needs)

    def overrides(self, folder: str, profile: str = PAPER) -> list[str]:
        """Overrides of the recipe, for ``--set``.

        Args:
            folder: the plan's folder.
            profile: ``paper``, or ``smoke`` to see whether it runs.
        """
        more = self.paper_settings if profile == PAPER else self.task.smoke
        return [text.replace("{folder}", folder) for text in (*self.settings, *more)]

    def arguments(self, folder: str, profile: str = PAPER) -> list[str]:
        """The arguments of ``fptkit`` that carry it out. Takes the same arguments as `overrides`."""
        rates = self.learning_rates if profile == PAPER else self.learning_rates[:1]
        settings = [part for text in self.overrides(folder, profile) for part in ("--set", text)]
        return [
            *("study", self.recipe, "--profile", profile),
            *settings,
            *("--learning-rates", ",".join(f"{rate:g}" for rate in rates)),
            *("--seeds", str(self.seeds if profile == PAPER else 1)),
            *("--ledger", f"{folder}/{self.name}"),
        ]

    def command(self, folder: str, profile: str = PAPER) -> str:
        """The command in a shell. Takes the same arguments as `overrides`."""
        return shlex.join(["fptkit", *self.arguments(folder, profile)])


def plan() -> tuple[Job, ...]:
    """All jobs, in the order of the papers' tables."""
    return tuple(job for paper in TABLES for job in _jobs(load_published(paper)))


def chosen(jobs: Sequence[Job], patterns: Sequence[str]) -> tuple[Job, ...]:
    """The jobs whose names match a pattern; all without patterns.

    Args:
        jobs: the plan.
        patterns: names, their beginnings such as ``fpt2021/mnist``, or patterns with ``*`` and ``?``.

    Raises:
        UnknownNameError: a pattern matches no job.
    """
    names = [job.name for job in jobs]
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names):
            beginnings = dict.fromkeys(name.rpartition("/")[0] for name in names)
            raise UnknownNameError("job", pattern, beginnings, "each with an arm, or alone; --dry-run lists them")
    return tuple(job for job in jobs if not patterns or any(_matches(job.name, pattern) for pattern in patterns))


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or name.startswith(f"{pattern.rstrip('/')}/")


def _jobs(paper: Published) -> Iterator[Job]:
    together: dict[tuple[object, ...], list[Figure]] = {}
    for table in TABLES[paper.name]:
        for figure in paper.of(table):
            together.setdefault(figure.identity, []).append(figure)
    for figures in together.values():
        yield _job(paper, tuple(figures))


def _job(paper: Published, figures: tuple[Figure, ...]) -> Job:
    figure = figures[0]
    setup = SIZES.get((figure.body, figure.blocks or 0)) or ARMS[figure.body, figure.freezing]
    swept = figure.learning_rates == "swept"
    return Job(
        paper=paper.name,
        arm=_arm(figure),
        figures=figures,
        task=TASKS[figure.task],
        setup=setup,
        settings=tuple(_settings(paper, figure, setup, swept=swept)),
        paper_settings=(*setup.paper, *_length(paper, figure)),
        learning_rates=SWEPT if swept or figure.learning_rate is None else (figure.learning_rate,),
        seeds=figure.seeds or 1,
    )


def _arm(figure: Figure) -> str:
    usual = figure.blocks in (_USUAL_BLOCKS, None) or figure.body == "lstm"
    size = "" if usual else f"_{figure.blocks}_blocks"
    return f"{_FROZEN.get(figure.freezing, figure.freezing)}_{figure.body}{size}"


def _settings(paper: Published, figure: Figure, setup: ArmSetup, *, swept: bool) -> Iterator[str]:
    """What makes the job, whatever its size."""
    yield f"task.protocol={figure.protocol}"
    if paper.precision is not None:
        yield f"precision={paper.precision}"
    if figure.init is not None:
        yield f"backbone.init={figure.init}"
    yield from setup.settings
    if swept:
        yield "choose=common"  # one rate for all seeds, as theirs


def _length(paper: Published, figure: Figure) -> Iterator[str]:
    """Batch size and length of training, if they are not the recipe's."""
    if paper.batch_size is not None:
        yield f"train.batch_size={paper.batch_size}"
    most = paper.tasks[figure.task].most_steps
    steps = most or LONGER.get((figure.task, figure.body, figure.freezing))
    if steps is not None:
        yield f"train.max_steps={steps}"
    if most is not None:
        yield f"train.validate_every={VALIDATE_EVERY}"
