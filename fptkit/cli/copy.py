"""``fptkit copy``: a shipped recipe as a file to edit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fptkit.cli.completion import recipe_names
from fptkit.cli.shared import load_registry, plugin_option

if TYPE_CHECKING:
    from fptkit.recipe.find import ReadFile
    from fptkit.registry import Registry


@click.command("copy")
@click.argument("recipe", shell_complete=recipe_names)
@click.argument("destination", type=click.Path(path_type=Path), default=".")
@click.option("--flat", is_flag=True, help="Write every option with its meaning, in one file that extends nothing.")
@click.option("--profile", metavar="NAME", help="With --flat: the profile to apply.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@plugin_option
def copy(
    recipe: str, destination: Path, flat: bool, profile: str | None, force: bool, plugin_files: Sequence[Path]
) -> None:
    """Copy the shipped RECIPE or study to DESTINATION, a folder or a file name.

    Beside it goes the JSON Schema of its kind, with the components that are installed: editors with YAML support then
    complete keys and values, and mark what is wrong.
    """
    from fptkit.errors import UsageError
    from fptkit.files import write_text
    from fptkit.recipe.find import find_study, read_recipe_file, recipe_folders

    if profile is not None and not flat:
        raise UsageError("--profile needs --flat: a plain copy keeps all profiles")
    registry = load_registry(plugin_files)
    folders = recipe_folders(registry)
    file = read_recipe_file(find_study(recipe, folders), folders)
    target = destination / file.path.name if destination.is_dir() else destination
    if target.exists() and not force:
        raise UsageError(f"{target} already exists; --force overwrites it")
    text = _flat(file, registry, profile, plugin_files) if flat else _text_of(file.path)
    schema = _schema(file, registry)
    try:
        for name, content in schema.items():
            write_text(target.parent / name, content)
        write_text(target, _headed(text, schema))
    except OSError as err:
        raise UsageError(f"cannot write {target}: {err.strerror or err}; choose another DESTINATION") from err
    click.echo(f"{target}")


def _text_of(path: Path) -> str:
    from fptkit.errors import UsageError
    from fptkit.recipe.extends import text_of

    try:
        return text_of(path)
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"{path} cannot be read: {getattr(err, 'strerror', None) or err}") from err


def _flat(file: ReadFile, registry: Registry, profile: str | None, plugin_files: Sequence[Path]) -> str:
    """The whole recipe in one text.

    Raises:
        UsageError: it is a study or a pretraining recipe, which have no flat form.
        RecipeError: it has faults.
    """
    from fptkit.errors import UsageError
    from fptkit.recipe.flat import flat_recipe
    from fptkit.recipe.load import load_read_recipe

    if file.kind in ("study", "pretrain"):
        what = "a study" if file.kind == "study" else "a pretraining recipe"
        raise UsageError(f"--flat is for recipes, but {file.path.stem} is {what}; copy it without --flat")
    loaded = load_read_recipe(file, registry, profile=profile, overrides=(), given=plugin_files)
    chosen = f", profile {profile}" if profile else ""
    return flat_recipe(loaded, [f"{file.path.stem}{chosen}: every option, with its meaning. It extends no other file."])


def _schema(file: ReadFile, registry: Registry) -> dict[str, str]:
    """File name and text of the schema for this kind of file; empty if there is none for it."""
    from fptkit.cli.editor import FILES, schema_of

    if file.kind not in FILES:
        return {}
    return {FILES[file.kind]: json.dumps(schema_of(file.kind, registry), indent=1) + "\n"}


def _headed(text: str, schema: dict[str, str]) -> str:
    """The text with the comment by which editors find the schema."""
    from fptkit.cli.editor import with_header

    return with_header(text, next(iter(schema))) if schema else text
