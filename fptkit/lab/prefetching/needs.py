"""What recipes need from elsewhere, data and weights, and opening it as a run does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fptkit.engine.plugin_use import check_targets
from fptkit.errors import DataError
from fptkit.lab.studies.load import load_read_study
from fptkit.recipe.find import find_study, read_recipe_file, recipe_folders
from fptkit.recipe.load import LoadedRecipe, load_read_recipe, refuse_other_kinds
from fptkit.recipe.splits import with_split_seed
from fptkit.recipe.tokenizers import with_tokenizer
from fptkit.registry import Registry
from fptkit.sources.choice import choose
from fptkit.sources.data_sets import data_set_names, find_data_set
from fptkit.sources.formats import INDEX
from fptkit.sources.places import TaskData
from fptkit.specs import TaskSpec

Kind = Literal["data", "weights"]

SCHEMES = ("hub:", "path:", "package:", "builtin:")
"""How entries of weights begin that fptkit itself opens; a plugin's backbone may have others."""

TOKENIZER = "tokenizer.json"
"""File beside weights that tasks with text read."""


@dataclass(frozen=True)
class Need:
    """Data of a task, or weights of a backbone, that one or several recipes need.

    Args:
        kind: ``data`` or ``weights``.
        name: name of the task or backbone.
        key: digest of everything in the recipe that decides what is opened.
        loaded: one of the recipes.
        used_by: names of all recipes or arms that need it.
    """

    kind: Kind
    name: str
    key: str
    loaded: LoadedRecipe
    used_by: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What was opened for a need.

    Args:
        entry: the source that was used, as the recipe writes it.
        stand_in: whether it is a fallback, not the first source.
        skipped: sources before it, with the reason why each is not available.
        files: the files; empty for generated data, and for data that are too many files to list.
        facts: what identifies it: for data as in ``summary.json``, for weights of the hub their ``revision``.
    """

    entry: str
    stand_in: bool = False
    skipped: tuple[tuple[str, str], ...] = ()
    files: tuple[Path, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def needs_of(recipes: Iterable[tuple[str, LoadedRecipe]]) -> list[Need]:
    """The data and weights of recipes, each once.

    Args:
        recipes: pairs of a name, such as that of an arm, and the recipe.
    """
    found: dict[str, Need] = {}
    for user, loaded in recipes:
        for kind, name, decides in (("data", *_data_key(loaded)), ("weights", *_weights_key(loaded))):
            if not decides:
                continue
            key = hashlib.sha256(json.dumps([kind, name, decides], sort_keys=True).encode()).hexdigest()[:16]
            before = found[key].used_by if key in found else ()
            users = before if user in before else (*before, user)
            found[key] = Need("data" if kind == "data" else "weights", name, key, loaded, users)
    return sorted(found.values(), key=lambda need: (need.kind, need.name))


def weight_entries(loaded: LoadedRecipe) -> tuple[str, ...]:
    """The sources of a recipe's weights that have to be there; none for random weights."""
    given: Any = loaded.recipe.pinned.weights or getattr(loaded.recipe.backbone.options, "weights", None)
    entries = (given,) if isinstance(given, str) else tuple(given or ())
    return entries if any(entry.startswith(SCHEMES) for entry in entries) else ()


def open_need(need: Need) -> Found:
    """Open data or weights as a run does, which downloads what is missing unless that is forbidden.

    Raises:
        SourceError: no source is available.
        FptkitError: something is there and cannot be used.
    """
    return _open_data(need.loaded) if need.kind == "data" else _open_weights(need.loaded)


def missing_data_set(need: Need, found: Found | None) -> str:
    """The data set that has to be downloaded before the task can read it, as tasks do not do that themselves.

    Args:
        need: data of a task.
        found: what was opened; None if nothing was.

    Returns:
        Its name; empty if the data come from elsewhere, or from an entry of ``source`` before it.
    """
    data_set = find_data_set(need.name) if need.kind == "data" and need.name in data_set_names() else None
    source = getattr(need.loaded.recipe.task.options, "source", ())
    entries = [source] if isinstance(source, str) else list(source)
    pinned = need.loaded.recipe.pinned.source
    if data_set is None or data_set.entry not in entries or pinned not in (None, data_set.entry):
        return ""
    earlier = entries[: entries.index(data_set.entry) + 1]
    return "" if found is not None and found.entry in earlier else data_set.name


