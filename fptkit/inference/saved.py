"""Where a run is saved: a run folder, a folder that was pulled, or a delta file; all opened as a run folder."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fptkit.errors import RecipeError, UsageError
from fptkit.files import MODEL, PREPARATION, RECIPE, SHARED, read_summary
from fptkit.inference.delta import is_delta, unpack_delta
from fptkit.recipe.load import LoadedRecipe, load_installed, load_recipe, load_saved_recipe, plugins_named
from fptkit.registry import load_plugins

_WITHOUT = {
    RECIPE: "put the file back",
    PREPARATION: "put the file back, or, if an older version of fptkit made the run, repeat it: "
    "fptkit run {folder}/recipe.yaml --output ANOTHER_FOLDER",
}
"""What to do if a run folder lacks a file."""


@dataclass(frozen=True)
class SavedRun:
    """A run that can be loaded.

    Args:
        place: the folder or file that users named.
        folder: a folder with recipe, preparation and trained tensors.
        shared: whether it may come from somebody else; then no code that it names is executed.
    """

    place: Path
    folder: Path
    shared: bool

    def recipe(self, plugin_files: Sequence[str | Path], weights: str | None) -> LoadedRecipe:
        """The recipe of the run.

        Args:
            plugin_files: plugin files, in addition to those that the run used.
            weights: entry of the backbone's weights, instead of those that the recipe names.

        Raises:
            FptkitError: it cannot be used.
        """
        overrides = [] if weights is None else [f"backbone.weights={weights}", "pinned.weights=null"]
        path = self.folder / RECIPE
        given = [Path(file) for file in plugin_files]
        if not self.shared:
            return _own_recipe(path, given, overrides)
        if (named := plugins_named(path)) and not given:
            raise UsageError(
                f"{self.place}: its recipe uses the plugin {', '.join(named)}. Code from a shared run is never "
                f"executed; read the file, then give it as --plugin {named[0]} or plugin_files"
            )
        registry = load_installed(given)
        recipe = load_saved_recipe(path, registry, overrides=overrides)
        recipe = recipe.model_copy(update={"plugins": tuple(str(file.resolve()) for file in given)})
        return replace(LoadedRecipe(recipe, path, None, registry), path=self.place)


@contextlib.contextmanager
def opened(run: Path) -> Iterator[SavedRun]:
    """A run as a folder with recipe, preparation and trained tensors; that of a delta file is temporary.

    Args:
        run: run folder, folder that was pulled, or delta file.

    Raises:
        UsageError: it holds no run, or one that has not ended.
        CheckpointError: a delta file is damaged.
    """
    if run.is_file():
        if not is_delta(run):
            raise UsageError(f"{run} is no delta file of fptkit; give a run folder such as runs/NAME, or a delta file")
        with tempfile.TemporaryDirectory(prefix="fptkit-") as folder:
            unpack_delta(run, Path(folder))
            yield SavedRun(run, Path(folder), shared=True)
        return
    _check_ended(run)
    yield SavedRun(run, run, shared=(run / SHARED).is_file())


def _own_recipe(path: Path, given: Sequence[Path], overrides: Sequence[str]) -> LoadedRecipe:
    """The recipe of a run of the user's own. Plugin files that are given take the place of its own, if these are gone.

    Raises:
        UsageError: a plugin file of the run is gone, and none is given.
        RecipeError: the recipe has other faults.
    """
    try:
        return load_recipe(str(path), overrides=overrides, plugin_files=given)
    except RecipeError as err:
        gone = [fault.message for fault in err.problems if fault.path.startswith("plugins")]
        if not gone:
            raise
        if not given:
            raise UsageError(f"{path.parent}: {gone[0]}; name the place where it is now with --plugin FILE.py") from err
    registry = load_plugins(given)
    return LoadedRecipe(load_saved_recipe(path, registry, overrides=overrides), path, None, registry)


def _check_ended(folder: Path) -> None:
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
