"""``fptkit validate``: check recipes and run nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fptkit.cli.shared import load_registry, plugin_option, recipe_options
from fptkit.errors import FptkitError


@click.command()
@click.argument("recipes", nargs=-1, required=True)
@recipe_options
@plugin_option
def validate(
    recipes: Sequence[str], profile: str | None, overrides: Sequence[str], plugin_files: Sequence[Path]
) -> None:
    """Check RECIPES, files or names, with all their profiles; print all problems with file and line.

    Exit status 2 when there is one.
    """
    from fptkit.recipe.load import load_recipe

    broken: list[FptkitError] = []
    for recipe in recipes:
        try:
            loaded = load_recipe(
                recipe, profile=profile, overrides=overrides, plugin_files=plugin_files, registry_loader=load_registry
            )
            others = [] if profile else _profiles(loaded.path)
            for other in others:
                load_recipe(
                    recipe, profile=other, overrides=overrides, plugin_files=plugin_files, registry_loader=load_registry
                )
        except FptkitError as err:
            broken.append(err)
            click.echo(str(err), err=True)
        else:
            click.echo(f"{loaded.path}: ok" + (f", with profiles {', '.join(others)}" if others else ""))
    if broken:
        raise click.exceptions.Exit(broken[0].exit_code)


def _profiles(path: Path) -> list[str]:
    """Names of the profiles of a recipe that loads."""
    from fptkit.recipe.tree import read_tree

    tree = read_tree(path.read_text(encoding="utf-8-sig"), path.name, [])
    profiles = tree.mapping.get("profiles") if tree else None
    return list(profiles.mapping) if profiles else []
