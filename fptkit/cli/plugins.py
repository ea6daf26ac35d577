"""``fptkit plugins``: every plugin, and why one failed."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fptkit.cli.shared import json_option, plugin_option, print_json, print_rows

if TYPE_CHECKING:
    from fptkit.registry import Registry


@click.command("plugins")
@json_option
@click.option("--verbose", is_flag=True, help="Show the traceback of each failure.")
@click.option(
    "--check",
    "checked",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    help="Import and build what the plugins bring, or the plugin NAME, and check the contracts.",
)
@plugin_option
def plugins(as_json: bool, verbose: bool, checked: str | None, plugin_files: Sequence[Path]) -> None:
    """List every plugin: its distribution and version, its hooks, and whether it loaded.

    With --check, the exit status is 1 if a check fails.
    """
    from fptkit.registry import load_plugins, selection_from_environment

    registry = load_plugins(plugin_files, selection=selection_from_environment())
    if checked is not None:
        _check(registry, checked, as_json=as_json)
        return
    met = registry.plugins
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


def _check(registry: Registry, name: str, *, as_json: bool) -> None:
    """Print a table with the results of all checks, and exit with 1 if one failed."""
    from dataclasses import asdict

    from fptkit.api.plugin_checks import check_plugins

    results = list(check_plugins(registry, name))
    if as_json:
        print_json([asdict(result) for result in results])
    elif results:
        print_rows([{key: " ".join(value.split()) for key, value in asdict(one).items()} for one in results])
    else:
        click.echo("no plugins are installed; name a file with --plugin FILE.py", err=True)
    failed = sum(result.result == "failed" for result in results)
    if failed:
        click.echo(f"{failed} of {len(results)} checks failed", err=True)
        click.get_current_context().exit(1)
