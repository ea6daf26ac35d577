"""``fptkit verify``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fptkit.cli.report import studies
from fptkit.cli.shared import json_option, load_registry, plugin_option, print_json
from fptkit.specs import limits

if TYPE_CHECKING:
    from fptkit.lab.verification.differences import Findings

SHOWN = 40
"""Largest number of differences that are printed; --json prints all."""


@click.command(
    epilog="""\b
Examples:
  fptkit verify studies/rothermel-nano
  fptkit verify rothermel.zip --rerun 3
  fptkit verify rothermel.zip --run 63dff38aaa53f1af
  fptkit verify studies/runs/63dff38aaa53f1af
"""
)
@click.argument("folder", shell_complete=studies)
@click.option("--quick", is_flag=True, help="Do not read checkpoints and other tensor files, which may be large.")
@click.option(
    "--rerun", "reruns", type=click.IntRange(1, limits.RUNS), metavar="N", help="Repeat N random runs, and compare."
)
@click.option(
    "--run",
    "names",
    multiple=True,
    metavar="NAME",
    help="Repeat this run, named after its folder, and compare. Repeatable.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), help="Seed that draws the runs to repeat (default: from the results)."
)
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("studies"),
    show_default=True,
    help="Folder of the studies.",
)
@json_option
@plugin_option
def verify(
    folder: str,
    quick: bool,
    reruns: int | None,
    names: tuple[str, ...],
    seed: int | None,
    ledger: Path,
    as_json: bool,
    plugin_files: Sequence[Path],
) -> None:
    """Check that every figure of a study follows from its runs, and that no file was changed by hand.

    FOLDER is a study's folder or its name in the ledger folder, a bundle (.zip, .tar.xz), or the folder of a
    single run. Exit status 0 if everything agrees, 1 if not, with a list of what differs.

    --rerun trains N runs again from their resolved recipes, --run one of your choice; a report names the folder of
    each run. On the same kind of processor, with the same versions, the trained tensors must have the same bits;
    elsewhere metrics must agree within a tolerance.
    """
    from fptkit.errors import UsageError
    from fptkit.lab.verification.kinds import Options, verify_path

    if seed is not None and not reruns:
        raise UsageError("--seed draws the runs to repeat: use it with --rerun N")
    load_registry(plugin_files)
    options = Options(not quick, reruns or 0, seed, names, say=lambda text: click.echo(text, err=True))
    path = _path(folder, ledger)
    findings = verify_path(path, options)
    if as_json:
        print_json(findings.as_json())
    else:
        _print(findings, path)
    if findings.differences:
        click.get_current_context().exit(1)


def _path(given: str, ledger: Path) -> Path:
    """The path that is given, or the folder of a study of that name.

    Raises:
        UnknownNameError: there is neither.
    """
    from fptkit.errors import UnknownNameError
    from fptkit.lab.studies.results import RESULTS

    for path in (Path(given), ledger / given):
        if path.exists():
            return path
    known = [path.parent.name for path in ledger.glob(f"*/{RESULTS}")]
    raise UnknownNameError("file, folder or study", given, known, f"studies are looked up in {ledger}/ (--ledger)")


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
