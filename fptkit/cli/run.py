"""``fptkit run``."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fptkit.cli.completion import recipe_names
from fptkit.cli.shared import (
    json_option,
    load_registry,
    plugin_option,
    print_json,
    recipe_options,
)
from fptkit.engine.team.launch import process_count, process_rank
from fptkit.engine.terminal import outlive_readers

if TYPE_CHECKING:
    from fptkit.recipe.load import LoadedRecipe


@click.command(
    epilog="""\b
Examples:
  fptkit run homology_gpt2
  fptkit run recipes/bit_xor_gpt2.yaml --profile smoke
  fptkit run bit_xor_gpt2 --set train.learning_rate=3e-3 --set backbone.weights=random
  fptkit run homology_gpt2 --output runs/first --resume
  fptkit run homology_gpt2 --output runs/first --no-test
  torchrun --nproc-per-node 2 -m fptkit run homology_gpt2 --output runs/first
"""
)
@click.argument("recipe", shell_complete=recipe_names)
@recipe_options
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Run folder. Default: runs/RECIPE-DATE-TIME.",
)
@click.option("--resume", is_flag=True, help="Continue the run in the run folder; start it if the folder is empty.")
@click.option("--no-test", is_flag=True, help="Do not evaluate the test splits; run again with --resume to do so.")
@click.option("--quiet", is_flag=True, help="Print warnings and errors only.")
@json_option
@plugin_option
def run(
    recipe: str,
    profile: str | None,
    overrides: Sequence[str],
    output: Path | None,
    resume: bool,
    no_test: bool,
    quiet: bool,
    as_json: bool,
    plugin_files: Sequence[Path],
) -> None:
    """Train and evaluate RECIPE, a file or the name of a shipped recipe.

    The run folder holds the resolved recipe, metrics.jsonl, summary.json, checkpoints and the trained tensors.
    """
    from fptkit.errors import UsageError
    from fptkit.recipe.load import load_recipe

    if resume and output is None:
        raise UsageError("--resume needs --output, the folder of the run to continue")

    def load() -> LoadedRecipe:
        return load_recipe(
            recipe, profile=profile, overrides=overrides, plugin_files=plugin_files, registry_loader=load_registry
        )

    outlive_readers()
    loaded, folder = _agreed(load, output) if process_count() > 1 else _alone(load, output)
    # Heavy imports only now, so that errors of the recipe are reported at once.
    from fptkit.api.display import quiet_libraries
    from fptkit.cli.console import console_listener, print_summary
    from fptkit.engine.folder import resume_command
    from fptkit.engine.run import RunRequest
    from fptkit.engine.run import run as carry_out

    quiet_libraries()
    as_json, quiet = as_json and not process_rank(), quiet or bool(process_rank())  # rank 0 reports
    with console_listener(quiet=quiet) as listener:
        summary = carry_out(RunRequest(loaded, folder, resume=resume, listeners=[listener], open_test=not no_test))
        if not listener.started and not quiet:
            click.echo(f"{folder} holds a {summary['status']} run: nothing was trained", err=True)
    report = _write_report(folder, summary, loaded) if listener.started and not process_rank() else None
    if as_json:
        print_json(summary)
    elif not quiet:
        print_summary(summary, folder)
        if report is not None:
            click.echo(f"report: {report}")
        if summary["status"] == "validated":
            click.echo(f"the test splits were not evaluated; evaluate them with:\n  {resume_command(folder)}")
        elif summary["status"] == "finished":
            _suggest_predicting(folder)
            _suggest_control(loaded, recipe, profile, overrides, plugin_files)


def _suggest_predicting(folder: Path) -> None:
    """Print the command that predicts for new files; nothing if the task has no rule for them."""
    from fptkit.files import PREPARATION, find_json

    if find_json(folder / PREPARATION).get("preparation") is not None:
        click.echo(f"to predict for new files:\n  fptkit predict {shlex.quote(str(folder))} FILE")


def _write_report(folder: Path, summary: Mapping[str, Any], loaded: LoadedRecipe) -> Path | None:
    """Write the report of an ended run; None if it has not ended, or the report could not be written.

    The run has its result by then, so a report that fails is a warning.
    """
    from fptkit.cli.shared import print_error
    from fptkit.errors import FptkitError

    if summary["status"] not in ("finished", "validated"):
        return None
    from fptkit.lab.reporting.single_run.write import write_run_report

    try:
        return write_run_report(folder, loaded.registry)
    except FptkitError as err:
        print_error(err)
        return None


def _suggest_control(
    loaded: LoadedRecipe, recipe: str, profile: str | None, overrides: Sequence[str], plugin_files: Sequence[Path]
) -> None:
    """Print the command that compares the run with random weights; nothing if its own are random."""
    from fptkit.lab.studies.suggest import control_study

    found = control_study(loaded, recipe, profile=profile, overrides=overrides, plugin_files=plugin_files)
    if found is not None:
        click.echo(f"to see what the pretraining is worth ({found.runs} runs like this one):\n  {found.command}")


def _alone(load: Callable[[], LoadedRecipe], output: Path | None) -> tuple[LoadedRecipe, Path]:
    """Recipe and run folder."""
    from fptkit.files import new_run_folder

    loaded = load()
    return loaded, output or new_run_folder(loaded.name)


def _agreed(load: Callable[[], LoadedRecipe], output: Path | None) -> tuple[LoadedRecipe, Path]:
    """Recipe and run folder if several processes run together: an error in one is reported once and ends all, and rank
    0 names the folder."""
    from fptkit.engine.team.processes import join_processes
    from fptkit.files import new_run_folder

    processes = join_processes()
    loaded = processes.together(load)
    return loaded, processes.from_main(lambda: output or new_run_folder(loaded.name))
