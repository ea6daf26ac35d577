"""A study file, or a recipe that is studied, read into fragments and the recipe tree of each cell."""

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
from fptkit.recipe.extends import lay_over, merge, plugins_made_absolute, read_bases, read_override
from fptkit.recipe.find import ReadFile
from fptkit.recipe.models import DEFAULT_NAMES, RecipeSettings
from fptkit.recipe.tree import Fault, Node, Place, join, shown_path

FRAGMENTS = ("tasks", "arms")
"""Keys of a study that hold fragments of recipes by name."""

OF_STUDY = {*StudySettings.model_fields, *FRAGMENTS} - {*RecipeSettings.model_fields}
"""Keys of a study that no recipe has."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass
class Draft:
    """A study while it is checked.

    Args:
        name: what it is called.
        file: its file as it was read.
        profile: the profile taken.
        tree: its settings, for places.
        settings: the same, checked; None after a fault there.
        recipes: the recipe of each cell before its share of the data, by task and arm.
        arms: summary of each arm, in the order of the file.
        unused_tasks: those of the file that ``use_tasks`` leaves out.
        faults: all that were found.
    """

    name: str
    file: ReadFile
    profile: str | None
    tree: Node
    settings: StudySettings | None = None
    recipes: dict[tuple[str, str], Node] = field(default_factory=dict)
    arms: dict[str, str] = field(default_factory=dict)
    unused_tasks: tuple[str, ...] = ()
    faults: list[Fault] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Its file."""
        return self.file.path

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in the order of the file."""
        return list(dict.fromkeys(task for task, _ in self.recipes))

    def fault(self, keys: Sequence[str | int], message: str) -> None:
        """Note a fault of a setting, at the line of the innermost of ``keys`` that was written."""
        node, path = self.tree, ""
        for key in keys:
            below = node.items[key] if isinstance(key, int) and node.items else node.mapping.get(str(key))
            node, path = below or node, join(path, key)
        self.faults.append(Fault(node.place, path, message))

    def place(self, *keys: str) -> Place:
        """Where a setting was written; what holds it where it was left out."""
        node = self.tree
        for key in keys:
            if key not in node.mapping:
                break
            node = node.mapping[key]
        return node.place


def read_study(file: ReadFile, profile: str | None, overrides: Sequence[str], controls: Sequence[str] | None) -> Draft:
    """The draft of a study file.

    Args:
        file: the file.
        profile: which of its ``profiles`` to lay over it.
        overrides: ``a.b=value`` texts, laid over that.
        controls: control arms in place of those it asks for; None for these.

    Returns:
        The study with the faults found so far.
    """
    faults = list(file.faults)
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
        message = "expected tasks by name; leave the key out where every arm extends a whole recipe"
        faults.append(Fault(draft.place("tasks"), "tasks", message))
    draft.arms = {arm.name: arm.summary for arm in found["arms"]}
    tasks: list[Fragment | None] = [*_used_tasks(draft, found["tasks"])] or [None]
    for task in tasks:
        for arm in found["arms"]:
            recipe = _recipe(draft, [part for part in (task, arm) if part])
            draft.recipes[task.name if task else _task_name(recipe), arm.name] = recipe
    return draft


def read_recipe(file: ReadFile, profile: str | None, overrides: Sequence[str], controls: Sequence[str] | None) -> Draft:
    """The draft of a recipe as a study of one arm: the file's name is the arm's, its task's name the task's.

    Overrides of keys that only a study has are the study's, all others the recipe's. Takes and returns what
    `read_study` does.
    """
    path, shown = file.path, shown_path(file.path)
    faults = list(file.faults)
    of_study = [text for text in overrides if text.partition("=")[0].partition(".")[0].strip() in OF_STUDY]
    layers = [node for i, text in enumerate(of_study, start=1) if (node := read_override(text, i, faults))]
    asked = reduce(merge, layers, Node({}, Place(shown, 1)))
    name = "_".join(_NAME.findall(path.stem)) or "recipe"
    draft = Draft(name, file, profile, _with_controls(asked, controls, len(overrides)), faults=faults)
    draft.settings = _settings(draft.tree, faults)
    of_recipe = [text for text in overrides if text not in of_study]
    own = reduce(merge, [node for text in of_recipe if (node := read_override(text, 1, []))], Node({}, Place(shown, 1)))
    recipe = lay_over(file.tree, profile=profile, overrides=of_recipe, faults=faults, default_names=DEFAULT_NAMES)
    if recipe is None:
        return draft
    recipe = plugins_made_absolute(recipe, path.parent)
    draft.arms = {name: ""}
    draft.recipes = {(_task_name(recipe), name): _as_the_study_says(draft, recipe, [own])}
    return draft


def _used_tasks(draft: Draft, tasks: Sequence[Fragment]) -> list[Fragment]:
    """The tasks that are studied, in the order of the file."""
    wanted = draft.settings.use_tasks if draft.settings else ()
    names = [task.name for task in tasks]
    for i, name in enumerate(wanted):
        if name not in names:
            draft.fault(["use_tasks", i], unknown("task", name, names))
    used = [task for task in tasks if not wanted or task.name in wanted]
    draft.unused_tasks = tuple(task.name for task in tasks if task not in used)
    return used or list(tasks)  # where all names are wrong, faults of the tasks are told all the same


def _with_controls(tree: Node, controls: Sequence[str] | None, above: int) -> Node:
    """The settings with the control arms of the command line."""
    if controls is None:
        return tree
    place = Place("--controls", layer=above + 1)
    return merge(tree, Node({"controls": node_of(controls, place)}, place))


def _settings(tree: Node, faults: list[Fault]) -> StudySettings | None:
    return check_model(
        without(tree, FRAGMENTS), StudySettings, "", faults, also_allowed=["extends", *FRAGMENTS, "profiles"]
    )


def _fragments(draft: Draft, key: str) -> list[Fragment]:
    """The tasks or the arms, each with the bases it extends."""
    section = draft.tree.mapping.get(key)
    if section is None or section.refused:
        return []
    if not isinstance(section.value, dict):
        draft.faults.append(Fault(section.place, key, "expected names, each with keys of a recipe ({extends: ...})"))
        return []
    found = []
    for name, node in section.value.items():
        path = join(key, name)
        if not _NAME.fullmatch(name) or name == "name":
            message = (
                "expected a name of letters, digits, '_', and after the first '.' and '-' (but not 'name'), for tables"
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
            "profiles are those of the whole study; write there what changes here"
            if key == "profiles"
            else f"'{key}' is the whole study's, the same for all its cells; write it at the top of the file"
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
    """The recipe with the study's budget; a fault for each own key that the study replaces."""
    if draft.settings is None:
        return recipe
    for own in owns:
        replaced_by_study(own, draft.settings, draft.faults)
    asked = draft.tree.mapping.get("budget", draft.tree)
    return with_budget(recipe, draft.settings.budget, asked, owns)


def _task_name(recipe: Node) -> str:
    """Name of a recipe's task, ``task`` where it gives none: its fault is found with the others."""
    task = recipe.mapping.get("task")
    name = task.mapping.get("name") if task else None
    return name.value if name and isinstance(name.value, str) else "task"


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """The message for a name the study does not have."""
    hint = nearest(name, known)
    suggestion = f" Did you mean '{hint}'?" if hint else ""
    return f"unknown {what} '{name}'.{suggestion}\nknown: {', '.join(known) or 'none'}"
