"""Reads a study file, or a recipe as a study, into fragments and the recipe tree of each cell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

from fptkit.errors import nearest
from fptkit.lab.studies.cells import Fragment, compose, node_of, replaced_by_study, with_budget
from fptkit.lab.studies.options import StudySettings
from fptkit.recipe.check import check_model, without
from fptkit.recipe.extends import lay_over, merge, plugins_made_absolute, read_bases, read_overrides
from fptkit.recipe.find import ReadFile
from fptkit.recipe.models import DEFAULT_NAMES, RecipeSettings
from fptkit.recipe.tree import Fault, Faults, Node, Place, join, shown_path
from fptkit.specs import limits

FRAGMENTS = ("tasks", "arms")
"""Keys of a study with named fragments of recipes."""

OF_STUDY = {*StudySettings.model_fields, *FRAGMENTS} - {*RecipeSettings.model_fields}
"""Keys that only studies have."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass
class Draft:
    """A study that is being checked.

    Args:
        name: name of the study.
        file: its file as read.
        profile: the selected profile.
        tree: its settings with line numbers.
        settings: the checked settings; None if they have faults.
        recipes: the recipe of each task and arm, before the fraction of the data is applied.
        arms: summary of each arm, in the order of the file.
        unused_tasks: tasks of the file that ``use_tasks`` omits.
        faults: all faults found so far.
    """

    name: str
    file: ReadFile
    profile: str | None
    tree: Node
    settings: StudySettings | None = None
    recipes: dict[tuple[str, str], Node] = field(default_factory=dict)
    arms: dict[str, str] = field(default_factory=dict)
    unused_tasks: tuple[str, ...] = ()
    faults: list[Fault] = field(default_factory=Faults)

    @property
    def path(self) -> Path:
        """Path of its file."""
        return self.file.path

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in the order of the file."""
        return list(dict.fromkeys(task for task, _ in self.recipes))

    def fault(self, keys: Sequence[str | int], message: str) -> None:
        """Append a fault of a setting, at the line of the innermost of ``keys`` that the file contains."""
        node, path = self.tree, ""
        for key in keys:
            below = node.items[key] if isinstance(key, int) and node.items else node.mapping.get(str(key))
            node, path = below or node, join(path, key)
        self.faults.append(Fault(node.place, path, message))

    def place(self, *keys: str) -> Place:
        """Place of a setting in the file, or of the section it belongs to if it is omitted."""
        node = self.tree
        for key in keys:
            if key not in node.mapping:
                break
            node = node.mapping[key]
        return node.place


def read_study(file: ReadFile, profile: str | None, overrides: Sequence[str], controls: Sequence[str] | None) -> Draft:
    """Read a study file into a draft.

    Args:
        file: the file.
        profile: which of its ``profiles`` to apply.
        overrides: ``a.b=value`` texts, applied after the profile.
        controls: control arms to use instead of the file's; None keeps the file's.

    Returns:
        The study with the faults found so far.
    """
    faults: list[Fault] = Faults(file.faults)
    name = file.path.stem
    tree = lay_over(file.tree, profile=profile, overrides=overrides, faults=faults)
    if tree is None:
        return Draft(name, file, profile, Node({}, Place(shown_path(file.path))), faults=faults)
    draft = Draft(name, file, profile, _with_controls(tree, controls, len(overrides)), faults=faults)
    draft.settings = _settings(draft.tree, faults)
    found = {key: _fragments(draft, key) for key in FRAGMENTS}
    if not found["arms"] and not any(fault.path.startswith("arms") for fault in faults):
        faults.append(Fault(draft.place("arms"), "arms", "required: arms by name, each {extends: a recipe, ...}"))
    if tree.mapping.get("tasks") is not None and not found["tasks"]:
        message = "expected tasks by name; omit the key if every arm extends a complete recipe"
        faults.append(Fault(draft.place("tasks"), "tasks", message))
    draft.arms = {arm.name: arm.summary for arm in found["arms"]}
    tasks: list[Fragment | None] = [*_used_tasks(draft, found["tasks"])] or [None]
    if excess := _excess([task for task in tasks if task], found["arms"]):
        faults.append(Fault(draft.place("arms"), "arms", f"{excess}; split the study"))
        return draft
    for task in tasks:
        for arm in found["arms"]:
            recipe = _recipe(draft, [part for part in (task, arm) if part])
            draft.recipes[task.name if task else _task_name(recipe), arm.name] = recipe
    return draft


def read_recipe(file: ReadFile, profile: str | None, overrides: Sequence[str], controls: Sequence[str] | None) -> Draft:
    """Read a recipe into the draft of a study with one arm, named after the file, and one task, named after its task.

    Overrides of keys that only studies have apply to the study, all others to the recipe. For arguments and result
    see `read_study`.
    """
    path, shown = file.path, shown_path(file.path)
    faults: list[Fault] = Faults(file.faults)
    of_study = [text for text in overrides if text.partition("=")[0].partition(".")[0].strip() in OF_STUDY]
    asked = reduce(merge, read_overrides(of_study, faults), Node({}, Place(shown, 1)))
    name = "_".join(_NAME.findall(path.stem)) or "recipe"
    draft = Draft(name, file, profile, _with_controls(asked, controls, len(overrides)), faults=faults)
    draft.settings = _settings(draft.tree, faults)
    of_recipe = [text for text in overrides if text not in of_study]
    own = reduce(merge, read_overrides(of_recipe, []), Node({}, Place(shown, 1)))
    recipe = lay_over(file.tree, profile=profile, overrides=of_recipe, faults=faults, default_names=DEFAULT_NAMES)
    if recipe is None:
        return draft
    recipe = plugins_made_absolute(recipe, path.parent)
    draft.arms = {name: ""}
    draft.recipes = {(_task_name(recipe), name): _as_the_study_says(draft, recipe, [own])}
    return draft


def _excess(tasks: Sequence[Fragment], arms: Sequence[Fragment]) -> str:
    """What is above a limit if every arm is composed with every task; empty if nothing is."""
    if max(1, len(tasks)) * len(arms) > limits.RECIPES:
        return f"{len(tasks)} tasks and {len(arms)} arms make more than {limits.RECIPES} recipes"
    known: dict[int, int] = {}
    values = sum(_size(task, known) for task in tasks) * len(arms)
    values += sum(_size(arm, known) for arm in arms) * max(1, len(tasks))
    return (
        f"the recipes of all cells have more than {limits.RECIPE_VALUES:,} values"
        if values > limits.RECIPE_VALUES
        else ""
    )


def _size(fragment: Fragment, known: dict[int, int]) -> int:
    """Number of values in a fragment and its bases; those of a base that several extend are counted once."""

    def count(node: Node) -> int:
        return 1 + sum(map(count, [*node.mapping.values(), *node.items]))

    for tree in (*fragment.bases, fragment.own):
        if id(tree) not in known:
            known[id(tree)] = count(tree)
    return sum(known[id(tree)] for tree in (*fragment.bases, fragment.own))


def _used_tasks(draft: Draft, tasks: Sequence[Fragment]) -> list[Fragment]:
    """The tasks to use, in the order of the file."""
    wanted = draft.settings.use_tasks if draft.settings else ()
    names = [task.name for task in tasks]
    for i, name in enumerate(wanted):
        if name not in names:
            draft.fault(["use_tasks", i], unknown("task", name, names))
    used = [task for task in tasks if not wanted or task.name in wanted]
    draft.unused_tasks = tuple(task.name for task in tasks if task not in used)
    return used or list(tasks)  # if all names are wrong, still report faults of the tasks


def _with_controls(tree: Node, controls: Sequence[str] | None, above: int) -> Node:
    """Replace the control arms by those of the command line, if given."""
    if controls is None:
        return tree
    place = Place("--controls", layer=above + 1)
    return merge(tree, Node({"controls": node_of(controls, place)}, place))


def _settings(tree: Node, faults: list[Fault]) -> StudySettings | None:
    return check_model(
        without(tree, FRAGMENTS), StudySettings, "", faults, also_allowed=["extends", *FRAGMENTS, "profiles"]
    )


def _fragments(draft: Draft, key: str) -> list[Fragment]:
    """The tasks or the arms, with the bases they extend."""
    section = draft.tree.mapping.get(key)
    if section is None or section.refused:
        return []
    if not isinstance(section.value, dict):
        draft.faults.append(Fault(section.place, key, "expected names, each with keys of a recipe ({extends: ...})"))
        return []
    most = limits.TASKS if key == "tasks" else limits.ARMS
    if len(section.value) > most:
        draft.faults.append(Fault(section.place, key, f"{len(section.value):,} {key}; at most {most}: split the study"))
        return []
    found = []
    for name, node in section.value.items():
        path = join(key, name)
        if not _NAME.fullmatch(name) or name == "name":
            message = (
                "expected a name of letters, digits, '_', '.' and '-' that does not begin with '.' or '-' (not 'name')"
            )
            draft.faults.append(Fault(node.place, path, message))
        if isinstance(node.value, dict):
            found.append(_fragment(draft, name, path, node))
        elif not node.refused:
            draft.faults.append(Fault(node.place, path, "expected keys of a recipe, such as {extends: base/gpt2}"))
    return found


def _fragment(draft: Draft, name: str, path: str, node: Node) -> Fragment:
    summary = ""
    own = dict(node.mapping)
    if path.startswith("arms.") and (given := own.pop("summary", None)) and not given.refused:
        if isinstance(given.value, str):
            summary = given.value
        else:
            draft.faults.append(Fault(given.place, join(path, "summary"), "expected one line of text"))
    for key in [key for key in own if key in OF_STUDY or key == "profiles"]:
        message = (
            "only the study has profiles; write these changes in a profile of the study"
            if key == "profiles"
            else f"'{key}' is the same for all cells of the study; write it at the top level of the file"
        )
        draft.faults.append(Fault(own.pop(key).place, join(path, key), message))
    fragment = Node(own, node.place)
    bases = read_bases(fragment, draft.path.parent, draft.faults, lambda: draft.file.bases, read=draft.file.read)
    fragment = plugins_made_absolute(without(fragment, ["extends"]), draft.path.parent)
    return Fragment(name, tuple(bases), fragment, summary)


def _recipe(draft: Draft, parts: Sequence[Fragment]) -> Node:
    profile = draft.tree.mapping.get("recipe_profile")
    recipe = compose(parts, profile if draft.settings else None, draft.faults)
    return _as_the_study_says(draft, recipe, [part.own for part in parts])


def _as_the_study_says(draft: Draft, recipe: Node, owns: Sequence[Node]) -> Node:
    """Apply the study's budget to the recipe; append a fault for each own key that the study replaces."""
    if draft.settings is None:
        return recipe
    for own in owns:
        replaced_by_study(own, draft.settings, draft.faults)
    asked = draft.tree.mapping.get("budget", draft.tree)
    return with_budget(recipe, draft.settings.budget, asked, owns)


def _task_name(recipe: Node) -> str:
    """Name of a recipe's task; ``task`` if it has none, which is reported with the other faults."""
    task = recipe.mapping.get("task")
    name = task.mapping.get("name") if task else None
    return name.value if name and isinstance(name.value, str) else "task"


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """Message for an unknown name, with the nearest known one.

    Args:
        what: kind of the name, such as ``arm``.
        name: the unknown name.
        known: the known names.
    """
    hint = nearest(name, known)
    suggestion = f" Did you mean '{hint}'?" if hint else ""
    return f"unknown {what} '{name}'.{suggestion}\nknown: {', '.join(known) or 'none'}"
