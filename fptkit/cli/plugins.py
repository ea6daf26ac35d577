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
@click.option("--available", is_flag=True, help="List the published packages instead, whether installed or not.")
@plugin_option
def plugins(as_json: bool, verbose: bool, checked: str | None, available: bool, plugin_files: Sequence[Path]) -> None:
    """List every plugin: its distribution and version, its hooks, and whether it loaded.

    With --check, the exit status is 1 if a check fails. --available needs no network: the list belongs to this version.
    """
    if available:
        _refuse_more(checked=checked is not None, verbose=verbose, plugin=bool(plugin_files))
        _list_available(as_json=as_json)
        return
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


def _refuse_more(**given: bool) -> None:
    """Refuse options that mean nothing with ``--available``.

    Raises:
        UsageError: one is given.
    """
    from fptkit.errors import UsageError

    for name, is_given in given.items():
        if is_given:
            option = "--check" if name == "checked" else f"--{name}"
            raise UsageError(f"--available lists published packages and takes no {option}; leave one of the two out")


def _list_available(*, as_json: bool) -> None:
    """Print the published packages, and how to install one."""
    from fptkit import __version__
    from fptkit.api.packages import published_packages

    packages = published_packages()
    if as_json:
        rows = [{**vars(package), "installed": package.installed(), "install": package.install} for package in packages]
        print_json(rows)
        return
    print_rows(
        [
            {
                "name": package.name,
                "version": package.version,
                "installed": package.installed() or "no",
                "tested with fptkit": ", ".join(package.tested_with),
                "adds": package.added,
                "summary": package.summary,
            }
            for package in packages
        ]
    )
    click.echo(f"this is fptkit {__version__}; in a checkout of it: {packages[0].install}", err=True)


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
