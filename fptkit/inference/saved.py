"""Where a run is saved: a run folder, a folder that was pulled, or a delta file; all opened as a run folder."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fptkit.errors import UsageError
from fptkit.files import MODEL, RECIPE, SHARED, read_summary
from fptkit.inference.delta import is_delta, unpack_delta
from fptkit.recipe.load import LoadedRecipe, load_installed, load_recipe, load_saved_recipe, plugins_named


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
        if not self.shared:
            return load_recipe(str(path), overrides=overrides, plugin_files=plugin_files)
        given = [Path(file) for file in plugin_files]
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


def _check_ended(folder: Path) -> None:
    """Raise if a folder has no trained tensors.

    Raises:
        UsageError: it has not.
    """
    if (folder / MODEL).is_file():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder; give the folder of a run, such as runs/NAME")
    status = read_summary(folder).get("status")
    if status is None:
        raise UsageError(f"{folder} holds no run; give the folder of a run, such as runs/NAME")
    raise UsageError(
        f"{folder}: its run is {status} and has no trained model yet; complete it with: "
        f"fptkit run {folder / RECIPE} --output {folder} --resume"
    )
