"""``fptkit doctor``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from fptkit.cli.completion import recipe_names
from fptkit.cli.shared import json_option, one_process_only, plugin_option, print_json, quiet_libraries, recipe_options
from fptkit.cli.starting import starting
from fptkit.engine.terminal import console as make_console

if TYPE_CHECKING:
    from rich.console import Console

    from fptkit.lab.doctor.findings import Finding, Section

_NAME = 15
"""Least columns of the names of findings."""

_STYLES = {"ok": "", "note": "dim", "warning": "bold yellow", "fault": "bold red"}


@click.command(
    epilog="""\b
Examples:
  fptkit doctor
  fptkit doctor homology_gpt2
  fptkit doctor mine.yaml --profile smoke --json
"""
)
@click.argument("recipe", required=False, shell_complete=recipe_names)
@recipe_options
@json_option
@plugin_option
def doctor(
    recipe: str | None,
    profile: str | None,
    overrides: Sequence[str],
    as_json: bool,
    plugin_files: Sequence[Path],
) -> None:
    """Check this machine: installation, plugins, folders, data sets, hub, processor, GPU, kernels, speed.

    With RECIPE: whether it can run here, what is missing, how much memory and time it needs. Nothing is downloaded.

    The exit status is 0 if fptkit, and the recipe, can run here; 1 if something that they need is broken or too small;
    2 if the recipe has a fault; 3 if its data or weights are missing. Warnings do not change it.
    """
    from fptkit.errors import UsageError

    one_process_only("fptkit doctor")
    if recipe is None and (profile or overrides):
        raise UsageError("--profile and --set need a RECIPE")
    quiet_libraries()
    console = make_console()
    sections: list[Section] = []
    with starting("looking at this installation", shown=not as_json):
        for section in _sections(recipe, profile, overrides, plugin_files):
            sections.append(section)
            if not as_json:
                _print(console, section)
    if as_json:
        print_json(_content(sections))
    else:
        _print_end(console, sections, recipe)
    if code := _exit_code(sections):
        raise click.exceptions.Exit(code)


def _sections(
    recipe: str | None, profile: str | None, overrides: Sequence[str], plugin_files: Sequence[Path]
) -> Iterator[Section]:
    """The findings about the machine, or about a recipe on it; a faulty recipe is reported first."""
    from fptkit.registry import load_plugins, selection_from_environment

    registry = load_plugins(plugin_files, selection=selection_from_environment())
    if recipe is None:
        from fptkit.lab.doctor.examine import examine

        yield from examine(registry)
        return
    from fptkit.lab.doctor.recipe import examine_recipe
    from fptkit.lab.prefetching.needs import load_all

    loaded = load_all(recipe, registry, profile=profile, overrides=overrides, plugin_files=plugin_files)
    yield from examine_recipe(loaded)


def _print(console: Console, section: Section) -> None:
    """Print a section: on a terminal with hanging lines, elsewhere one line for each finding, for grep."""
    if not section.findings:
        return
    console.print(Text(section.name, style="bold"))
    width = max(_NAME, *(len(finding.name) for finding in section.findings))
    table = Table.grid(padding=(0, 1))
    table.add_column(width=width + 2, no_wrap=True)
    table.add_column(overflow="fold")
    for finding in section.findings:
        for name, text in _rows(finding):
            table.add_row(f"  {name}", text)
            if not console.is_terminal:
                console.print(Text(f"  {name:{width}} ") + text, soft_wrap=True)
    if console.is_terminal:
        console.print(table)


def _rows(finding: Finding) -> Iterator[tuple[str, Text]]:
    """A finding by its name, and below it what to do."""
    style = _STYLES[finding.state]
    text = Text()
    if finding.state in ("warning", "fault"):
        text.append(f"{finding.state}: ", style=style)
        style = ""
    yield finding.name, text.append(finding.text, style=style)
    if finding.advice:
        yield "", Text(f"-> {finding.advice}", style="dim")


def _print_end(console: Console, sections: Sequence[Section], recipe: str | None) -> None:
    from fptkit.lab.doctor.findings import count

    faults, warnings = count(sections, "fault"), count(sections, "warning")
    counted = ", ".join(
        f"{number} {what}{'' if number == 1 else 's'}"
        for number, what in ((faults, "fault"), (warnings, "warning"))
        if number
    )
    what = "fptkit" if recipe is None else recipe
    end = f"{what} cannot run here" if faults else f"{what} can run here"
    console.print(f"{end}{f' ({counted})' if counted else ''}", soft_wrap=True)


def _exit_code(sections: Sequence[Section]) -> int:
    """Of the first fault; 0 without one."""
    faults = [one for section in sections for one in section.findings if one.state == "fault"]
    return int(faults[0].facts.get("exit_code", 1)) if faults else 0


def _content(sections: Sequence[Section]) -> dict[str, Any]:
    from fptkit.lab.doctor.findings import STATES, count

    return {
        "can_run": not count(sections, "fault"),
        "counts": {state: count(sections, state) for state in STATES},
        "sections": {section.name: [asdict(one) for one in section.findings] for section in sections},
    }
