"""What a plan says: everything that decides the results of a study and the conclusions drawn from them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

import fptkit
from fptkit.lab.studies.address import written
from fptkit.lab.studies.locking.digests import of_plugins, of_weights
from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.plan import CellName, Study

CORRECTION = "Holm, within each question: a pair of arms over all tasks and fractions of the data"

NO_MARGIN = "1 point for metrics between 0 and 1, none for others"


class TestPlan(BaseModel, frozen=True, extra="forbid"):
    """The tests of a plan.

    Args:
        level: a verdict needs a corrected p below this.
        margin: differences up to this count as the same, in words or for each task.
        correction: how p-values are corrected.
        compared: pairs of arms to compare.
    """

    __test__ = False  # not a test, whatever its name says to pytest

    level: float
    margin: float | dict[str, float] | str
    correction: str
    compared: tuple[tuple[str, str], ...]


class Plan(BaseModel, frozen=True, extra="forbid"):
    """The plan of a study.

    Args:
        study, profile, question, description: the study's own.
        tasks: names of the tasks.
        arms: names of the arms, each with its summary; controls last.
        reference: the arm that others are compared with.
        learning_rates, seeds, choose, vary, data_fractions, budget, search, targets: as in the study file.
        tests: the tests.
        exclusions: what happens to runs that do not end as planned.
        recipes: the resolved recipe of each arm on each task, without what the study sets for each run.
        skipped: cells that cannot be made, with the reason.
        fptkit: version of fptkit.
        code: digest of its code.
        plugins: digests of the plugin components, by name.
        weights: digests of the weights, by their entry; empty for weights that were not on this machine.
    """

    study: str
    profile: str | None
    question: str
    description: str
    tasks: tuple[str, ...]
    arms: dict[str, str]
    reference: str
    learning_rates: tuple[float, ...]
    seeds: tuple[int, ...] | dict[str, Any]
    choose: str
    vary: tuple[str, ...]
    data_fractions: tuple[float, ...]
    budget: dict[str, Any]
    search: dict[str, Any]
    targets: dict[str, float]
    tests: TestPlan
    exclusions: tuple[str, ...]
    recipes: dict[str, dict[str, Any]]
    skipped: dict[str, str]
    fptkit: str
    code: str
    plugins: dict[str, str]
    weights: dict[str, str]


def plan_of(study: Study) -> Plan:
    """The plan of a study as it would run now."""
    from fptkit.lab.studies.statistics import LEVEL

    settings = study.settings
    values = settings.model_dump(mode="json")
    asked = settings.comparisons or tuple((arm, study.reference) for arm in study.arms if arm != study.reference)
    return Plan(
        study=study.name,
        profile=study.profile,
        tasks=study.tasks,
        arms={arm: study.arm_summaries.get(arm, "") for arm in study.arms},
        reference=study.reference,
        tests=TestPlan(
            level=LEVEL,
            margin=NO_MARGIN if settings.margin is None else settings.margin,
            correction=CORRECTION,
            compared=asked,
        ),
        exclusions=exclusion_rules(settings),
        recipes=_recipes(study),
        skipped={str(name): reason for name, reason in study.skipped.items()},
        fptkit=fptkit.__version__,
        code=study.code_version,
        plugins=of_plugins(study),
        weights=of_weights(study),
        **{key: values[key] for key in _AS_IN_THE_FILE},
    )


_AS_IN_THE_FILE = (
    "question",
    "description",
    "learning_rates",
    "seeds",
    "choose",
    "vary",
    "data_fractions",
    "budget",
    "search",
    "targets",
)


def exclusion_rules(settings: StudySettings) -> tuple[str, ...]:
    """What happens to runs that do not end as planned, in sentences."""
    whose = "for that seed" if settings.choose == "per_seed" else "for all seeds of the cell"
    return (
        f"A run whose loss or gradient is not a finite number has diverged: its learning rate is excluded {whose}, "
        "unless every rate diverged; then there is no result.",
        "A run that failed is not replaced: it is listed as missing. --retry-failed repeats it with the same seed.",
        "A comparison uses the seeds that both arms have a result for; with fewer than 3 there is no verdict.",
        "No result is excluded for its value.",
    )


def _recipes(study: Study) -> dict[str, dict[str, Any]]:
    """The resolved recipes by arm and task, without the seed, the fraction of the data and a searched rate."""
    set_per_run = {"seed", "data_fraction", *(("learning_rate",) if study.settings.learning_rates else ())}
    found: dict[str, dict[str, Any]] = {}
    for cell in study.cells:
        name = str(CellName(cell.name.task, cell.name.arm))
        if name not in found:
            content = written(cell.loaded.recipe)
            content["train"] = {key: value for key, value in content["train"].items() if key not in set_per_run}
            found[name] = content
    return found
