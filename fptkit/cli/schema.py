"""``fptkit schema``: the JSON Schema of recipes, for editors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fptkit.cli.shared import load_registry, plugin_option, print_json


@click.command()
@plugin_option
def schema(plugin_files: Sequence[Path]) -> None:
    """Print the JSON Schema of recipes, made from the components that are installed."""
    from fptkit.recipe.schema import recipe_json_schema

    print_json(recipe_json_schema(load_registry(plugin_files)))
