"""What a plan says: everything that decides the results of a study and the conclusions drawn from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

import fptkit
from fptkit.lab.studies.address import written
from fptkit.lab.studies.comparisons import asked_pairs, lift_pairs
from fptkit.lab.studies.in_words import until_words
from fptkit.lab.studies.locking.digests import of_data, of_plugins, of_weights
from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.plan import SMOKE, CellFacts, CellName, Study, StudyFacts
from fptkit.recipe.models import TrainOptions
from fptkit.recipe.splits import draws_data

CORRECTION = "Holm, within each question: a pair of arms over all tasks and fractions of the data"

ANY_TIME = "p-values and intervals are those of e-processes, valid at any time"

DEFAULT_MARGIN = "1 point for metrics between 0 and 1, none for others"


class TestPlan(BaseModel, frozen=True, extra="forbid"):
    """The tests of a plan.

    Args:
        level: a verdict needs a corrected p below this.
        margin: differences up to this count as the same: for all tasks, for each task, or in words.
        correction: how p-values are corrected.
        stopping: when no further seeds are added, and which tests allow for that; empty for a fixed number.
        compared: pairs of arms to compare.
        lifts: pairs whose difference is a pretraining lift.
    """

    __test__ = False  # not a test, whatever its name says to pytest

    level: float
    margin: float | dict[str, float] | str
    correction: str
    stopping: str = ""
    compared: tuple[tuple[str, str], ...]
    lifts: tuple[tuple[str, str], ...]


class PlannedRecipe(BaseModel, frozen=True, extra="forbid"):
    """The resolved recipe of an arm on a task.

    Args:
        task, arm: names of task and arm.
        recipe: every setting that decides the result, without those that the study sets for each run.
    """

    task: str
    arm: str
    recipe: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the cell, for people."""
        return str(CellName(self.task, self.arm))


class Plan(BaseModel, frozen=True, extra="forbid"):
    """The plan of a study.

    Args:
        study, profile: name and profile of the study.
        tasks: names of the tasks.
        arms: names of the arms, each with its summary; controls last.
        reference: the arm that others are compared with.
        settings: everything else in the study file: question, learning rates, seeds, search, choice and so on.
        tests: the tests.
        exclusions: what happens to runs that do not end as planned.
        recipes: the resolved recipes, by task and then arm.
        skipped: cells that cannot be made, with the reason.
        fptkit: version of fptkit.
        code: digest of its code.
        plugins: digests of the plugin components, by name.
        weights: digests of the weights, by their entry in a recipe; empty for weights that were not on this machine.
        data: digests of the data, by task; empty for data that were not on this machine.
    """

    study: str
    profile: str | None
    tasks: tuple[str, ...]
    arms: dict[str, str]
    reference: str
    settings: dict[str, Any]
    tests: TestPlan
    exclusions: tuple[str, ...]
    recipes: tuple[PlannedRecipe, ...]
    skipped: dict[str, str]
    fptkit: str
    code: str
    plugins: dict[str, str]
    weights: dict[str, str]
    data: dict[str, str]


def plan_of(study: Study) -> Plan:
    """The plan of a study as it would run now."""
    from fptkit.lab.studies.statistics import LEVEL

    settings, facts = study.settings, study.facts
    return Plan(
        study=study.name,
        profile=study.profile,
        tasks=study.tasks,
        arms={arm: study.arm_summaries.get(arm, "") for arm in study.arms},
        reference=study.reference,
        # Plugins are paths; their code is in the digests.
        settings=settings.model_dump(mode="json", exclude={"plugins"}),
        tests=TestPlan(
            level=LEVEL,
            margin=DEFAULT_MARGIN if settings.margin is None else settings.margin,
            correction=CORRECTION,
            stopping=f"{until_words(settings)}; {ANY_TIME}" if settings.until else "",
            compared=tuple(dict.fromkeys((pair.a, pair.b) for pair in asked_pairs(facts))),
            lifts=tuple(dict.fromkeys((pair.a, pair.b) for pair in lift_pairs(facts))),
        ),
        exclusions=exclusion_rules(settings),
        recipes=_recipes(study),
        skipped=dict(facts.skipped),
        fptkit=fptkit.__version__,
        code=study.code_version,
        plugins=of_plugins(study),
        weights=of_weights(study),
        data=of_data(study),
    )


def facts_of(plan: Plan) -> StudyFacts:
    """What results need of a study, from a plan alone."""
    settings = StudySettings.model_validate(plan.settings)
    return StudyFacts(
        name=plan.study,
        profile=plan.profile,
        settings=settings,
        tasks=plan.tasks,
        arms=tuple(plan.arms),
        arm_summaries=plan.arms,
        cells=tuple(
            _cell(planned, fraction)
            for task in plan.tasks
            for fraction in settings.data_fractions
            for planned in plan.recipes
            if planned.task == task
        ),
        skipped=plan.skipped,
        code_version=plan.code,
        smoke=SMOKE in (plan.profile, settings.recipe_profile),
    )


def _cell(planned: PlannedRecipe, fraction: float) -> CellFacts:
    recipe = planned.recipe
    train = TrainOptions.model_validate({**recipe["train"], "data_fraction": fraction})
    name = CellName(planned.task, planned.arm, fraction)
    return CellFacts(name, train, recipe["freezing"], draws_data(train, recipe["task"]))


def exclusion_rules(settings: StudySettings) -> tuple[str, ...]:
    """What happens to runs that do not end as planned, in sentences."""
    diverged = (
        "its learning rate is excluded for its seed; a seed at which every rate diverged has no result."
        if settings.choose == "per_seed"
        else "its learning rate is excluded for all seeds; if every rate is excluded, the cell has no result."
    )
    replaced = (
        "not replaced by another seed"
        if settings.until is None
        else "its seed counts as used; further seeds are added as long as a comparison is undecided"
    )
    return (
        f"A run whose loss or gradient is not a finite number has diverged: {diverged}",
        f"A run that failed is listed as missing and {replaced}; of several rates, only those with the fewest failed "
        "runs are compared. --retry-failed repeats it with the same seed.",
        "A comparison uses the seeds that both arms have a result for; with fewer than 3 there is no verdict.",
        "No result is excluded for its value.",
    )


def _recipes(study: Study) -> tuple[PlannedRecipe, ...]:
    """The resolved recipes, without the seed, the fraction of the data and a searched rate."""
    set_per_run = {"seed", "data_fraction", *(("learning_rate",) if study.settings.learning_rates else ())}
    found: dict[tuple[str, str], PlannedRecipe] = {}
    for cell in study.cells:
        key = (cell.name.task, cell.name.arm)
        if key not in found:
            content: Mapping[str, Any] = written(cell.loaded.recipe)
            train = {name: value for name, value in content["train"].items() if name not in set_per_run}
            recipe = {name: value for name, value in content.items() if name != "pinned"}
            found[key] = PlannedRecipe(task=key[0], arm=key[1], recipe={**recipe, "train": train})
    return tuple(found.values())
