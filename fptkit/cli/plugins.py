"""``fptkit plugins``: every plugin, and why one failed."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from fptkit.cli.shared import json_option, plugin_option, print_json, print_rows


@click.command("plugins")
@json_option
@click.option("--verbose", is_flag=True, help="Show the traceback of each failure.")
@plugin_option
def plugins(as_json: bool, verbose: bool, plugin_files: Sequence[Path]) -> None:
    """List every plugin: its distribution and version, its hooks, and whether it loaded."""
    from fptkit.registry import load_plugins, selection_from_environment

    met = load_plugins(plugin_files, selection=selection_from_environment()).plugins
    rows = [
        {
            "name": plugin.name,
            "status": plugin.status,
            "version": f"{plugin.distribution} {plugin.version}".strip() or plugin.origin,
            "seconds": f"{plugin.seconds:.3f}",
            "hooks": ", ".join(hook.removeprefix("fptkit_") for hook in plugin.hooks),
            "reason": plugin.reason,
        }
        for plugin in met
    ]
    if as_json:
        print_json(rows)
        return
    print_rows(rows)
    if verbose:
        for plugin in met:
            if plugin.error is not None:
                click.echo("\n" + "".join(traceback.format_exception(plugin.error)), err=True)
