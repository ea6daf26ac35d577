"""Loading a pretraining recipe of whatever kind, with every fault at its line. Light on purpose: no torch, no numpy.

A pretraining on a task is said with the keys of a run (``task``, ``backbone``, ``train`` ...) and ``kind: task``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
from fptkit.recipe.tree import Fault, Node, recipe_error, shown_path
from fptkit.registry import Registry

KINDS = ("language", "synthetic", "task")
"""Kinds of pretraining; a recipe that names none is of the first."""

ARCHITECTURES = ("gpt2", "vit")
"""Backbones that can be written as a weights folder, by themselves or as the backbone ``random`` that is like them."""


@dataclass(frozen=True)
class LoadedTaskPretraining:
    """A pretraining on a task that passed every check.

    Args:
        run: the run that trains all weights.
        save_dtype: number format of the exported weights.
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
        profile: which of its ``profiles`` to lay over it.
        overrides: ``a.b=value`` texts, laid over that.
        plugin_files: plugins in single files, besides those the recipe names.
        registry_loader: makes the registry from these files; it is called once, and extended by those of the recipe.

    Returns:
        The file, and what it holds.

    Raises:
        RecipeError: with every fault of file and overrides.
        UnknownNameError: there is no such recipe.
        UsageError: it is a recipe for ``fptkit run``, a bare name is in several folders, or it is a folder.
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
    """Check a pretraining recipe that was read.

    Args:
        file: the recipe.
        registry: all plugins but the recipe's own, which are loaded here.
        profile: which of its ``profiles`` to lay over it.
        overrides: ``a.b=value`` texts, laid over that.
        given: plugins in single files that the registry holds; the recipe then names them too.
        shown_as: how the user named the recipe.

    Raises:
        RecipeError: with every fault of file and overrides.
        UsageError: it is a recipe for ``fptkit run``.
    """
    faults = list(file.faults)
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
    """The kind a recipe names; ``run`` where it names none and has a task, None after a fault."""
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
    """Everything in the tree of a pretraining on a task; None when there were faults."""
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
    """The tree with the policy of a pretraining, where it names none: everything trains."""
    if "freezing" in tree.mapping:
        return tree
    return Node({**tree.mapping, "freezing": Node({"name": Node("full", tree.place)}, tree.place)}, tree.place)


def _check_freezing(tree: Node, faults: list[Fault]) -> None:
    named = tree.mapping["freezing"].mapping.get("name")
    if named is not None and not named.refused and named.value != "full":
        message = f"a pretraining trains all weights, got '{named.value}'; leave the section out"
        faults.append(Fault(named.place, "freezing.name", message))


def _check_architecture(tree: Node, backbone: object, faults: list[Fault]) -> None:
    """Told before anything is trained: what comes out must be a folder that a backbone loads."""
    name = getattr(backbone, "name", "")
    architecture = getattr(getattr(backbone, "options", None), "like", name) if name == "random" else name
    if architecture not in ARCHITECTURES:
        node = tree.mapping["backbone"]
        at = node.mapping.get("like" if name == "random" else "name", node)
        message = f"weights of '{architecture}' cannot be exported\nallowed: {', '.join(ARCHITECTURES)}"
        faults.append(Fault(at.place, "backbone.like" if name == "random" else "backbone.name", message))
