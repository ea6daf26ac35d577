"""``fptkit study``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fptkit.cli.completion import completes
from fptkit.cli.shared import json_option, one_process_only, plugin_option, print_json, print_rows, track_option
from fptkit.cli.starting import starting
from fptkit.cli.study_options import load, study_options
from fptkit.cli.subcommands import CommandWithSubcommands
from fptkit.engine.terminal import outlive_readers
from fptkit.sources.activity import doing
from fptkit.specs import limits

if TYPE_CHECKING:
    from fptkit.lab.studies.locking.lock import Compared
    from fptkit.lab.studies.plan import Study
    from fptkit.lab.studies.progress import CellProgress, ProgressView, StudyProgress
    from fptkit.lab.studies.runner import StudyEnd


@click.command(
    cls=CommandWithSubcommands,
    subcommands={"lock": ("fptkit.cli.study_lock:lock", "Lock the plan of a study before its first run.")},
    epilog="""\b
Examples:
  fptkit study rq2_pretraining_modality --profile smoke
  fptkit study mine.yaml --workers 4 --dry-run
  fptkit study lock mine.yaml
  fptkit study bit_xor_gpt2 --controls --seeds 3 --learning-rates 1e-3,3e-3
  fptkit study mine.yaml --launcher slurm --slurm partition=gpu,timeout_min=60
