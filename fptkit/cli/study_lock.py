"""``fptkit study lock``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fptkit.cli.shared import json_option, one_process_only, plugin_option, print_json
from fptkit.cli.study_options import load, study_options

if TYPE_CHECKING:
    from fptkit.lab.studies.plan import Study
    from fptkit.lab.studies.progress import StudyProgress


@click.command(
    epilog="""\b
Examples:
  fptkit study lock mine.yaml
  fptkit study lock rq2_pretraining_modality --profile nano --seeds 10
"""
)
@study_options
@click.option("--late", is_flag=True, help="Lock even if runs of the study exist; the plan and every report say so.")
@json_option
@plugin_option
def lock(ledger_folder: Path, late: bool, as_json: bool, **plan: Any) -> None:
    """Lock the plan of STUDY before its first run: write down what will be run, tested and excluded.

    Runs nothing. Every later call of `fptkit study` compares itself with the locked plan, and lists each difference at
    the top of the report. The plan is in plan.json, in the study's folder.
    """
    from fptkit.lab.studies.locking import lock as locking
    from fptkit.lab.studies.locking.content import plan_of
    from fptkit.lab.studies.locking.plan_file import FILE
    from fptkit.lab.studies.record import study_folder

    one_process_only("a study")
    loaded, _ = load(plan)
    folder = study_folder(ledger_folder, loaded)
    progress, started = _runs(loaded, ledger_folder, folder)
    file, new = locking.lock(plan_of(loaded), folder, runs=started, late=late)
    if as_json:
        print_json(file.content)
        return
    when = f"{'locked' if new else 'is locked already, since'} {file.locked}"
    click.echo(f"{folder / FILE}: {when}{f', {file.late}' if file.late else ''}")
    cells = "1 cell" if len(loaded.cells) == 1 else f"{len(loaded.cells)} cells"
    most = "" if progress.most is None else f" to {progress.most}"
    click.echo(f"{cells}, {progress.runs}{most} run{'' if progress.runs == 1 and not most else 's'} planned")
    click.echo(f"digest {file.digest}")
    if new:
        click.echo("publish the digest, or keep it with someone else: then anyone can check when this plan was made")


def _runs(loaded: Study, ledger_folder: Path, folder: Path) -> tuple[StudyProgress, int]:
    """How many runs the study needs, as far as search and seeds are known, and number of its runs that exist."""
    from fptkit.lab.studies.launchers.base import LauncherOptions
    from fptkit.lab.studies.launchers.choose import make_launcher
    from fptkit.lab.studies.ledger import FILE, Ledger
    from fptkit.lab.studies.locking.lock import runs_so_far
    from fptkit.lab.studies.progress import make_view
    from fptkit.lab.studies.runner import StudyRunner

    with tempfile.TemporaryDirectory() as empty:
        place = ledger_folder if (ledger_folder / FILE).exists() else Path(empty)
        with Ledger(place) as ledger:
            runner = StudyRunner(
                loaded, ledger, lambda _: make_launcher(LauncherOptions(), place), make_view(quiet=True)
            )
            planned = runner.plan()
            started = runs_so_far(runner.known(), runner.unmade(), ledger, folder)
    return planned, len(started)
