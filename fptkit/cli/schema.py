"""``fptkit schema``: the JSON Schemas of recipes, studies and pretraining recipes, for editors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fptkit.cli.shared import load_registry, plugin_option, print_json


@click.command()
@click.option("--study", "kind", flag_value="study", help="Print the schema of studies instead.")
@click.option("--pretrain", "kind", flag_value="pretrain", help="Print the schema of pretraining recipes instead.")
@plugin_option
def schema(kind: str | None, plugin_files: Sequence[Path]) -> None:
    """Print the JSON Schema of recipes, with the options of all installed components."""
    from fptkit.cli.editor import schema_of

    print_json(schema_of(kind or "run", load_registry(plugin_files)))
