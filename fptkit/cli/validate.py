"""``fptkit validate``: check recipes and studies and run nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from fptkit.cli.completion import recipe_names
from fptkit.cli.shared import load_registry, plugin_option, recipe_options
from fptkit.cli.sizes import print_estimate
from fptkit.errors import FptkitError


@click.command()
@click.argument("recipes", nargs=-1, required=True, shell_complete=recipe_names)
@recipe_options
@click.option(
    "--estimate",
    "estimated",
    is_flag=True,
    help="Say what a run takes as well: parameters, memory, operations. Needs the data, but not the weights.",
)
@plugin_option
def validate(
    recipes: Sequence[str],
    profile: str | None,
    overrides: Sequence[str],
    estimated: bool,
    plugin_files: Sequence[Path],
) -> None:
    """Check RECIPES and studies, files or names, with all their profiles; print all problems with file and line.

    Exit status 2 when there is one.
    """
    broken: list[FptkitError] = []
    for recipe in recipes:
        try:
            path, others = _check(recipe, profile, overrides, plugin_files)
            click.echo(f"{path}: ok" + (f", with profiles {', '.join(others)}" if others else ""))
            if estimated:
                print_estimate(recipe, profile, overrides, plugin_files)
        except FptkitError as err:
            broken.append(err)
            click.echo(str(err), err=True)
    if broken:
        raise click.exceptions.Exit(broken[0].exit_code)


def _check(
    recipe: str, profile: str | None, overrides: Sequence[str], plugin_files: Sequence[Path]
) -> tuple[Path, list[str]]:
    """Load one file as what it is, a run, a pretraining or a study, with the profile or with all of them.

    Paths of data are checked for their form only: whether a corpus is there is known when the training starts.

    Returns:
        Its file, and the profiles that were checked because none was asked for.
    """
    from fptkit.recipe.find import base_folders, find_file, find_study, recipe_folders, recipe_kind
    from fptkit.recipe.load import load_recipe

    folders = recipe_folders(load_registry(plugin_files))
    path = find_file(recipe) or find_study(recipe, folders)
    load_one: Callable[..., object] = load_recipe
    bases = base_folders(folders)
    kind = recipe_kind(path, lambda: bases)
    if kind == "pretrain":
        from fptkit.lab.pretraining.recipes import load_pretraining as load_one
    elif kind == "study":
        from fptkit.lab.studies.load import load_study as load_one

    def load(profile: str | None) -> None:
        load_one(
            str(path), profile=profile, overrides=overrides, plugin_files=plugin_files, registry_loader=load_registry
        )

    load(profile)
    others = [] if profile else _profiles(path, bases)
    for other in others:
        load(other)
    return path, others


def _profiles(path: Path, folders: Sequence[Path]) -> list[str]:
    """Names of the profiles of a recipe that loads, those of the files it extends included."""
    from fptkit.recipe.extends import read_with_bases

    tree = read_with_bases(path, path.name, [], lambda: folders)
    profiles = tree.mapping.get("profiles") if tree else None
    return list(profiles.mapping) if profiles else []
