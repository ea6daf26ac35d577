"""The folder of a run as far as it is needed to load what the run trained: whether it is complete, and its recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fptkit.errors import RecipeError, UsageError
from fptkit.files import MODEL, PREPARATION, RECIPE, read_summary
from fptkit.recipe.load import LoadedRecipe, load_recipe, load_saved_recipe
from fptkit.registry import load_plugins

_WITHOUT = {
    RECIPE: "put the file back",
    PREPARATION: "put the file back, or, if an older version of fptkit made the run, repeat it: "
    "fptkit run {folder}/recipe.yaml --output ANOTHER_FOLDER",
}
"""What to do if a run folder lacks a file."""


def recipe_of(folder: Path, plugin_files: Sequence[str | Path]) -> LoadedRecipe:
    """The recipe of a run. Plugin files that are given take the place of its own, if these are gone.

    Raises:
        UsageError: a plugin file of the run is gone, and none is given.
        RecipeError: the recipe has other faults.
    """
    path, given = folder / RECIPE, list(map(Path, plugin_files))
    try:
        return load_recipe(str(path), plugin_files=given)
    except RecipeError as err:
        gone = [fault.message for fault in err.problems if fault.path.startswith("plugins")]
        if not gone:
            raise
        if not given:
            raise UsageError(f"{folder}: {gone[0]}; name the place where it is now with --plugin FILE.py") from err
    registry = load_plugins(given)
    return LoadedRecipe(load_saved_recipe(path, registry), path, None, registry)


def check_ended(folder: Path) -> None:
    """Raise if a folder has no trained tensors.

    Raises:
        UsageError: it has not.
    """
    if (folder / MODEL).is_file():
        for name in (RECIPE, PREPARATION):
            if not (folder / name).is_file():
                raise UsageError(f"{folder} has no {name}; {_WITHOUT[name].format(folder=folder)}")
        return
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder; give the folder of a run, such as runs/NAME")
    status = read_summary(folder).get("status")
    if status is None:
        raise UsageError(f"{folder} holds no run; give the folder of a run, such as runs/NAME")
    if status in ("finished", "validated"):
        raise UsageError(f"{folder} has no {MODEL}, which its run wrote; put the file back")
    raise UsageError(
        f"{folder}: its run is {status} and has no trained model yet; complete it with: "
        f"fptkit run {folder / RECIPE} --output {folder} --resume"
    )
