"""Reproduce the tables of the papers: as many figures as fit into a budget of GPU hours, ours beside theirs.

    python benchmarks/reproduce.py --dry-run                      the whole plan, with hours
    python benchmarks/reproduce.py --gpu-hours 8                  as much as fits; the same command continues
    python benchmarks/reproduce.py --gpu-hours 8 --only 'fpt2021/mnist/*'
    python benchmarks/reproduce.py --report                       what is finished, beside the papers' figures
    python benchmarks/reproduce.py --profile smoke --only fpt2021/bit_xor    seconds a job: does it run?

Needs a model hub for the weights, the data, and one GPU. ``docs/reproduction.md`` has the plan, and what its hours
assume.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from fptkit.cli.shared import print_rows
from fptkit.errors import FptkitError, UsageError
from fptkit.files import locked_folder
from fptkit.lab.benchmarking.hours import ASSUMED, Speed, shown_hours
from fptkit.lab.reproduction.carry_out import Outcome, Settings, carry_out, in_order
from fptkit.lab.reproduction.compared import together
from fptkit.lab.reproduction.plan import PAPER, Job, chosen, plan
from fptkit.lab.reproduction.process import start_process
from fptkit.lab.reproduction.tables import FOLDER, Planned, dry_run_rows
from fptkit.registry import Registry, load_plugins


@click.command(help=(__doc__ or "").replace("\n\n    ", "\n\n\b\n    ", 1))
@click.option("--gpu-hours", "hours", type=float, metavar="N", help="Budget in hours, over all calls in one folder.")
@click.option("--only", multiple=True, metavar="PATTERN", help="Jobs by name, such as 'fpt2021/mnist/*'. Repeatable.")
@click.option("--dry-run", is_flag=True, help="Print the plan with its hours and commands; run nothing.")
@click.option("--report", is_flag=True, help="Print what is finished beside the papers' figures; run nothing.")
@click.option("--profile", type=click.Choice([PAPER, "smoke"]), default=PAPER, show_default=True, help="Sizes.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=FOLDER, show_default=True,
              help="Folder of all runs and results.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="TFLOPS", default=ASSUMED.tflops,
              show_default=True, help="Assumed rate of the GPU in TFLOP/s.")  # fmt: skip
@click.option("--step-ms", type=click.FloatRange(min=0), metavar="MS", default=1000 * ASSUMED.step_s,
              show_default=True, help="Assumed least duration of a step in milliseconds.")  # fmt: skip
@click.option("--count", is_flag=True, help="Count the operations of every job again; for developers, ten minutes.")
def main(
    hours: float | None,
    only: Sequence[str],
    dry_run: bool,
    report: bool,
    profile: str,
    folder: Path,
    rate: float,
    step_ms: float,
    count: bool,
) -> None:
    """Carry out the plan, or show it."""
    registry = load_plugins(selection="")
    jobs = chosen(plan(), only)
    settings = Settings(folder, hours, profile, replace(ASSUMED, tflops=rate, step_s=step_ms / 1000))
    if count:
        write_counts(jobs, registry)
    elif dry_run:
        show_plan(jobs, registry, settings)
    elif report:
        show_report(jobs, settings)
    else:
        check(settings)
        with locked_folder(folder, "reproduction"):
            outcome = carry_out(jobs, settings, start_process, lambda line: click.echo(line, err=True))
        show_report(jobs, settings)
        show_end(outcome, settings)


def check(settings: Settings) -> None:
    """Refuse what would waste hours.

    Raises:
        UsageError: no budget is given, or there is no GPU.
    """
    if settings.profile != PAPER:
        return
    if settings.hours is None:
        raise UsageError("give a budget: --gpu-hours N; or --dry-run to see the plan, or --profile smoke to try it")
    import torch

    if not torch.cuda.is_available():
        raise UsageError("there is no GPU, and the plan's hours are those of one; --profile smoke runs on CPUs")


def show_plan(jobs: Sequence[Job], registry: Registry, settings: Settings) -> None:
    """Print the plan, the cheapest jobs first."""
    ordered = in_order(jobs, settings.speed)
    plans = [Planned(job, registry, str(settings.folder), settings.speed) for job in ordered]
    rows = dry_run_rows(plans, str(settings.folder), settings.hours)
    print_rows(rows)
    total = shown_hours(sum(plan.seconds for plan in plans))
    fit = "" if settings.hours is None else f", {sum(row['all'] != 'does not fit' for row in rows)} of them fit"
    click.echo(f"{len(plans)} jobs, {total} GPU hours{fit}; {assumption(settings.speed)}; nothing was run")


def assumption(speed: Speed) -> str:
    """What the hours assume."""
    return speed.assumption(recurrent=True)


def show_report(jobs: Sequence[Job], settings: Settings) -> None:
    """Print our figures beside the papers'."""
    from rich.console import Console

    from fptkit.lab.reporting.against import section
    from fptkit.lab.reporting.terminal import print_section

    found = together(jobs, settings.folder, settings.profile)
    if not found:
        click.echo(f"{settings.folder} holds no finished job of this profile ({settings.profile})")
    for paper, results in found.items():
        if results.smoke:
            click.echo("profile smoke: the figures mean nothing")
        print_section(section(results, paper, one_sided=False), Console(markup=False, highlight=False))


def show_end(outcome: Outcome, settings: Settings) -> None:
    """Print how far the plan got, and exit as it ended: 130 if it was interrupted, 1 if a job failed."""
    for name, reason in outcome.failed.items():
        click.echo(f"error: {name}: {reason}", err=True)
    click.echo(
        f"{len(outcome.finished)} jobs finished, {len(outcome.failed)} failed, {len(outcome.left)} left; "
        f"{shown_hours(outcome.spent_s)} hours spent so far",
        err=True,
    )
    if outcome.left:
        used = settings.hours is not None and outcome.spent_s >= 3600 * settings.hours
        again = "a larger --gpu-hours continues" if used or not outcome.stopped else "the same command continues"
        click.echo(again, err=True)
    if outcome.stopped or outcome.failed:
        sys.exit(1 if outcome.failed else 130)


def write_counts(jobs: Sequence[Job], registry: Registry) -> None:
    """Count the operations of jobs again, and write them after each."""
    from fptkit.lab.reproduction import counts

    path = Path(counts.__file__).with_name(counts.FILE)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for job in jobs:
        kept[job.name] = counts.count(job, registry).model_dump()
        click.echo(job.name, err=True)
    kept[counts.PRETRAINING] = counts.count_pretraining(registry).model_dump()
    lines = [f"  {json.dumps(name)}: {json.dumps(kept[name])}" for name in sorted(kept)]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the script; errors are one message without a traceback."""
    try:
        main(arguments)
    except FptkitError as err:
        click.echo(f"error: {err}", err=True)
        sys.exit(err.exit_code)


if __name__ == "__main__":
    command()
