"""``fptkit validate``: check recipes and studies and run nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fptkit.cli.completion import recipe_names
from fptkit.cli.shared import load_registry, plugin_option, print_error, recipe_options
from fptkit.errors import FptkitError, UsageError

if TYPE_CHECKING:
    from fptkit.recipe.find import ReadFile
    from fptkit.recipe.load import LoadedRecipe
    from fptkit.registry import Registry


@click.command()
@click.argument("recipes", nargs=-1, required=True, shell_complete=recipe_names)
@recipe_options
@click.option(
    "--estimate",
    "estimated",
    is_flag=True,
    help="Also estimate what a run needs: parameters, memory, operations, time. Needs the data, but not the weights.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="TFLOPS",
    help="Sustained rate of the machine in TFLOP/s, for the time of --estimate. Default: 10, an assumption.",
)
@plugin_option
def validate(
    recipes: Sequence[str],
    profile: str | None,
    overrides: Sequence[str],
    estimated: bool,
    rate: float | None,
    plugin_files: Sequence[Path],
) -> None:
    """Check RECIPES and studies, files or names, with all their profiles; print all problems with file and line.

    The exit status is 2 if there is a problem.
    """
    if rate is not None and not estimated:
        raise UsageError("--rate is for the time of an estimate: give --estimate too")
    registry = load_registry(plugin_files)
    broken: list[FptkitError] = []
    for recipe in recipes:
        try:
            loaded, path = _validate(recipe, registry, profile, overrides, plugin_files)
            if estimated:
                _estimate(loaded, path, rate)
        except FptkitError as err:
            broken.append(err)
            print_error(err)
    if broken:
        raise click.exceptions.Exit(broken[0].exit_code)


def _validate(
    recipe: str,
    registry: Registry,
    profile: str | None,
    overrides: Sequence[str],
    plugin_files: Sequence[Path],
) -> tuple[LoadedRecipe | None, Path]:
    """Check one file with the profile, or with all of its profiles; it is read once.

    Returns:
        The recipe of a run, None for other kinds of file; and its path.
    """
    from fptkit.recipe.find import find_study, read_recipe_file, recipe_folders

    folders = recipe_folders(registry)
    file = read_recipe_file(find_study(recipe, folders), folders)
    loaded = _load(file, registry, profile, overrides, plugin_files)
    others = () if profile else file.profiles
    for other in others:
        _load(file, registry, other, overrides, plugin_files)
    click.echo(f"{file.path}: ok" + (f", with profiles {', '.join(others)}" if others else ""))
    return loaded, file.path


def _estimate(loaded: LoadedRecipe | None, path: Path, rate: float | None) -> None:
    from fptkit.cli.sizes import print_estimate

    if loaded is None:
        raise UsageError(f"{path}: only recipes for fptkit run can be estimated")
    print_estimate(loaded, tflops=rate)


def _load(
    file: ReadFile, registry: Registry, profile: str | None, overrides: Sequence[str], plugin_files: Sequence[Path]
) -> LoadedRecipe | None:
    """Check a file by its kind: run, pretraining or study. Returns the recipe of a run.

    What it needs of plugins is imported, too: a run would fail there. Paths of data are not opened: whether a corpus
    exists is checked when the training starts.
    """
    from fptkit.engine.plugin_use import check_targets

    if file.kind == "pretrain":
        from fptkit.lab.pretraining.recipes import load_read_pretraining

        load_read_pretraining(
            file, registry, profile=profile, overrides=overrides, given=plugin_files, shown_as=str(file.path)
        )
    elif file.kind == "study":
        from fptkit.lab.studies.load import load_read_study

        study = load_read_study(file, registry, profile=profile, overrides=overrides, given=plugin_files)
        for cell in study.cells:
            check_targets(cell.loaded.recipe, cell.loaded.registry)
    else:
        from fptkit.recipe.load import load_read_recipe

        loaded = load_read_recipe(file, registry, profile=profile, overrides=overrides, given=plugin_files)
        check_targets(loaded.recipe, loaded.registry)
        return loaded
    return None
