"""Options that ``fptkit study`` and ``fptkit study lock`` share: those that decide what the study is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fptkit.cli.completion import completes, recipe_names
from fptkit.cli.shared import Command, load_registry, recipe_options

if TYPE_CHECKING:
    from fptkit.lab.studies.plan import Study

ALL = "all"

DECIDED = "decided"


def study_options(command: Command) -> Command:
    """The argument STUDY, and the options that decide what the study is."""
    for decorate in reversed(
        (
            click.argument("study", shell_complete=recipe_names),
            recipe_options,
            click.option(
                "--controls",
                is_flag=False,
                flag_value=ALL,
                metavar="[NAMES]",
                shell_complete=completes("control"),
                help="Add control arms: fptkit's own, or those named, e.g. --controls=frozen_random,output_only.",
            ),
            click.option(
                "--seeds",
                metavar="N",
                help="Seeds per cell: a number, a list such as 0,7,8, or 'decided' to add seeds until decided.",
            ),
            click.option(
                "--learning-rates",
                metavar="A,B,...",
                help="Learning rates to search; the best one is chosen on validation.",
            ),
            click.option(
                "--search",
                metavar="NAME",
                help="Learning rate search: grid, halving, optuna, or a plugin's (fptkit list searches).",
                shell_complete=completes("search"),
            ),
            click.option(
                "--ledger",
                "ledger_folder",
                type=click.Path(path_type=Path, file_okay=False),
                default=Path("studies"),
                show_default=True,
                help="Folder of runs and results; studies in the same folder share common runs.",
            ),
        )
    ):
        command = decorate(command)
    return command


def load(options: dict[str, Any]) -> tuple[Study, list[str]]:
    """Load the study that the options of `study_options` and ``--plugin`` describe.

    Args:
        options: values of the command's parameters; others are ignored.

    Returns:
        The study, and all overrides it was loaded with.
    """
    from fptkit.lab.studies.load import load_study

    overrides = [*options["overrides"], *_short_options(options)]
    study = load_study(
        options["study"],
        profile=options["profile"],
        overrides=overrides,
        plugin_files=options["plugin_files"],
        registry_loader=load_registry,
        controls=_control_names(options["controls"]),
    )
    return study, overrides


def _short_options(options: dict[str, Any]) -> list[str]:
    """The short options as overrides, so that they are checked, and reported when wrong, like any other."""
    found = []
    if (seeds := options["seeds"]) is not None:
        # Limits that the study or --set gives are kept.
        listed = f"seeds=[{seeds}]" if "," in seeds else f"seeds={seeds}"
        found.append("seeds.until=decided" if seeds == DECIDED else listed)
    if (rates := options["learning_rates"]) is not None:
        found.append(f"learning_rates=[{rates}]")
    if (search := options["search"]) is not None:
        found.append(f"search.name={search}")
    return found


def _control_names(given: str | None) -> Sequence[str] | None:
    """The control arms that were named; the plan says which of them nobody brings, since it may name plugins."""
    from fptkit.lab.studies.options import CONTROLS

    if given is None:
        return None
    return CONTROLS if given == ALL else [name.strip() for name in given.split(",") if name.strip()]
