"""``fptkit new recipe``: a recipe for a user's own files."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from fptkit.cli.shared import load_registry, plugin_option
from fptkit.sources.choice import expanded


@click.command(
    "recipe",
    epilog="""\b
Examples:
  fptkit new recipe --data patients.csv
  fptkit new recipe birds.yaml --data recordings --task audio
  fptkit new recipe --data patients.csv --labels diagnosis --force
""",
)
@click.argument("name", required=False)
@click.option(
    "--data", "data", required=True, metavar="FILE_OR_FOLDER", type=click.Path(path_type=Path), help="The data."
)
@click.option(
    "--labels", multiple=True, metavar="COLUMN", help="Column, field or array to predict. Repeatable. Default: found."
)
@click.option("--task", metavar="NAME", help="Task to use. Default: the one that fits the data.")
@click.option("--force", is_flag=True, help="Overwrite an existing recipe.")
@plugin_option
def recipe(
    name: str | None, data: Path, labels: Sequence[str], task: str | None, force: bool, plugin_files: Sequence[Path]
) -> None:
    """Look at data and write a recipe for them, with its control; print what was seen and chosen.

    NAME is the recipe's file, or its name without .yaml. Default: that of the data, in the working folder. The data
    are read completely, so the recipe is ready to run.
    """
    from fptkit.errors import UsageError
    from fptkit.files import write_text
    from fptkit.lab.proposals.check import propose
    from fptkit.lab.proposals.choose import choose_task

    place = _place(data)
    target = _target(name, place)
    if target.exists() and (not force or target.is_dir()):
        raise UsageError(f"{target} already exists; choose another name" + ("" if target.is_dir() else ", or --force"))
    registry = load_registry(plugin_files)
    chosen = choose_task(place, registry, task=task, labels=labels)
    look = chosen.look
    click.echo(f"{data}: {look.why}")
    for line in look.seen:
        click.echo(f"  {line}")
    command = shlex.join(["fptkit", "new", "recipe", *([name] if name else []), "--data", str(data)])
    proposal = propose(chosen, place, registry, command=command)
    for line in (note for note in proposal.notes if note not in look.seen):
        click.echo(f"  {line}")
    for line in proposal.warnings:
        click.echo(f"warning: {line}", err=True)
    click.echo(f"task: {look.task}" + "".join(f"; or --task {each.task} ({each.why})" for each in chosen.others))
    for line in proposal.doubts:
        click.echo(f"not certain, change it in the recipe if it is wrong:  {line}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, proposal.text)
    except OSError as err:
        raise UsageError(f"cannot write {target}: {err.strerror or err}; choose another place") from err
    shown = shlex.quote(str(target))
    click.echo(f"\n{target}\n\nnext:\n  fptkit run {shown}\n  fptkit run {shown} --profile control")


def _place(data: Path) -> Path:
    """The data as an absolute path: a recipe is then the same from every working folder.

    Raises:
        UsageError: there is nothing, it is neither a file nor a folder, or its name is not text.
    """
    from fptkit.errors import UsageError

    try:
        str(data).encode()
    except UnicodeEncodeError as err:
        raise UsageError(f"{str(data)!r}: the name is not UTF-8, so a recipe cannot name it; rename it") from err
    place = Path(os.path.abspath(expanded(data)))
    try:
        if not place.exists():
            raise UsageError(f"{data}: there is no such file or folder; check the path")
        if not (place.is_file() or place.is_dir()):
            raise UsageError(f"{data}: neither a file nor a folder; name one")
    except OSError as err:
        raise UsageError(f"{data}: cannot be read ({err.strerror or err}); check the path") from err
    if str(place) != str(place).strip():
        raise UsageError(f"{data}: the name ends in white space, which a recipe cannot keep; rename it")
    return place


def _target(name: str | None, place: Path) -> Path:
    """The recipe's file."""
    if name is None:
        stem = place.name.split(".")[0] if place.is_file() else place.name
        plain = re.sub(r"[^\w-]+", "_", stem).strip("_") or "recipe"
        return Path(f"{plain}.yaml")
    return Path(name) if name.endswith((".yaml", ".yml")) else Path(f"{name}.yaml")
