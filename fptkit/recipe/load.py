"""From a YAML file, a profile and overrides to a checked model, with every fault at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from fptkit.errors import PluginError, UsageError
from fptkit.recipe.check import check_components, check_model, without
from fptkit.recipe.extends import lay_over
from fptkit.recipe.find import ReadFile, find_recipe, read_recipe_file, recipe_folders
from fptkit.recipe.models import COMPONENT_LISTS, DEFAULT_NAMES, REQUIRED, SECTIONS, Recipe, RecipeSettings
from fptkit.recipe.tree import Fault, Node, join, recipe_error, shown_path
from fptkit.registry import Registry, load_plugins, plugin_path, selection_from_environment

AnyModel = TypeVar("AnyModel", bound=BaseModel)
RegistryLoader = Callable[[Sequence[Path]], Registry]


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe that passed every check.

    Args:
        recipe: what it holds, profile and overrides applied.
        path: the file it came from.
        profile: the profile taken, None for the base.
        registry: the plugins it was checked against, those of the recipe included.
    """

    recipe: Recipe
    path: Path
    profile: str | None
    registry: Registry

    @property
    def name(self) -> str:
        """What the run is called: the recipe it was first started from, which a resolved recipe remembers."""
        return self.recipe.pinned.recipe or self.path.stem


def load_installed(files: Sequence[Path]) -> Registry:
    """Built-in and installed plugins, as ``FPTKIT_PLUGINS`` selects, and plugins in single files."""
    return load_plugins(files, selection=selection_from_environment())


def load_recipe(
    path_or_name: str,
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    plugin_files: Sequence[str | Path] = (),
    registry_loader: RegistryLoader = load_installed,
) -> LoadedRecipe:
    """Load a recipe.

    Args:
        path_or_name: path of the file, or its bare name in the working folder or a plugin's recipe folder.
        profile: which of its ``profiles`` to lay over it.
        overrides: ``a.b=value`` texts, laid over that.
        plugin_files: plugins in single files, besides those the recipe names.
        registry_loader: makes the registry from these files; it is called once, and extended by those of the recipe.

    Raises:
        RecipeError: with every fault of file and overrides.
        UnknownNameError: there is no such recipe.
        UsageError: a plugin file is missing, a bare name is in several folders, or it is a pretraining recipe or a
            folder.
        PluginError: one of ``plugin_files`` does not load.
    """
    given = [Path(file) for file in plugin_files]
    registry = registry_loader(given)
    folders = recipe_folders(registry)
    file = read_recipe_file(find_recipe(path_or_name, folders), folders)
    refuse_other_kinds(file, path_or_name)
    return load_read_recipe(file, registry, profile=profile, overrides=overrides, given=given)


def refuse_other_kinds(file: ReadFile, path_or_name: str) -> None:
    """Raise where a file is no recipe of a run.

    Raises:
        UsageError: it is a pretraining recipe or a study; the error names the command for it.
    """
    if file.kind == "pretrain":
        raise UsageError(f"{shown_path(file.path)}: this is a pretraining recipe; use: fptkit pretrain {path_or_name}")
    if file.kind == "study":
        raise UsageError(f"{shown_path(file.path)}: this is a study; use: fptkit study {path_or_name}")


def load_read_recipe(
    file: ReadFile, registry: Registry, *, profile: str | None, overrides: Sequence[str], given: Sequence[Path]
) -> LoadedRecipe:
    """Check a recipe that was read.

    Args:
        file: the recipe.
        registry: all plugins but the recipe's own, which are loaded here.
        profile: which of its ``profiles`` to lay over it.
        overrides: ``a.b=value`` texts, laid over that.
        given: plugins in single files that the registry holds; the recipe then names them too.

    Raises:
        RecipeError: with every fault of file and overrides.
    """
    faults = list(file.faults)
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


def load_saved_recipe(path: Path, registry: Registry) -> Recipe:
    """The resolved recipe a run wrote, checked against the plugins of a recipe loaded since: its own may have moved.

    Args:
        path: the file.
        registry: with the plugins it needs.

    Raises:
        RecipeError: with every fault of the file.
    """
    file = read_recipe_file(path, recipe_folders(registry))
    faults = list(file.faults)
    tree = lay_over(file.tree, profile=None, overrides=(), faults=faults, default_names=DEFAULT_NAMES)
    recipe = None if tree is None else check_recipe(tree, registry, faults)
    if faults or recipe is None:
        raise recipe_error(faults)
    return recipe


def load_model(
    path_or_name: str,
    model: type[AnyModel],
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    folders: Sequence[Path] = (),
) -> AnyModel:
    """Load another kind of YAML file with a recipe's rules: lines, profiles, overrides. Paths in it stay as they are.

    Args:
        path_or_name: path of the file, or its bare name in the working folder or in ``folders``.
        model: what the file must fit.
        profile: which of its ``profiles`` to lay over it.
        overrides: ``a.b=value`` texts, laid over that.
        folders: where a bare name is looked up.

    Raises:
        RecipeError: with every fault of file and overrides.
        UnknownNameError: there is no such file.
        UsageError: a bare name is in several folders, or it is a folder.
    """
    file = read_recipe_file(find_recipe(path_or_name, folders), folders)
    faults = list(file.faults)
    tree = lay_over(file.tree, profile=profile, overrides=overrides, faults=faults)
    made = None if tree is None else check_model(tree, model, "", faults)
    if faults or made is None:
        raise recipe_error(faults)
    return made


def own_plugin_files(tree: Node, folder: Path) -> tuple[list[Path], list[Fault]]:
    """The recipe's own plugins as absolute paths, and a fault for each that is missing or no usable path.

    Entries that are no text are passed over: they are reported where the other settings are.
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
    """Absolute paths of all single-file plugins, so that the resolved recipe needs no ``--plugin``."""
    return tuple(dict.fromkeys(str(path.resolve()) for path in (*own, *given)))


def with_own_plugins(registry: Registry, own: Sequence[Path], tree: Node, faults: list[Fault]) -> Registry:
    """The registry with the recipe's plugins, or as it is where one of them does not load: that is a fault."""
    try:
        return registry.extended(own)
    except (PluginError, UsageError) as err:
        faults.append(Fault(tree.mapping["plugins"].place, "plugins", str(err)))
        return registry


def check_recipe(tree: Node, registry: Registry, faults: list[Fault], *, unknown_names: bool = True) -> Recipe | None:
    """Everything in a tree, components and settings.

    Args:
        tree: of all layers, without ``extends`` and ``profiles``.
        registry: where names are looked up.
        faults: faults found are appended.
        unknown_names: false where a plugin of the recipe did not load: unknown names then follow from that.

    Returns:
        The recipe, or None when there were faults.
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
