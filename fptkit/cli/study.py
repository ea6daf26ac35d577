"""``fptkit study``."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fptkit.cli.completion import recipe_names
from fptkit.cli.shared import (
    json_option,
    load_registry,
    one_process_only,
    plugin_option,
    print_json,
    print_rows,
    recipe_options,
)
from fptkit.files import write_text

if TYPE_CHECKING:
    from fptkit.lab.studies.outcome import Outcome
    from fptkit.lab.studies.plan import Study
    from fptkit.lab.studies.progress import StudyProgress
    from fptkit.lab.studies.runner import StudyEnd

STATE = ".state"
"""File in a study's folder with the digest of what its results were made from; unchanged results are not written
again."""

ALL = "all"


@click.command(
    epilog="""\b
Examples:
  fptkit study rq2_pretraining_modality --profile smoke
  fptkit study mine.yaml --workers 4 --dry-run
  fptkit study bit_xor_gpt2 --controls --seeds 3 --learning-rates 1e-3,3e-3
  fptkit study mine.yaml --launcher slurm --slurm partition=gpu,timeout_min=60
"""
)
@click.argument("study", shell_complete=recipe_names)
@recipe_options
@click.option(
    "--controls",
    is_flag=False,
    flag_value=ALL,
    metavar="[NAMES]",
    help="Add control arms: all, or the named ones, e.g. --controls=frozen_random,output_only.",
)
@click.option("--seeds", metavar="N", help="Seeds per cell: a number, or a list such as 0,7,8.")
@click.option(
    "--learning-rates", metavar="A,B,...", help="Learning rates to search; the best one is chosen on validation."
)
@click.option("--search", type=click.Choice(["grid", "halving", "optuna"]), help="Learning rate search.")
@click.option(
    "--ledger",
    "ledger_folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("studies"),
    show_default=True,
    help="Folder of runs and results; studies in the same folder share common runs.",
)
@click.option(
    "--launcher", type=click.Choice(["local", "ray", "slurm"]), default="local", help="Backend that starts runs."
)
@click.option(
    "--slurm",
    "slurm",
    metavar="NAME=VALUE,...",
    default="",
    help="Parameters of Slurm jobs, e.g. partition=gpu,timeout_min=60.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Concurrent runs (default: one per core or GPU).")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads per run (default: cores / workers).")
@click.option("--retry-failed", is_flag=True, help="Retry runs that failed in an earlier call.")
@click.option("--dry-run", is_flag=True, help="Show the cells and the number of runs; run nothing.")
@click.option("--quiet", is_flag=True, help="Print failures and results only.")
@json_option
@plugin_option
def study(
    study: str,
    profile: str | None,
    overrides: Sequence[str],
    controls: str | None,
    seeds: str | None,
    learning_rates: str | None,
    search: str | None,
    ledger_folder: Path,
    launcher: str,
    slurm: str,
    workers: int | None,
    threads: int | None,
    retry_failed: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    plugin_files: Sequence[Path],
) -> None:
    """Run STUDY: a file, the name of a shipped study, or a recipe to study over seeds and learning rates.

    Finished runs are not repeated; call the same command again to continue a study that was stopped. Several calls may
    share the work in one ledger folder.
    """
    from fptkit.errors import UsageError
    from fptkit.lab.studies.launchers.base import LAUNCHERS, LauncherOptions
    from fptkit.lab.studies.launchers.slurm import parse_parameters
    from fptkit.lab.studies.load import load_study

    one_process_only("a study")
    all_overrides = [*overrides, *_convenience(seeds, learning_rates, search)]
    options = LauncherOptions(
        next(name for name in LAUNCHERS if name == launcher), workers, threads, parse_parameters(slurm)
    )
    if slurm and launcher != "slurm":
        raise UsageError("--slurm sets parameters of Slurm jobs: use it with --launcher slurm")
    loaded = load_study(
        study,
        profile=profile,
        overrides=all_overrides,
        plugin_files=plugin_files,
        registry_loader=load_registry,
        controls=_control_names(controls),
    )
    if dry_run:
        _show_plan(loaded, ledger_folder, as_json=as_json)
        return
    from fptkit.lab.studies.earlier import earlier_notes, earlier_runs, other_data_notes
    from fptkit.lab.studies.launchers.choose import make_launcher
    from fptkit.lab.studies.ledger import Ledger
    from fptkit.lab.studies.progress import make_view
    from fptkit.lab.studies.record import study_folder
    from fptkit.lab.studies.runner import StudyRunner

    folder = study_folder(ledger_folder, loaded)
    with Ledger(ledger_folder) as ledger:
        view = make_view(quiet=quiet)
        try:
            runner = StudyRunner(
                loaded,
                ledger,
                lambda modules: make_launcher(options, ledger_folder, preload=modules),
                view,
                retry_failed=retry_failed,
            )
            unmade = runner.unmade()
            earlier = earlier_notes(loaded, folder, earlier_runs(unmade, ledger), keep=True)
            for line in (*earlier, *other_data_notes(unmade, ledger)):
                view.say(line)
            end = runner.carry_out()
        finally:
            view.close()
    _write(loaded, end.outcomes, ledger_folder, folder, all_overrides)
    if not quiet:
        known = len(end.outcomes)
        click.echo(f"{_runs(end.started)} carried out, {known} in total; report: {folder / 'report.md'}", err=True)
    if not end.signal_number:
        _print(folder, as_json=as_json)
    _exit(end)


def _convenience(seeds: str | None, learning_rates: str | None, search: str | None) -> list[str]:
    """The short options as overrides, so that they are checked, and reported when wrong, like any other."""
    found = []
    if seeds is not None:
        found.append(f"seeds=[{seeds}]" if "," in seeds else f"seeds={seeds}")
    if learning_rates is not None:
        found.append(f"learning_rates=[{learning_rates}]")
    if search is not None:
        found.append(f"search.name={search}")
    return found


def _control_names(given: str | None) -> Sequence[str] | None:
    from fptkit.errors import UnknownNameError
    from fptkit.lab.studies.options import CONTROLS

    if given is None:
        return None
    if given == ALL:
        return CONTROLS
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in CONTROLS:
            raise UnknownNameError("control", name, CONTROLS, "(write --controls=NAMES, or --controls last for all)")
    return names


def _show_plan(loaded: Study, ledger_folder: Path, *, as_json: bool) -> None:
    """``--dry-run``: cells, missing runs, and cells that are skipped. Leaves nothing on disk."""
    from fptkit.lab.studies.earlier import earlier_notes, earlier_runs, other_data_notes
    from fptkit.lab.studies.launchers.base import LauncherOptions
    from fptkit.lab.studies.launchers.choose import make_launcher
    from fptkit.lab.studies.ledger import FILE, Ledger
    from fptkit.lab.studies.progress import make_view
    from fptkit.lab.studies.record import study_folder
    from fptkit.lab.studies.runner import StudyRunner

    with tempfile.TemporaryDirectory() as empty:
        place = ledger_folder if (ledger_folder / FILE).exists() else Path(empty)
        with Ledger(place) as ledger:
            view = make_view(quiet=True)
            runner = StudyRunner(loaded, ledger, lambda _: make_launcher(LauncherOptions(), place), view)
            plan = runner.plan()
            earlier = earlier_runs(runner.unmade(), ledger)
            notes = earlier_notes(loaded, study_folder(ledger_folder, loaded), earlier, keep=False)
            notes += other_data_notes(runner.unmade(), ledger)
    for line in notes:
        click.echo(line, err=True)
    if as_json:
        print_json(_plan_content(loaded, plan))
        return
    print_rows(
        [
            {
                "task": cell.name.task,
                "arm": cell.name.arm,
                "data": f"{cell.name.data_fraction:g}",
                "runs": str(cell.runs),
                "to do": str(cell.runs - cell.done),
            }
            for cell in plan.cells
        ]
    )
    for place_of, reason in loaded.skipped.items():
        click.echo(f"skipped: {place_of}: {reason}")
    click.echo(f"{len(plan.cells)} cells, {_runs(plan.runs)}, {plan.runs - plan.done} to do; nothing was run")


def _plan_content(loaded: Study, plan: StudyProgress) -> dict[str, object]:
    return {
        "study": loaded.name,
        "profile": loaded.profile,
        "cells": [
            {
                "task": cell.name.task,
                "arm": cell.name.arm,
                "data_fraction": cell.name.data_fraction,
                "runs": cell.runs,
                "missing": cell.runs - cell.done,
            }
            for cell in plan.cells
        ],
        "skipped": {str(place): reason for place, reason in loaded.skipped.items()},
        "runs": plan.runs,
        "missing": plan.runs - plan.done,
    }


def _write(
    loaded: Study, outcomes: Mapping[str, Outcome], ledger_folder: Path, folder: Path, overrides: Sequence[str]
) -> None:
    """Write results and reports, unless they exist and were made from the same outcomes."""
    from fptkit.lab.studies.record import FILE, study_text

    state = _state(loaded, outcomes)
    made = [folder / name for name in (FILE, "results.json", "report.md", "report.html")]
    if _read(folder / STATE) == state and all(path.exists() for path in made):
        return
    from fptkit.lab.reporting import write_reports
    from fptkit.lab.studies.summarise import write_results

    folder.mkdir(parents=True, exist_ok=True)
    (folder / STATE).unlink(missing_ok=True)
    write_text(folder / FILE, study_text(loaded, overrides, ["fptkit", *sys.argv[1:]]))
    write_results(loaded, outcomes, ledger_folder, folder)
    write_reports(folder, ledger_folder)
    write_text(folder / STATE, state)


def _state(loaded: Study, outcomes: Mapping[str, Outcome]) -> str:
    from fptkit import __version__

    content = [
        __version__,
        loaded.name,
        loaded.profile,
        loaded.code_version,
        loaded.settings.model_dump(mode="json"),
        [[str(cell.name), cell.loaded.recipe.model_dump(mode="json")] for cell in loaded.cells],
        {str(place): reason for place, reason in loaded.skipped.items()},
        dict(loaded.arm_summaries),
        {
            address: [outcome.status, outcome.reason, outcome.step, outcome.summary]
            for address, outcome in outcomes.items()
        },
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _print(folder: Path, *, as_json: bool) -> None:
    from fptkit.lab.studies.results import read_results

    results = read_results(folder)
    if as_json:
        print_json(results.model_dump(mode="json"))
        return
    from fptkit.lab.reporting.terminal import print_results

    print_results(results)


def _exit(end: StudyEnd) -> None:
    """Exit as the study ended: 130 or 143 after a signal, 1 if a run is missing."""
    if end.signal_number:
        click.echo("stopped; run the same command again to continue", err=True)
        click.get_current_context().exit(128 + end.signal_number)
    if end.failed:
        arms: dict[str, list[str]] = {}
        for missing in end.failed:
            arms.setdefault(missing.cell.arm, []).append(missing.text)
        for arm, texts in arms.items():
            click.echo(f"error: arm {arm}: {_runs(len(texts))} failed", err=True)
            click.echo(f"  {texts[0]}", err=True)
        click.echo("run the same command with --retry-failed to retry them", err=True)
        click.get_current_context().exit(1)


def _runs(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
