"""Load a YAML file, a profile and overrides into a checked model; all faults are reported together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from fptkit.errors import PluginError, UsageError
from fptkit.recipe.check import check_components, check_model, without
from fptkit.recipe.extends import lay_over
from fptkit.recipe.find import ReadFile, find_recipe, read_recipe_file, recipe_folders
from fptkit.recipe.given import SOURCE, read_given
from fptkit.recipe.models import COMPONENT_LISTS, DEFAULT_NAMES, REQUIRED, SECTIONS, Recipe, RecipeSettings
from fptkit.recipe.tree import Fault, Faults, Node, join, recipe_error, shown_path
from fptkit.registry import Registry, load_plugins, plugin_path, selection_from_environment

AnyModel = TypeVar("AnyModel", bound=BaseModel)
RegistryLoader = Callable[[Sequence[Path]], Registry]


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe that passed every check.

    Args:
        recipe: its content, with profile and overrides applied.
        path: the file it came from.
        profile: name of the profile used, None for none.
        registry: the plugins it was checked against, including those of the recipe.
    """

    recipe: Recipe
    path: Path
    profile: str | None
    registry: Registry

    @property
    def name(self) -> str:
        """Name of the run: that of the recipe it was first started from, which a resolved recipe records."""
        return self.recipe.pinned.recipe or self.path.stem


def load_installed(files: Sequence[Path]) -> Registry:
    """Load the built-in plugins, the installed ones that ``FPTKIT_PLUGINS`` selects, and plugin files."""
    return load_plugins(files, selection=selection_from_environment())


def load_recipe(
    path_or_name: str | Mapping[str, Any],
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    plugin_files: Sequence[str | Path] = (),
    registry_loader: RegistryLoader = load_installed,
) -> LoadedRecipe:
    """Load and check a recipe.

    Args:
        path_or_name: path of the file, or its bare name in the working folder or a plugin's recipe folder; or its
            content, see `read_given`.
        profile: name of one of its ``profiles``, or None.
        overrides: ``a.b=value`` texts, applied after the profile.
        plugin_files: plugin files, in addition to those the recipe names.
        registry_loader: makes the registry from these files; called once. The recipe's own plugins are added to it.

    Raises:
        RecipeError: file or overrides have faults; the error holds all of them.
        UnknownNameError: there is no such recipe.
        UsageError: a plugin file is missing, a bare name is in several folders, or it is a pretraining recipe or a
            folder.
        PluginError: one of ``plugin_files`` does not load.
    """
    given = [Path(file) for file in plugin_files]
    registry = registry_loader(given)
    folders = recipe_folders(registry)
    if isinstance(path_or_name, Mapping):
        file = read_given(path_or_name, folders)
    else:
        file = read_recipe_file(find_recipe(path_or_name, folders), folders)
    refuse_other_kinds(file, None if isinstance(path_or_name, Mapping) else path_or_name)
    return load_read_recipe(file, registry, profile=profile, overrides=overrides, given=given)


def refuse_other_kinds(file: ReadFile, path_or_name: str | None) -> None:
    """Raise if a file is not a recipe for ``fptkit run``.

    Args:
        file: the file.
        path_or_name: what the user gave; None if it was the content.

    Raises:
        UsageError: it is a pretraining recipe or a study; the error names the command for it.
    """
    if path_or_name is None:
        if file.kind == "pretrain":
            raise UsageError(f"{SOURCE} is a pretraining recipe; write it to a file and use: fptkit pretrain FILE")
        if file.kind == "study":
            raise UsageError(f"{SOURCE} is a study; use fptkit.study")
        return
    if file.kind == "pretrain":
        raise UsageError(f"{shown_path(file.path)}: this is a pretraining recipe; use: fptkit pretrain {path_or_name}")
    if file.kind == "study":
        raise UsageError(f"{shown_path(file.path)}: this is a study; use: fptkit study {path_or_name}")


def load_read_recipe(
    file: ReadFile, registry: Registry, *, profile: str | None, overrides: Sequence[str], given: Sequence[Path]
) -> LoadedRecipe:
    """Check a recipe file that was read.

    Args:
        file: the recipe.
        registry: all plugins except the recipe's own, which are loaded here.
        profile: name of one of its ``profiles``, or None.
        overrides: ``a.b=value`` texts, applied after the profile.
        given: plugin files that the registry already has; they are added to the ``plugins`` of the recipe.

    Raises:
        RecipeError: file or overrides have faults; the error holds all of them.
    """
    faults: list[Fault] = Faults(file.faults)
    tree = lay_over(file.tree, profile=profile, overrides=overrides, faults=faults, default_names=DEFAULT_NAMES)
    if tree is None:
        raise recipe_error(faults)
    own, plugin_faults = own_plugin_files(tree, file.path.parent)
    registry = with_own_plugins(registry, own, tree, plugin_faults)
    recipe = check_recipe(tree, registry, faults, unknown_names=not plugin_faults)
    faults += plugin_faults
    if faults or recipe is None:
        raise recipe_error(faults)
    recipe = recipe.model_copy(update={"plugins": all_plugins(given, own)})
    return LoadedRecipe(recipe, file.path, profile, registry)


