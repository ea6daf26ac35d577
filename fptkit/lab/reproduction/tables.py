"""The plan as rows of text, for the script and the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from fptkit.lab.benchmarking.hours import ASSUMED, Speed, shown_hours
from fptkit.lab.published import Figure, Published, load_published
from fptkit.lab.published.compare import shown
from fptkit.lab.reproduction.arms import BIT_MEMORY
from fptkit.lab.reproduction.counts import count_of, preparing_seconds, seconds_of
from fptkit.lab.reproduction.differences import differences, load_job
from fptkit.lab.reproduction.plan import Job
from fptkit.recipe.load import LoadedRecipe
from fptkit.registry import Registry

FOLDER = "reproduction"
"""The plan's folder, unless another is given."""

_OWN = "made here, see below"


@dataclass(frozen=True)
class Planned:
    """One job with what the plan says about it.

    Args:
        job: the job.
        registry: the components.
        folder: the plan's folder.
        speed: the assumed speed of the machine.
    """

    job: Job
    registry: Registry
    folder: str = FOLDER
    speed: Speed = ASSUMED

    @cached_property
    def loaded(self) -> LoadedRecipe:
        """Its recipe.

        Raises:
            RecipeError: its overrides do not fit it.
        """
        return load_job(self.job, self.registry, self.folder)

    @property
    def seconds(self) -> float:
        """Duration of its runs in seconds, without what it needs first."""
        return seconds_of(self.job, self.speed)

    @property
    def weights(self) -> str:
        """Where its weights are from."""
        entries = getattr(self.loaded.recipe.backbone.options, "weights", ("random",))
        return _OWN if entries[0].endswith(BIT_MEMORY) else str(entries[0])

    def differences(self, figure: Figure) -> tuple[str, ...]:
        """What its result will differ in from a figure, most important first; notes come last."""
        reasons, notes = differences(self.job, figure, _published(self.job.paper), self.loaded)
        return (*reasons, *notes)

    @property
    def theirs(self) -> str:
        """Its figures; those of several tables, if they differ."""
        return " or ".join(dict.fromkeys(shown(figure.value, figure.sem) for figure in self.job.figures))


@cache
def _published(paper: str) -> Published:
    return load_published(paper)


def dry_run_rows(plans: Sequence[Planned], folder: str, hours: float | None) -> list[dict[str, str]]:
    """Rows for ``--dry-run``, in the order given.

    Args:
        plans: the jobs, the cheapest first.
        folder: the plan's folder.
        hours: the budget; None: no column about it.
    """
    rows, sum_s, made = [], 0.0, False
    for plan in plans:
        needed = 0.0 if made else preparing_seconds(plan.job, plan.speed)
        fits = hours is None or sum_s + needed + plan.seconds <= 3600 * hours
        if fits:
            sum_s += needed + plan.seconds
            made = made or needed > 0
        row = {
            "job": plan.job.name,
            "theirs": plan.theirs,
            "runs": str(plan.job.runs),
            "hours": shown_hours(plan.seconds),
            "all": shown_hours(sum_s) if fits else "",
            "data": plan.job.task.data.replace("`", ""),
            "weights": plan.weights,
            "command": plan.job.command(folder),
        }
        rows.append(row if hours is None else {**row, "all": row["all"] or "does not fit"})
    return rows


def figure_rows(plans: Sequence[Planned], paper: str, table: str) -> list[dict[str, str]]:
    """One row for each figure of a table, in the paper's order; what differs is one text a line.

    Args:
        plans: all jobs.
        paper: name of the paper.
        table: name of the table.
    """
    places = {
        (figure.table, figure.row, figure.column): (plan, figure)
        for plan in plans
        if plan.job.paper == paper
        for figure in plan.job.figures
    }
    rows = []
    for figure in _published(paper).of(table):
        plan, found = places[figure.table, figure.row, figure.column]
        rows.append(
            {
                "figure": f"{figure.row}, {figure.column}",
                "theirs": shown(found.value, found.sem),
                "job": plan.job.name.partition("/")[2],
                "runs": str(plan.job.runs),
                "GPU hours": shown_hours(plan.seconds),
                "data": plan.job.task.data,
                "weights": plan.weights,
                "what differs": "\n".join(plan.differences(found)),
            }
        )
    return rows


def sums(plans: Sequence[Planned]) -> list[dict[str, str]]:
    """Number of jobs, runs and hours of each paper, and of all.

    Args:
        plans: all jobs.
    """
    papers = list(dict.fromkeys(plan.job.paper for plan in plans))
    groups = {**{paper: [plan for plan in plans if plan.job.paper == paper] for paper in papers}, "all": list(plans)}
    return [
        {
            "paper": name,
            "figures": str(sum(len(plan.job.figures) for plan in some)),
            "jobs": str(len(some)),
            "runs": f"{sum(plan.job.runs for plan in some):,}",
            "GPU hours": shown_hours(sum(plan.seconds for plan in some)),
            "most memory": f"{max(count_of(plan.job).memory_gib for plan in some):.1f} GiB",
        }
        for name, some in groups.items()
    ]


def within(plans: Sequence[Planned], hours: float) -> int:
    """Number of jobs that fit into a budget, the cheapest first.

    Args:
        plans: all jobs.
        hours: the budget.
    """
    ordered = sorted(plans, key=lambda plan: (plan.seconds + preparing_seconds(plan.job, plan.speed), plan.job.name))
    return sum(row["all"] != "does not fit" for row in dry_run_rows(ordered, FOLDER, hours))