""",
)
@study_options
@click.option(
    "--launcher",
    metavar="NAME",
    default="local",
    show_default=True,
    help="Backend that starts runs: local, ray, slurm, or a plugin's (fptkit list launchers).",
    shell_complete=completes("launcher"),
)
@click.option(
    "--slurm",
    "slurm",
    metavar="NAME=VALUE,...",
    default="",
    help="Parameters of Slurm jobs, e.g. partition=gpu,timeout_min=60.",
)
@click.option(
    "--launcher-option",
    "launcher_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of a plugin's launcher (fptkit show launcher NAME). Repeatable.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, limits.WORKERS),
    help="Concurrent runs (default: one per core or GPU; more runs share a GPU and its memory).",
)
@click.option(
    "--threads", type=click.IntRange(1, limits.THREADS), help="CPU threads per run (default: cores / workers)."
)
@track_option
@click.option("--retry-failed", is_flag=True, help="Retry runs that failed in an earlier call.")
@click.option("--dry-run", is_flag=True, help="Show the cells and the number of runs; run nothing.")
@click.option("--quiet", is_flag=True, help="Print failures and results only.")
@json_option
@plugin_option
def study(
    ledger_folder: Path,
    launcher: str,
    slurm: str,
    launcher_options: Sequence[str],
    workers: int | None,
    threads: int | None,
    trackers: Sequence[str],
    retry_failed: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    **plan: Any,
) -> None:
    """Run STUDY: a file, the name of a shipped study, or a recipe to study over seeds and learning rates.

    Finished runs are not repeated; call the same command again to continue a study that was stopped. Several calls may
    share the work in one ledger folder.
    """
    from fptkit.lab.studies.launchers.base import LauncherOptions
    from fptkit.lab.studies.launchers.choose import check_launcher, parse_options
    from fptkit.lab.studies.launchers.slurm import parse_parameters

    one_process_only("a study")
    given = parse_options(launcher_options)
    options = LauncherOptions(launcher, workers, threads, parse_parameters(slurm), given)
    with starting(f"reading study {plan['study']}", shown=not (quiet or as_json or dry_run)) as shows:
        loaded, overrides = load(plan)
        loaded = _tracked(loaded, trackers)
        check_launcher(options)
        if dry_run:
            _show_plan(loaded, ledger_folder, as_json=as_json)
            return
        outlive_readers()
        doing("looking for runs that are done")
        from fptkit.api.studies import StudyRequest, carry_out
        from fptkit.lab.studies.progress import make_view
        from fptkit.lab.studies.record import study_folder

        folder = study_folder(ledger_folder, loaded)
        command = ["fptkit", *sys.argv[1:]]

        def view() -> ProgressView:
            shows.end()
            return make_view(quiet=quiet)

        end = carry_out(
            StudyRequest(loaded, ledger_folder, options, overrides, command, retry_failed=retry_failed),
            view,
            lambda line: click.echo(line, err=True),
        )
    if not quiet:
        known = len(end.outcomes)
        click.echo(f"{_runs(end.started)} carried out, {known} in total; report: {folder / 'report.md'}", err=True)
    if not end.signal_number:
        _print(folder, as_json=as_json)
    _exit(end)


def _tracked(study: Study, trackers: Sequence[str]) -> Study:
    """The study with these listeners in the recipes of all cells."""
    from fptkit.recipe.track import tracked

    return replace(study, cells=tuple(replace(cell, loaded=tracked(cell.loaded, trackers)) for cell in study.cells))


def _deviation_lines(compared: Compared) -> list[str]:
    if not compared.deviations:
        return []
    from fptkit.lab.studies.locking.lock import numbered

    return ["this call deviates from the locked plan:", *numbered(compared.deviations).splitlines()]


def _show_plan(loaded: Study, ledger_folder: Path, *, as_json: bool) -> None:
    """``--dry-run``: cells, missing runs, and cells that are skipped. Leaves nothing on disk."""
    from fptkit.lab.studies.earlier import earlier_notes, earlier_runs, other_data_notes
    from fptkit.lab.studies.launchers.base import LauncherOptions
    from fptkit.lab.studies.launchers.choose import make_launcher
    from fptkit.lab.studies.ledger import FILE, Ledger
    from fptkit.lab.studies.locking.lock import compare
    from fptkit.lab.studies.progress import make_view
    from fptkit.lab.studies.record import study_folder
    from fptkit.lab.studies.runner import StudyRunner

    folder = study_folder(ledger_folder, loaded)
    with tempfile.TemporaryDirectory() as empty:
        place = ledger_folder if (ledger_folder / FILE).exists() else Path(empty)
        with Ledger(place) as ledger:
            view = make_view(quiet=True)
            runner = StudyRunner(loaded, ledger, lambda _: make_launcher(LauncherOptions(), place), view)
            plan = runner.plan()
            earlier = earlier_runs(runner.unmade(), ledger)
            notes = earlier_notes(loaded, folder, earlier, keep=False)
            notes += other_data_notes(runner.unmade(), ledger)
    for line in [*_deviation_lines(compare(loaded, folder)), *notes]:
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
                "runs": _from_to(cell),
                "to do": _from_to(cell, cell.done),
            }
            for cell in plan.cells
        ]
    )
    for place_of, reason in loaded.skipped.items():
        click.echo(f"skipped: {place_of}: {reason}")
    cells = "1 cell" if len(plan.cells) == 1 else f"{len(plan.cells)} cells"
    runs = _runs(plan.runs) if plan.most in (None, plan.runs) else f"{_from_to(plan)} runs"
    click.echo(f"{cells}, {runs}, {_from_to(plan, plan.done)} to do; nothing was run")
    if plan.undecided:
        click.echo(f"seeds are added where a comparison is undecided: {plan.undecided} of {plan.comparisons} now")


def _from_to(progress: CellProgress | StudyProgress, without: int = 0) -> str:
    """Number of runs, ``18 to 120`` if seeds may be added, without those that are done."""
    least = f"{progress.runs - without}"
    return least if progress.most in (None, progress.runs) else f"{least} to {progress.most - without}"


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
                "most_runs": cell.most or cell.runs,
                "missing": cell.runs - cell.done,
            }
            for cell in plan.cells
        ],
        "skipped": {str(place): reason for place, reason in loaded.skipped.items()},
        "runs": plan.runs,
        "most_runs": plan.most or plan.runs,
        "missing": plan.runs - plan.done,
    }


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
