"""``fptkit prefetch``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fptkit.cli.completion import recipe_names
from fptkit.cli.shared import (
    json_option,
    load_registry,
    one_process_only,
    plugin_option,
    print_json,
    print_rows,
    quiet_libraries,
    recipe_options,
)
from fptkit.cli.starting import starting

if TYPE_CHECKING:
    from fptkit.lab.prefetching.manifest import Result


@click.command(
    epilog="""\b
Examples:
  fptkit prefetch homology_gpt2
  fptkit prefetch rq2_pretraining_modality --manifest rq2.json
  fptkit prefetch rq2_pretraining_modality --manifest rq2.json --check
"""
)
@click.argument("recipe", metavar="RECIPE|STUDY", shell_complete=recipe_names)
@recipe_options
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File that lists what was fetched. Default: NAME.prefetch.json here.",
)
@click.option("--check", "checked", is_flag=True, help="Fetch nothing: check that everything is here, by the manifest.")
@json_option
@plugin_option
def prefetch(
    recipe: str,
    profile: str | None,
    overrides: Sequence[str],
    manifest: Path | None,
    checked: bool,
    as_json: bool,
    plugin_files: Sequence[Path],
) -> None:
    """Fetch the data and weights of a recipe, or of all arms of a study, so that it runs without network.

    What is here already is not fetched again. With --check nothing is fetched: everything is opened without network
    and compared with the manifest, if there is one.

    The exit status is 0 if everything is here, 2 if the recipe has a fault, 3 if something is missing or differs.
    """
    one_process_only("fptkit prefetch")
    quiet_libraries()
    with starting(f"reading {recipe}", shown=not as_json):
        from fptkit.lab.prefetching.manifest import check, complete, fetch, write_manifest
        from fptkit.lab.prefetching.needs import load_all

        registry = load_registry(plugin_files)
        loaded = load_all(recipe, registry, profile=profile, overrides=overrides, plugin_files=plugin_files)
        file = manifest or Path(f"{loaded.name}.prefetch.json")
        known = file if file.exists() or manifest else None
        results = check(loaded, known) if checked else fetch(loaded)
        if not checked:
            write_manifest(file, loaded, results)
    again = shlex.join(["fptkit", "prefetch", recipe, *_options(profile, overrides, plugin_files)])
    if as_json:
        print_json(_content(results, known if checked else file))
    else:
        _print(results)
        _print_end(results, known if checked else file, checked=checked, again=again)
    if not complete(results):
        raise click.exceptions.Exit(3)


def _options(profile: str | None, overrides: Sequence[str], plugin_files: Sequence[Path]) -> list[str]:
    """The options that decide what is fetched, to repeat them."""
    given = [("--profile", profile)] if profile else []
    given += [("--set", override) for override in overrides] + [("--plugin", str(file)) for file in plugin_files]
    return [word for option, value in given for word in (option, str(value))]


def _print(results: Sequence[Result]) -> None:
    from fptkit.lab.caches import shown_size

    rows = []
    for result in results:
        record = result.record or {}
        rows.append(
            {
                "need": f"{result.need.kind} of {result.need.name}",
                "state": result.state,
                "source": record.get("source", ""),
                "size": shown_size(record["bytes"]) if record else "",
                "place": record.get("place", ""),
            }
        )
    if rows:
        print_rows(rows)
    else:
        click.echo("nothing is needed from elsewhere")
    for result in results:
        if result.problem:
            kind = "warning" if result.state == "fallback" else "error"
            click.echo(f"{kind}: {result.need.kind} of {result.need.name}: {result.problem}", err=True)


def _print_end(results: Sequence[Result], file: Path | None, *, checked: bool, again: str) -> None:
    from fptkit.lab.caches import hub_cache
    from fptkit.lab.prefetching.manifest import complete
    from fptkit.sources.choice import data_folder

    places = f"{data_folder()} (FPTKIT_DATA) and {hub_cache().parent} (HF_HOME)"
    if not complete(results):
        if checked:
            click.echo(f"on a machine with network: {again}; then copy {places} to this one", err=True)
        return
    if checked:
        fallbacks = sum(result.state == "fallback" for result in results)
        by = f", {fallbacks} of {len(results)} by a fallback" if fallbacks else ""
        click.echo(f"everything is here{by}" + ("" if file else "; there is no manifest to compare it with"))
        return
    click.echo(f"manifest: {file}")
    click.echo(f"for a machine without network, copy {places}; then, there: {again} --check --manifest {file}")


def _content(results: Sequence[Result], file: Path | None) -> dict[str, Any]:
    from fptkit.lab.prefetching.manifest import complete

    return {
        "complete": complete(results),
        "manifest": None if file is None else str(file),
        "needs": [
            {
                "kind": result.need.kind,
                "name": result.need.name,
                "state": result.state,
                "problem": result.problem,
                **(result.record or {"key": result.need.key, "used_by": list(result.need.used_by)}),
            }
            for result in results
        ],
    }
