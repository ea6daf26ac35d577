"""``fptkit schema``: the JSON Schema of recipes and of studies, for editors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fptkit.cli.shared import load_registry, plugin_option, print_json


@click.command()
@click.option("--study", is_flag=True, help="Print the schema of studies instead.")
@plugin_option
def schema(study: bool, plugin_files: Sequence[Path]) -> None:
    """Print the JSON Schema of recipes, with the options of all installed components."""
    if study:
        from fptkit.lab.studies.schema import study_json_schema as json_schema
    else:
        from fptkit.recipe.schema import recipe_json_schema as json_schema

    print_json(json_schema(load_registry(plugin_files)))
