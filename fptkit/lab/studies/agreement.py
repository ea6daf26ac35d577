"""Checks that the settings of a study name arms and tasks it has, and do not contradict each other."""

from __future__ import annotations

from collections.abc import Iterable

from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.read import Draft, unknown
from fptkit.recipe.dump import component_mapping
from fptkit.recipe.models import Recipe
from fptkit.recipe.splits import draws_data
from fptkit.recipe.tree import Fault, Node
from fptkit.specs import limits


def check_agreement(draft: Draft) -> None:
    """Append a fault for every setting that names something unknown or contradicts another setting.

    Args:
        draft: the study; skipped if its settings could not be read.
    """
    settings = draft.settings
    if settings is None:
        return
    arms = list(draft.arms)
    _check_controls(draft, settings)
    if settings.reference in settings.controls:
        draft.fault(["reference"], f"'{settings.reference}' is a control, derived from the reference; name an arm")
    elif settings.reference is not None and settings.reference not in arms:
        draft.fault(["reference"], unknown("arm", settings.reference, arms))
    for i, pair in enumerate(settings.comparisons):
        for name in pair:
            if name not in (*arms, *settings.controls):
                draft.fault(["comparisons", i], unknown("arm", name, [*arms, *settings.controls]))
        if pair[0] == pair[1]:
            draft.fault(["comparisons", i], f"compares '{pair[0]}' with itself")
    tasks = [*draft.tasks, *draft.unused_tasks]
    for key, named in (("targets", settings.targets), ("margin", settings.margin)):
        for task in named if isinstance(named, dict) else ():
            if task not in tasks:
                draft.fault([key, task], unknown("task", task, tasks))
    _check_search(draft, settings)
    _check_vary(draft, settings)


def check_runs(draft: Draft) -> None:
    """Append a fault if the study may need more runs than a plan can list in a moment.

    Args:
        draft: the study; skipped if its settings could not be read.
    """
    settings = draft.settings
    if settings is None:
        return
    cells = len(draft.tasks) * (len(draft.arms) + len(settings.controls)) * len(settings.data_fractions)
    rates = settings.search.trials if settings.search.name == "optuna" else max(1, len(settings.learning_rates))
    seeds = settings.until.at_most if settings.until else len(settings.first_seeds)
    runs = cells * (rates + len(settings.vary)) * seeds
    if runs > limits.RUNS:
        message = (
            f"{cells:,} cells, {rates} learning rates and {seeds:,} seeds make {runs:,} runs; at most {limits.RUNS:,}"
        )
        draft.fault(["seeds"], f"{message}: split the study; several may share a ledger")


def check_data_vary(draft: Draft, recipes: Iterable[Recipe | str]) -> None:
    """Append a fault if the study varies data and no cell draws any.

    Args:
        draft: the study; skipped if it has faults.
        recipes: the checked recipes of its cells, or why there is none.
    """
    settings = draft.settings
    if settings is None or draft.faults or "data" not in settings.vary or min(settings.data_fractions) < 1:
        return
    made = [recipe for recipe in recipes if isinstance(recipe, Recipe)]
    if not any(draws_data(recipe.train, component_mapping(recipe.task)) for recipe in made):
        draft.fault(
            ["vary", settings.vary.index("data")],
            "nothing would vary: every run uses its whole training split, and no task splits its data at random with "
            "split.seed: null; give data_fractions below 1, or leave data out",
        )


def _check_controls(draft: Draft, settings: StudySettings) -> None:
    for name in settings.controls:
        if name in draft.arms:
            draft.fault(["controls"], f"control '{name}' has the name of an arm; rename the arm or drop the control")
        if settings.controls.count(name) > 1:
            draft.fault(["controls"], f"'{name}' is listed twice; remove one")


def _check_vary(draft: Draft, settings: StudySettings) -> None:
    if settings.vary and len(settings.first_seeds) < 2:
        draft.fault(["vary"], "needs at least two seeds: each source is varied by the seeds after the first")
    for tree in draft.recipes.values():
        for name in settings.vary:
            if (node := _own_seed(tree, name)) and node.value is not None:
                fault = Fault(
                    node.place, f"train.seeds.{name}", "the study's vary replaces this; leave one of them out"
                )
                if fault not in draft.faults:
                    draft.faults.append(fault)


def _own_seed(tree: Node, name: str) -> Node | None:
    """The seed that a recipe gives to one source of randomness."""
    for key in ("train", "seeds", name):
        found = tree.mapping.get(key)
        if found is None:
            return None
        tree = found
    return tree


def _check_search(draft: Draft, settings: StudySettings) -> None:
    search, rates = settings.search, settings.learning_rates
    if search.name != "grid" and len(rates) < 2:
        meaning = "the rates to start with" if search.name == "halving" else "the range to propose rates from"
        draft.fault(["search", "name"], f"{search.name} needs at least two learning_rates: {meaning}")
    if search.name == "halving" and (settings.budget.seconds or settings.budget.flops):
        draft.fault(["search", "name"], "halving divides training by steps; give the budget in steps")
    _check_choice(draft, settings)


def _check_choice(draft: Draft, settings: StudySettings) -> None:
    """Who chooses a rate, and with which seeds."""
    search, common = settings.search, settings.choose == "common"
    if search.seeds is not None and not common:
        draft.fault(["search", "seeds"], "needs choose: common; with choose: per_seed every seed searches for itself")
    elif search.seeds is not None and search.seeds > len(settings.first_seeds):
        draft.fault(["search", "seeds"], f"more than the study's {len(settings.first_seeds)} seeds; lower it")
    if settings.until is not None and common:
        message = "seeds that are added until decided need choose: per_seed; or give a number of seeds"
        draft.fault(["choose"], message)
