"""``fptkit verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fptkit.cli.shared import json_option, print_json

if TYPE_CHECKING:
    from fptkit.lab.verification.differences import Findings

SHOWN = 40
"""Largest number of differences that are printed; --json prints all."""


@click.command(
    epilog="""\b
Examples:
  fptkit verify studies/rothermel-nano
  fptkit verify rothermel.zip --rerun 3
  fptkit verify studies/runs/63dff38aaa53f1af
"""
)
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--quick", is_flag=True, help="Do not read checkpoints and other tensor files, which may be large.")
@click.option("--rerun", "reruns", type=click.IntRange(min=1), metavar="N", help="Repeat N random runs, and compare.")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Seed that draws the runs to repeat (default: from the results)."
)
@json_option
def verify(folder: Path, quick: bool, reruns: int | None, seed: int | None, as_json: bool) -> None:
    """Check that every figure of a study follows from its runs, and that no file was changed by hand.

    FOLDER is a study's folder, a bundle (.zip), or the folder of a single run. Exit status 0 if everything agrees, 1 if
    not, with a list of what differs.

    --rerun trains N runs again from their resolved recipes. On the same kind of processor, with the same versions, the
    trained tensors must have the same bits; elsewhere metrics must agree within a tolerance.
    """
    from fptkit.errors import UsageError
    from fptkit.lab.verification.kinds import Options, verify_path

    if seed is not None and not reruns:
        raise UsageError("--seed draws the runs to repeat: use it with --rerun N")
    options = Options(tensors=not quick, reruns=reruns or 0, seed=seed, say=lambda text: click.echo(text, err=True))
    findings = verify_path(folder, options)
    if as_json:
        print_json(findings.as_json())
    else:
        _print(findings, folder)
    if findings.differences:
        click.get_current_context().exit(1)


def _print(findings: Findings, folder: Path) -> None:
    """Print notes on stderr, differences and the result on stdout."""
    for note in findings.notes:
        click.echo(f"note: {note}", err=True)
    if findings.added:
        more = f" and {len(findings.added) - 1} more files were" if len(findings.added) > 1 else " was"
        click.echo(f"note: {findings.added[0]}{more} added since the results were written; not covered", err=True)
    for difference in findings.differences[:SHOWN]:
        click.echo(f"  {difference}")
    if len(findings.differences) > SHOWN:
        click.echo(f"  and {len(findings.differences) - SHOWN} more (--json prints all)")
    count = len(findings.differences)
    result = "all agree" if not count else f"{count} difference{'' if count == 1 else 's'}"
    click.echo(f"{folder}: {findings.runs} runs, {findings.files} digests: {result}")
