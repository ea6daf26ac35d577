"""Loads a study file into checked cells; reports all faults of study, bases and composed recipes together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fptkit.engine.code_version import code_version
from fptkit.errors import UsageError
from fptkit.lab.studies.agreement import check_agreement, check_data_vary, check_runs
from fptkit.lab.studies.cells import as_cell, node_of, plugins_of
from fptkit.lab.studies.options import StudySettings
from fptkit.lab.studies.plan import Cell, CellName, Study
from fptkit.lab.studies.read import Draft, read_recipe, read_study
from fptkit.recipe.extends import merge, plugins_made_absolute
from fptkit.recipe.find import ReadFile, find_study, read_recipe_file, recipe_folders
from fptkit.recipe.load import (
    LoadedRecipe,
    RegistryLoader,
    all_plugins,
    check_recipe,
    load_installed,
    own_plugin_files,
    with_own_plugins,
)
from fptkit.recipe.models import Recipe
from fptkit.recipe.tree import Node, recipe_error, shown_path
from fptkit.registry import Registry

Recipes = dict[tuple[str, str], Recipe | str]
"""The checked recipe of each task and arm, or the reason why there is none."""


def load_study(
    path_or_name: str,
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    plugin_files: Sequence[str | Path] = (),
    registry_loader: RegistryLoader = load_installed,
    controls: Sequence[str] | None = None,
) -> Study:
    """Load a study, or a recipe as a study of one arm.

    Args:
        path_or_name: path of a file, or the bare name of a study or recipe in the working folder or a plugin's recipe
            folder.
        profile: which of its ``profiles`` to apply.
        overrides: ``a.b=value`` texts, applied after the profile; for a recipe, keys of a study or of the recipe.
        plugin_files: plugin files in addition to those named by the study and its recipes.
        registry_loader: called once with these files to make the registry; plugins named by the study and its recipes
            are added to it.
        controls: names of control arms to use instead of the study's; None keeps the study's.

    Raises:
        RecipeError: the study, its bases or its cells have faults; it lists all of them.
        UnknownNameError: there is no such study or recipe.
        UsageError: a plugin file is missing, a bare name is in several folders, or the path is a pretraining recipe or
            a folder.
        PluginError: one of ``plugin_files`` does not load.
    """
    given = [Path(file) for file in plugin_files]
    registry = registry_loader(given)
    folders = recipe_folders(registry)
    file = read_recipe_file(find_study(path_or_name, folders), folders)
    if file.kind == "pretrain":
        raise UsageError(f"{shown_path(file.path)}: this is a pretraining recipe; use: fptkit pretrain {path_or_name}")
    return load_read_study(file, registry, profile=profile, overrides=overrides, given=given, controls=controls)


def load_read_study(
    file: ReadFile,
    registry: Registry,
    *,
    profile: str | None,
    overrides: Sequence[str],
    given: Sequence[Path],
    controls: Sequence[str] | None = None,
) -> Study:
    """Check a study file, or a recipe as a study of one arm, after reading it.

    Args:
        file: the file as read.
        registry: all plugins except those named by the study and its recipes, which are loaded here.
        profile: which of its ``profiles`` to apply.
        overrides: ``a.b=value`` texts, applied after the profile.
        given: plugin files already in the registry; they are added to the recipes' ``plugins``.
        controls: names of control arms to use instead of the study's; None keeps the study's.

    Raises:
        RecipeError: the study, its bases or its cells have faults; it lists all of them.
    """
    read = read_study if file.kind == "study" else read_recipe
    draft = read(file, profile, overrides, controls)
    named = _plugins_named(draft)
    own, unusable = own_plugin_files(named, file.path.parent)
    registry = with_own_plugins(registry, own, named, unusable)
    check_agreement(draft)
    check_runs(draft)
    recipes = _checked(draft, registry, all_plugins(given, own), unknown_names=not unusable)
    check_data_vary(draft, recipes.values())
    draft.faults += unusable
    if draft.faults or draft.settings is None:
        raise recipe_error(draft.faults)
    return _study(draft, draft.settings, recipes, registry)


def _plugins_named(draft: Draft) -> Node:
    """A mapping with the plugins of the study and all its recipes, which share one registry."""
    study = plugins_made_absolute(draft.tree, draft.path.parent)
    plugins = plugins_of([study, *draft.recipes.values()], draft.tree.place)
    return Node({"plugins": plugins} if plugins else {}, draft.tree.place)


def _checked(draft: Draft, registry: Registry, plugins: tuple[str, ...], *, unknown_names: bool) -> Recipes:
    """Check the recipe of every task and arm, controls last; append faults to the draft."""
    found: Recipes = {}

    def check(tree: Node) -> Recipe | None:
        recipe = check_recipe(tree, registry, draft.faults, unknown_names=unknown_names)
        return recipe and recipe.model_copy(update={"plugins": plugins})

    for place, tree in draft.recipes.items():
        if made := check(tree):
            found[place] = made
    controls = draft.settings.controls if draft.settings else ()
    if not controls or draft.faults:
        return found
    from fptkit.lab.studies.controls import CONTROL_SUMMARIES, control_fragment

    reference = draft.settings.reference_among(tuple(draft.arms)) if draft.settings else next(iter(draft.arms))
    of_reference = [(task, recipe) for (task, arm), recipe in found.items() if arm == reference]
    for control in controls:
        draft.arms[control] = CONTROL_SUMMARIES[control]
        for task, recipe in of_reference:
            assert isinstance(recipe, Recipe)
            fragment = control_fragment(control, recipe)
            if isinstance(fragment, str):
                found[task, control] = fragment
                continue
            over = node_of(fragment, draft.place("controls"))
            if made := check(merge(draft.recipes[task, reference], over)):
                found[task, control] = made
    return found


def _study(
    draft: Draft, settings: StudySettings, recipes: Mapping[tuple[str, str], Recipe | str], registry: Registry
) -> Study:
    """Make the study, with cells by task, then fraction of the data, then arm."""
    cells: list[Cell] = []
    skipped: dict[CellName, str] = {}
    for task in draft.tasks:
        for fraction in settings.data_fractions:
            for arm in (arm for arm in draft.arms if (task, arm) in recipes):
                name, recipe = CellName(task, arm, fraction), recipes[task, arm]
                if isinstance(recipe, str):
                    skipped[name] = recipe
                    continue
                made = as_cell(recipe, fraction, settings)
                loaded = LoadedRecipe(made, draft.path, settings.recipe_profile, registry)
                cells.append(Cell(name, loaded))
    return Study(
        name=draft.name,
        file=draft.file,
        profile=draft.profile,
        settings=settings,
        tasks=tuple(draft.tasks),
        arms=tuple(draft.arms),
        arm_summaries=draft.arms,
        cells=tuple(cells),
        skipped=skipped,
        code_version=code_version(),
    )