def load_saved_recipe(path: Path, registry: Registry, *, overrides: Sequence[str] = ()) -> Recipe:
    """Load the resolved recipe that a run wrote, with given plugins, since the files of its own may have moved.

    Args:
        path: the file.
        registry: holds the plugins it needs.
        overrides: ``a.b=value`` texts.

    Raises:
        RecipeError: the file has faults; the error holds all of them.
    """
    file = read_recipe_file(path, recipe_folders(registry))
    faults: list[Fault] = Faults(file.faults)
    tree = lay_over(file.tree, profile=None, overrides=overrides, faults=faults, default_names=DEFAULT_NAMES)
    recipe = None if tree is None else check_recipe(tree, registry, faults)
    if faults or recipe is None:
        raise recipe_error(faults)
    return recipe


def plugins_named(path: Path) -> list[str]:
    """The plugin files that a resolved recipe names, as they are written there; none of them is loaded."""
    tree = read_recipe_file(path, ()).tree
    entries = [] if tree is None else tree.mapping.get("plugins", Node([], tree.place)).items
    return [str(entry.value) for entry in entries]


def load_model(
    path_or_name: str,
    model: type[AnyModel],
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    folders: Sequence[Path] = (),
) -> AnyModel:
    """Load another kind of YAML file by the rules of recipes: line numbers, profiles, overrides. Its paths do not
    change.

    Args:
        path_or_name: path of the file, or its bare name in the working folder or in ``folders``.
        model: the model of its content.
        profile: name of one of its ``profiles``, or None.
        overrides: ``a.b=value`` texts, applied after the profile.
        folders: where a bare name is looked up.

    Raises:
        RecipeError: file or overrides have faults; the error holds all of them.
        UnknownNameError: there is no such file.
        UsageError: a bare name is in several folders, or it is a folder.
    """
    file = read_recipe_file(find_recipe(path_or_name, folders), folders)
    faults: list[Fault] = Faults(file.faults)
    tree = lay_over(file.tree, profile=profile, overrides=overrides, faults=faults)
    made = None if tree is None else check_model(tree, model, "", faults)
    if faults or made is None:
        raise recipe_error(faults)
    return made


def own_plugin_files(tree: Node, folder: Path) -> tuple[list[Path], list[Fault]]:
    """Absolute paths of the recipe's own plugins, and a fault for each that is missing or not a valid path.

    Entries that are not text are skipped here; they are reported with the other settings.
    """
    files, faults = [], []
    for i, entry in enumerate(tree.mapping.get("plugins", Node([], tree.place)).items):
        if not isinstance(entry.value, str):
            continue
        try:
            file = plugin_path(folder / entry.value)
        except UsageError as err:
            faults.append(Fault(entry.place, join("plugins", i), str(err)))
            continue
        if file.is_file():
            files.append(file)
        else:
            faults.append(Fault(entry.place, join("plugins", i), f"plugin file {shown_path(file)} does not exist"))
    return files, faults


def all_plugins(given: Sequence[Path], own: Sequence[Path]) -> tuple[str, ...]:
    """Absolute paths of all plugin files, so that the resolved recipe needs no ``--plugin``."""
    return tuple(dict.fromkeys(str(path.resolve()) for path in (*own, *given)))


def with_own_plugins(registry: Registry, own: Sequence[Path], tree: Node, faults: list[Fault]) -> Registry:
    """The registry with the recipe's plugins; unchanged, and a fault is added, if one of them does not load."""
    try:
        return registry.extended(own)
    except (PluginError, UsageError) as err:
        faults.append(Fault(tree.mapping["plugins"].place, "plugins", str(err)))
        return registry


def check_recipe(tree: Node, registry: Registry, faults: list[Fault], *, unknown_names: bool = True) -> Recipe | None:
    """Check everything in a tree: components and settings.

    Args:
        tree: merged from all layers, without ``extends`` and ``profiles``.
        registry: where names are looked up.
        faults: faults found are appended.
        unknown_names: false if a plugin of the recipe failed to load, which may be why names are unknown.

    Returns:
        The recipe, or None if there were faults.
    """
    sections = [*SECTIONS, *COMPONENT_LISTS]
    components = check_components(tree, registry, faults, unknown_names=unknown_names)
    settings = check_model(
        without(tree, sections), RecipeSettings, "", faults, also_allowed=["extends", *sections, "profiles"]
    )
    if settings is None or not {*REQUIRED, *DEFAULT_NAMES} <= components.keys():
        return None
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return Recipe.model_validate({**given, **components})
