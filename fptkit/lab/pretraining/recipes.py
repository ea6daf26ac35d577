"""Loads pretraining recipes of every kind and reports all errors with line numbers. Light: no torch, no numpy.

A pretraining on a task has the keys of a run (``task``, ``backbone``, ``train`` ...) and ``kind: task``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fptkit.backbones.options import FrontOptions
from fptkit.errors import UsageError
from fptkit.lab.pretraining.options import PretrainRecipe, SyntheticRecipe, TaskPretraining
from fptkit.recipe.check import check_components, check_model, without
from fptkit.recipe.extends import lay_over
from fptkit.recipe.find import ReadFile, find_recipe, read_recipe_file, recipe_folders
from fptkit.recipe.load import (
    LoadedRecipe,
    RegistryLoader,
    all_plugins,
    load_installed,
    own_plugin_files,
    with_own_plugins,
)
from fptkit.recipe.models import COMPONENT_LISTS, DEFAULT_NAMES, REQUIRED, SECTIONS, Recipe, RecipeSettings
from fptkit.recipe.tree import Fault, Faults, Node, recipe_error, shown_path
from fptkit.registry import Registry

KINDS = ("language", "synthetic", "task")
"""Kinds of pretraining; the first is the default."""

ARCHITECTURES = ("gpt2", "vit")
"""Backbones that can be exported as a weights folder, by name or as ``like`` of the backbone ``random``."""


@dataclass(frozen=True)
class LoadedTaskPretraining:
    """A checked recipe for pretraining on a task.

    Args:
        run: the run that trains all weights.
        save_dtype: dtype of the exported weights.
    """

    run: LoadedRecipe
    save_dtype: Literal["bfloat16", "float32"]


Loaded = PretrainRecipe | SyntheticRecipe | LoadedTaskPretraining


def load_pretraining(
    path_or_name: str,
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    plugin_files: Sequence[str | Path] = (),
    registry_loader: RegistryLoader = load_installed,
) -> tuple[Path, Loaded]:
    """Load a pretraining recipe.

    Args:
        path_or_name: path of the file, or its bare name in the working folder or a plugin's recipe folder.
        profile: name of the profile to apply, from the ``profiles`` of the recipe.
        overrides: ``a.b=value`` texts, applied after the profile.
        plugin_files: plugin files in addition to those that the recipe names.
        registry_loader: makes the registry from ``plugin_files``; called once. The recipe's own plugins are added.

    Returns:
        The path of the file, and the checked recipe.

    Raises:
        RecipeError: file or overrides have errors; it reports all of them.
        UnknownNameError: there is no such recipe.
        UsageError: it is a recipe for ``fptkit run``, the bare name is in several folders, or the path is a folder.
        PluginError: one of ``plugin_files`` does not load.
    """
    given = [Path(file) for file in plugin_files]
    registry = registry_loader(given)
    folders = recipe_folders(registry)
    file = read_recipe_file(find_recipe(path_or_name, folders), folders)
    return file.path, load_read_pretraining(
        file, registry, profile=profile, overrides=overrides, given=given, shown_as=path_or_name
    )


def load_read_pretraining(
    file: ReadFile,
    registry: Registry,
    *,
    profile: str | None,
    overrides: Sequence[str],
    given: Sequence[Path],
    shown_as: str,
) -> Loaded:
    """Check a pretraining recipe whose file has been read.

    Args:
        file: the recipe.
        registry: all plugins except the recipe's own, which are loaded here.
        profile: name of the profile to apply, from the ``profiles`` of the recipe.
        overrides: ``a.b=value`` texts, applied after the profile.
        given: plugin files that are already in the registry; they are added to ``plugins`` of the recipe.
        shown_as: how the user named the recipe.

    Raises:
        RecipeError: file or overrides have errors; it reports all of them.
        UsageError: it is a recipe for ``fptkit run``.
    """
    faults: list[Fault] = Faults(file.faults)
    tree = lay_over(file.tree, profile=profile, overrides=overrides, faults=faults)
    if tree is None:
        raise recipe_error(faults)
    kind = _kind(tree, faults)
    if kind is None:
        raise recipe_error(faults)
    if kind == "run":
        raise UsageError(f"{shown_path(file.path)}: this is a recipe for fptkit run; use: fptkit run {shown_as}")
    made: Loaded | None
    if kind == "language":
        made = check_model(tree, PretrainRecipe, "", faults)
    elif kind == "synthetic":
        made = check_model(tree, SyntheticRecipe, "", faults)
    else:
        own, missing = own_plugin_files(tree, file.path.parent)
        registry = with_own_plugins(registry, own, tree, faults)
        faults += missing
        made = _check_task(tree, registry, faults, path=file.path, profile=profile, plugins=all_plugins(given, own))
    if faults or made is None:
        raise recipe_error(faults)
    return made


def _kind(tree: Node, faults: list[Fault]) -> str | None:
    """The kind of a recipe; ``run`` if it names no kind but has a task; None after an error."""
    node = tree.mapping.get("kind")
    if node is None:
        return "run" if "task" in tree.mapping else KINDS[0]
    if isinstance(node.value, str) and node.value in KINDS:
        return node.value
    if not node.refused:
        known = f"expected {', '.join(KINDS[:-1])} or {KINDS[-1]}"
        faults.append(Fault(node.place, "kind", f"{known}, got {node.value!r}"))
    return None


def _check_task(
    tree: Node,
    registry: Registry,
    faults: list[Fault],
    *,
    path: Path,
    profile: str | None,
    plugins: tuple[str, ...],
) -> LoadedTaskPretraining | None:
    """Check the recipe of a pretraining on a task; None after an error."""
    sections, own = [*SECTIONS, *COMPONENT_LISTS], list(TaskPretraining.model_fields)
    tree = _completed(tree)
    components = check_components(tree, registry, faults)
    settings = check_model(
        without(tree, [*sections, *own]), RecipeSettings, "", faults, also_allowed=["kind", "save_dtype", *sections]
    )
    further = check_model(
        Node({key: node for key, node in tree.mapping.items() if key in own}, tree.place), TaskPretraining, "", faults
    )
    _check_freezing(tree, faults)
    if "backbone" in components:
        _check_architecture(tree, components["backbone"], faults)
    if settings is None or further is None or not {*REQUIRED, *DEFAULT_NAMES} <= components.keys():
        return None
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    recipe = Recipe.model_validate({**given, **components})
    recipe = recipe.model_copy(update={"plugins": plugins})
    return LoadedTaskPretraining(LoadedRecipe(recipe, path, profile, registry), further.save_dtype)


def _completed(tree: Node) -> Node:
    """The tree with ``freezing: full`` if it names no policy."""
    if "freezing" in tree.mapping:
        return tree
    return Node({**tree.mapping, "freezing": Node({"name": Node("full", tree.place)}, tree.place)}, tree.place)


def _check_freezing(tree: Node, faults: list[Fault]) -> None:
    named = tree.mapping["freezing"].mapping.get("name")
    if named is not None and not named.refused and named.value != "full":
        message = f"a pretraining trains all weights, got '{named.value}'; remove the section"
        faults.append(Fault(named.place, "freezing.name", message))


def _check_architecture(tree: Node, backbone: object, faults: list[Fault]) -> None:
    """Refuse, before training, a backbone that cannot be exported."""
    name = getattr(backbone, "name", "")
    architecture = getattr(getattr(backbone, "options", None), "like", name) if name == "random" else name
    if architecture not in ARCHITECTURES:
        node = tree.mapping["backbone"]
        at = node.mapping.get("like" if name == "random" else "name", node)
        message = f"weights of '{architecture}' cannot be exported\nallowed: {', '.join(ARCHITECTURES)}"
        faults.append(Fault(at.place, "backbone.like" if name == "random" else "backbone.name", message))
    front = FrontOptions.of(getattr(backbone, "options", None))
    if front.prefix.count or (front.positions and front.positions.kind in ("learned", "none")):
        message = "exported weights have the backbone's own positions only; leave prefix and the kind of positions out"
        faults.append(Fault(tree.mapping["backbone"].place, "backbone", message))