def _data_key(loaded: LoadedRecipe) -> tuple[str, object]:
    recipe = loaded.recipe
    options = with_tokenizer(with_split_seed(recipe.task.options, recipe.train.seeds.data), recipe)
    return recipe.task.name, [options.model_dump(mode="json"), recipe.pinned.source]


def _weights_key(loaded: LoadedRecipe) -> tuple[str, object]:
    return loaded.recipe.backbone.name, list(weight_entries(loaded))


def _open_data(loaded: LoadedRecipe) -> Found:
    from fptkit.engine.build import build_task

    recipe, registry = loaded.recipe, loaded.registry
    task = build_task(recipe, registry)
    options = with_tokenizer(with_split_seed(recipe.task.options, recipe.train.seeds.data), recipe)
    data = TaskData(registry.get(TaskSpec, recipe.task.name), options, task.source)
    files = tuple(path for named in data.snapshot.files.values() for path in named.values())
    facts = task.data.facts() if task.data is not None else {}
    return Found(task.source, task.stand_in, (), files, {**facts, "notes": list(task.notes) if task.stand_in else []})


def _open_weights(loaded: LoadedRecipe) -> Found:
    from fptkit.sources.weights import open_weights, read_index

    entries = weight_entries(loaded)
    choice = choose(
        entries,
        lambda entry: None if entry == "random" else open_weights(entry),
        what=f"weights of backbone {loaded.recipe.backbone.name}",
        advice="Fetch them on a machine with network: fptkit prefetch. Or name a folder: backbone.weights=path:FOLDER",
    )
    if choice.found is None:
        return Found(choice.entry, choice.stand_in, choice.skipped)
    file = choice.found.file
    shards = set(read_index(file, choice.entry).values()) if file.name == INDEX else ()
    if missing := [name for name in shards if not (file.parent / name).is_file()]:
        raise DataError(f"{choice.entry}: {file.parent} lacks {', '.join(sorted(missing))}; fetch the weights again")
    names = ["config.json", file.name, *sorted(shards), TOKENIZER]
    files = tuple(path for name in names if (path := file.parent / name).is_file())
    return Found(choice.entry, choice.stand_in, choice.skipped, files, _revision(choice.entry, file))


def _revision(entry: str, file: Path) -> dict[str, Any]:
    """The commit of weights of the hub, which is the name of their folder in the cache."""
    return {"revision": file.parent.name} if entry.startswith("hub:") else {}


@dataclass(frozen=True)
class Loaded:
    """A recipe, or the arms of a study.

    Args:
        name: its name.
        kind: ``recipe`` or ``study``.
        recipes: pairs of a name and a recipe; of a study, one for each cell.
    """

    name: str
    kind: Literal["recipe", "study"]
    recipes: Sequence[tuple[str, LoadedRecipe]]


def load_all(
    path_or_name: str,
    registry: Registry,
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    plugin_files: Sequence[Path] = (),
) -> Loaded:
    """Load a recipe, or all arms of a study.

    Args:
        path_or_name: path of a file, or the name of a shipped recipe or study.
        registry: the plugins, those of ``plugin_files`` included.
        profile: name of one of its ``profiles``, or None.
        overrides: ``a.b=value`` texts, applied after the profile.
        plugin_files: plugin files that the registry has; they are added to the recipes' ``plugins``.

    Raises:
        RecipeError: it has faults.
        UnknownNameError: there is no such recipe or study.
        UsageError: it is a pretraining recipe.
        PluginError: a target of a plugin cannot be imported.
    """
    folders = recipe_folders(registry)
    file = read_recipe_file(find_study(path_or_name, folders), folders)
    if file.kind == "study":
        study = load_read_study(file, registry, profile=profile, overrides=overrides, given=plugin_files)
        found = Loaded(study.name, "study", [(str(cell.name), cell.loaded) for cell in study.cells])
    else:
        refuse_other_kinds(file, path_or_name)
        loaded = load_read_recipe(file, registry, profile=profile, overrides=overrides, given=plugin_files)
        found = Loaded(loaded.name, "recipe", [(loaded.name, loaded)])
    for _, each in found.recipes:
        check_targets(each.recipe, each.registry)
    return found
