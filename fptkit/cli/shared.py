"""What several commands share: options, loading the registry, errors, warnings, tables."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from fptkit.cli.completion import profile_names, tracker_names
from fptkit.cli.completion_values import settings
from fptkit.engine.team.launch import process_count, process_rank
from fptkit.engine.terminal import console as make_console
from fptkit.errors import visible

if TYPE_CHECKING:
    from fptkit.errors import FptkitError
    from fptkit.registry import Registry

_NO_WRAP = 10_000
"""Columns of a table in a pipe, so that each row is one line, for grep."""

Command = TypeVar("Command", bound=Callable[..., Any])


def plugin_option(command: Command) -> Command:
    """``--plugin FILE.py``, repeatable."""
    return click.option(
        "--plugin",
        "plugin_files",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE.py",
        help="Load a plugin from a Python file. Repeatable.",
    )(command)


def json_option(command: Command) -> Command:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(command)


def recipe_options(command: Command) -> Command:
    """``--profile`` and ``--set``, whose values may also follow the recipe without it: ``train.seed=1``."""
    values = click.argument("bare", nargs=-1, metavar="[PATH=VALUE]...", callback=_are_values, shell_complete=settings)
    return profile_and_set(values(_with_bare(command)))


def _are_values(context: click.Context, parameter: click.Parameter, words: Sequence[str]) -> Sequence[str]:
    for word in words:
        if "=" not in word:
            context.fail(f"Got unexpected extra argument ({word}); values of the recipe are given as PATH=VALUE")
    return words


def profile_and_set(command: Command) -> Command:
    """``--profile`` and ``--set``."""
    command = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="PATH=VALUE",
        shell_complete=settings,
        help="Override a value of the recipe, e.g. --set train.learning_rate=1e-4. Repeatable.",
    )(command)
    return click.option(
        "--profile",
        metavar="NAME",
        help="Use a profile of the recipe, e.g. smoke or paper.",
        shell_complete=profile_names,
    )(command)


def track_option(command: Command) -> Command:
    """``--track NAME``, repeatable."""
    return click.option(
        "--track",
        "trackers",
        multiple=True,
        metavar="NAME",
        shell_complete=tracker_names,
        help="Report to a tracker: tensorboard, mlflow, wandb or trackio. Repeatable.",
    )(command)


def _with_bare(command: Command) -> Command:
    """The command, with arguments ``PATH=VALUE`` added to the overrides."""

    @functools.wraps(command)
    def wrapped(*, bare: Sequence[str], overrides: Sequence[str], **parameters: Any) -> Any:
        return command(overrides=(*overrides, *bare), **parameters)

    return cast(Command, wrapped)


SHORT_FORMS = {
    "seed": ("train.seed", "N", "Random seed: short for --set train.seed=N."),
    "steps": ("train.max_steps", "N", "Training steps: short for --set train.max_steps=N."),
    "device": ("device", "NAME", "Device, auto, cpu or cuda: short for --set device=NAME."),
}
"""Options for the values that are changed most often -> their place in a recipe, metavar and help."""


def short_options(command: Command) -> Command:
    """``--seed``, ``--steps`` and ``--device``: overrides, so that they are checked and reported like any other."""

    @functools.wraps(command)
    def wrapped(*, overrides: Sequence[str], **parameters: Any) -> Any:
        given = {place: parameters.pop(name) for name, (place, _, _) in SHORT_FORMS.items()}
        short = [f"{place}={value}" for place, value in given.items() if value is not None]
        return command(overrides=(*overrides, *short), **parameters)

    result: Any = wrapped
    for name, (_, metavar, text) in reversed(SHORT_FORMS.items()):
        result = click.option(f"--{name}", metavar=metavar, help=text)(result)
    return cast(Command, result)


def load_registry(plugin_files: Sequence[Path] = ()) -> Registry:
    """Load all plugins, once per command. Failed ones are reported on stderr, one line each, and skipped."""
    from fptkit.registry import load_plugins, selection_from_environment

    selection = selection_from_environment()
    registry = load_plugins(plugin_files, selection=selection)
    if process_rank():
        return registry  # rank 0 reports
    installed = [plugin.name for plugin in registry.plugins if plugin.origin == "distribution"]
    for name in filter(None, (part.strip() for part in (selection or "").split(","))):
        if name not in installed:
            known = ", ".join(installed) or "none"
            click.echo(f"warning: FPTKIT_PLUGINS names '{name}', which is not installed; installed: {known}", err=True)
    for plugin in registry.plugins:
        if plugin.failed:
            click.echo(f"warning: plugin {plugin.described} was skipped: {plugin.reason}", err=True)
        elif plugin.slow:
            click.echo(
                f"warning: plugin {plugin.described} took {plugin.seconds:.1f} s to import, in every command; "
                "the module with its hooks should import nothing heavy",
                err=True,
            )
    return registry


def print_error(err: FptkitError) -> None:
    """Print an error on stderr, in a command that continues after it."""
    click.echo(visible(f"error: {err}"), err=True)


def one_process_only(what: str) -> None:
    """Raise if a launcher started several processes for a command that runs in one.

    Raises:
        UsageError: it did.
    """
    from fptkit.errors import UsageError

    if process_count() > 1:
        raise UsageError(
            f"{what} runs in one process; start it without torchrun or accelerate launch (they are for fptkit run)"
        )


def print_json(content: Any) -> None:
    """Print data as JSON on stdout."""
    click.echo(json.dumps(content, indent=2, default=str))


def print_rows(rows: Sequence[Mapping[str, str]], *, title: str = "") -> None:
    """Print a table on stdout: as wide as the terminal, or one line per row in a pipe."""
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for position, name in enumerate(rows[0]):
        # Names must survive a narrow terminal; prose may wrap.
        table.add_column(name, overflow="fold", no_wrap=position == 0)
    for row in rows:
        table.add_row(*(value for value in row.values()))
    # No markup: brackets in a cell are text.
    if sys.stdout.isatty():
        make_console().print(table)
        return
    console = make_console(width=_NO_WRAP)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def quiet_libraries() -> None:
    """Turn off progress bars and advice of libraries."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
