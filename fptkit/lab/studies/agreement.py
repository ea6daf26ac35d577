"""Whether the settings of a study speak of the arms and tasks it has, and go together."""

from __future__ import annotations

from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.read import Draft, unknown


def check_agreement(draft: Draft) -> None:
    """Append a fault for every setting that names what there is not, or that another leaves without effect.

    Args:
        draft: the study; one whose settings have faults is passed over.
    """
    settings = draft.settings
    if settings is None:
        return
    arms = list(draft.arms)
    _check_controls(draft, settings)
    if settings.reference in settings.controls:
        draft.fault(["reference"], f"'{settings.reference}' is a control, made from the reference; name an arm")
    elif settings.reference is not None and settings.reference not in arms:
        draft.fault(["reference"], unknown("arm", settings.reference, arms))
    for i, pair in enumerate(settings.comparisons):
        for name in pair:
            if name not in (*arms, *settings.controls):
                draft.fault(["comparisons", i], unknown("arm", name, [*arms, *settings.controls]))
        if pair[0] == pair[1]:
            draft.fault(["comparisons", i], f"compares '{pair[0]}' with itself")
    tasks = [*draft.tasks, *draft.unused_tasks]
    for task in settings.targets:
        if task not in tasks:
            draft.fault(["targets", task], unknown("task", task, tasks))
    _check_search(draft, settings)


def _check_controls(draft: Draft, settings: StudySettings) -> None:
    for name in settings.controls:
        if name in draft.arms:
            draft.fault(["controls"], f"there is an arm '{name}' already; call it something else, or leave one out")
        if settings.controls.count(name) > 1:
            draft.fault(["controls"], f"'{name}' stands there twice")


def _check_search(draft: Draft, settings: StudySettings) -> None:
    search, rates = settings.search, settings.learning_rates
    if search.name != "grid" and len(rates) < 2:
        meaning = "the rates to start from" if search.name == "halving" else "the ends of the rates to propose"
        draft.fault(["search", "name"], f"{search.name} needs two learning_rates at least: {meaning}")
    if search.name == "halving" and (settings.budget.seconds or settings.budget.flops):
        draft.fault(["search", "name"], "halving cuts a training by its steps; give the budget in steps")
    if search.seeds is not None and search.seeds > len(settings.seeds):
        draft.fault(["search", "seeds"], f"the study has {len(settings.seeds)} seeds only")
