"""``fptkit copy``: a shipped recipe as a file to edit."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import click

from fptkit.cli.completion import recipe_names
from fptkit.cli.shared import load_registry, plugin_option


@click.command("copy")
@click.argument("recipe", shell_complete=recipe_names)
@click.argument("destination", type=click.Path(path_type=Path), default=".")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@plugin_option
def copy(recipe: str, destination: Path, force: bool, plugin_files: Sequence[Path]) -> None:
    """Copy the shipped RECIPE or study to DESTINATION, a folder or a file name."""
    from fptkit.errors import UsageError
    from fptkit.recipe.find import find_study, recipe_folders

    origin = find_study(recipe, recipe_folders(load_registry(plugin_files)))
    target = destination / origin.name if destination.is_dir() else destination
    if target.exists() and not force:
        raise UsageError(f"{target} already exists; --force overwrites it")
    try:
        shutil.copyfile(origin, target)
    except OSError as err:
        raise UsageError(f"cannot write {target}: {err}") from err
    click.echo(f"{target}")
