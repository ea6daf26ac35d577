"""``fptkit clean``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from fptkit.cli.shared import json_option, print_json, print_rows

if TYPE_CHECKING:
    from fptkit.lab.caches import Cache

NAMES = ("kernels", "features", "conversions", "digests", "downloads")
"""The caches, each with an option of its own; as in `fptkit.lab.caches.all_caches`."""


@click.command(
    epilog="""\b
Examples:
  fptkit clean
  fptkit clean --features --kernels
  fptkit clean --features --yes
"""
)
@click.option("--kernels", is_flag=True, help="Compiled CPU kernels.")
@click.option("--features", is_flag=True, help="Cached features.")
@click.option("--conversions", is_flag=True, help="GGUF files that were converted.")
@click.option("--digests", is_flag=True, help="Digests of data files.")
@click.option("--downloads", is_flag=True, help="Data sets and packaged weights that fptkit downloaded.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--yes", is_flag=True, help="Remove them; without it, only show what would be removed.")
@json_option
def clean(everything: bool, yes: bool, as_json: bool, **chosen: bool) -> None:
    """Show fptkit's caches with their sizes; empty those that are chosen.

    Nothing is removed without --yes. Run folders, data that were put into the data folder by hand, files that are not
    fptkit's and the cache of the model hub are never removed. The exit status is 1 if something could not be removed.
    """
    from fptkit.errors import UsageError
    from fptkit.lab.caches import all_caches

    names = [name for name in NAMES if everything or chosen[name]]
    if yes and not names:
        raise UsageError("--yes: choose what to remove, e.g. --features, or --all")
    caches = all_caches()
    picked = [cache for cache in caches if cache.name in names]
    problems = _remove(picked) if yes else []
    if as_json:
        print_json(_content(all_caches(), names, problems=problems))
    elif not names:
        _show(caches)
    elif yes:
        _report_removed(picked, all_caches(), problems)
    else:
        _report_planned(picked)
    if problems:
        raise click.exceptions.Exit(1)


def _remove(caches: Sequence[Cache]) -> list[str]:
    """Empty caches; returns a line for each item that is still there."""
    from fptkit.lab.caches import remove

    items = [item for cache in caches for item in cache.items]
    return [f"{item.name} {problem}" for item in items if (problem := remove(item))]


def _show(caches: Sequence[Cache]) -> None:
    from fptkit.lab.caches import hub_cache, shown_size, size_of
    from fptkit.sources.choice import shown_folder

    rows = [
        {
            "cache": cache.name,
            "size": shown_size(cache.size),
            "folder": "" if cache.folder is None else shown_folder(cache.folder),
            "holds": cache.problem or cache.holds,
        }
        for cache in caches
    ]
    size, whole = size_of(hub_cache())
    rows.append(
        {
            "cache": "(model hub)",
            "size": f"{'' if whole else 'over '}{shown_size(size)}",
            "folder": shown_folder(hub_cache()),
            "holds": "weights of the hub, shared with other programs; see 'hf cache --help'",
        }
    )
    print_rows(rows)
    click.echo("nothing was removed; choose caches by name, e.g.:\n  fptkit clean --features --kernels", err=True)


def _report_planned(caches: Sequence[Cache]) -> None:
    from fptkit.lab.caches import shown_size

    for cache in caches:
        for item in cache.items:
            click.echo(f"{cache.name}: {item.name} ({shown_size(item.size)})")
        click.echo(f"{cache.name}: {cache.problem or f'{shown_size(cache.size)} would be removed'}")
    click.echo("nothing was removed; add --yes to remove it", err=True)


def _report_removed(before: Sequence[Cache], after: Sequence[Cache], problems: Sequence[str]) -> None:
    from fptkit.lab.caches import shown_size

    left = {cache.name: cache.size for cache in after}
    for cache in before:
        click.echo(f"{cache.name}: {cache.problem or f'{shown_size(cache.size - left[cache.name])} removed'}")
    for problem in problems:
        click.echo(f"error: {problem}", err=True)


def _content(caches: Sequence[Cache], names: Sequence[str], *, problems: Sequence[str]) -> dict[str, Any]:
    """The caches as they are now, for ``--json``."""
    return {
        "caches": [
            {
                "name": cache.name,
                "folder": None if cache.folder is None else str(cache.folder),
                "bytes": cache.size,
                "items": [{"name": item.name, "bytes": item.size} for item in cache.items],
                "problem": cache.problem,
                "chosen": cache.name in names,
            }
            for cache in caches
        ],
        "problems": list(problems),
    }
