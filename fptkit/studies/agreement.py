"""Whether the settings of a study speak of the arms and tasks it has, and go together."""

from __future__ import annotations

from collections.abc import Sequence

from fptkit.errors import nearest
from fptkit.recipe.tree import Fault, Node, join
from fptkit.studies.options import StudySettings
from fptkit.studies.read import Draft


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
        _fault(draft, ["reference"], f"'{settings.reference}' is a control, made from the reference; name an arm")
    elif settings.reference is not None and settings.reference not in arms:
        _fault(draft, ["reference"], _unknown("arm", settings.reference, arms))
    for i, pair in enumerate(settings.comparisons):
        for name in pair:
            if name not in (*arms, *settings.controls):
                _fault(draft, ["comparisons", i], _unknown("arm", name, [*arms, *settings.controls]))
        if pair[0] == pair[1]:
            _fault(draft, ["comparisons", i], f"compares '{pair[0]}' with itself")
    for task in settings.targets:
        if task not in draft.tasks:
            _fault(draft, ["targets", task], _unknown("task", task, draft.tasks))
    _check_search(draft, settings)


def _check_controls(draft: Draft, settings: StudySettings) -> None:
    for name in settings.controls:
        if name in draft.arms:
            _fault(draft, ["controls"], f"there is an arm '{name}' already; call it something else, or leave one out")
        if settings.controls.count(name) > 1:
            _fault(draft, ["controls"], f"'{name}' stands there twice")


def _check_search(draft: Draft, settings: StudySettings) -> None:
    search, rates = settings.search, settings.learning_rates
    if search.name != "grid" and len(rates) < 2:
        meaning = "the rates to start from" if search.name == "halving" else "the ends of the rates to propose"
        _fault(draft, ["search", "name"], f"{search.name} needs two learning_rates at least: {meaning}")
    if search.name == "halving" and (settings.budget.seconds or settings.budget.flops):
        _fault(draft, ["search", "name"], "halving cuts a training by its steps; give the budget in steps")
    if search.seeds is not None and search.seeds > len(settings.seeds):
        _fault(draft, ["search", "seeds"], f"the study has {len(settings.seeds)} seeds only")


def _fault(draft: Draft, keys: Sequence[str | int], message: str) -> None:
    node: Node = draft.tree
    path = ""
    for key in keys:
        below = node.items[key] if isinstance(key, int) and node.items else node.mapping.get(str(key))
        node, path = below or node, join(path, key)
    draft.faults.append(Fault(node.place, path, message))


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    hint = nearest(name, known)
    suggestion = f" Did you mean '{hint}'?" if hint else ""
    return f"unknown {what} '{name}'.{suggestion}\nknown: {', '.join(known) or 'none'}"
