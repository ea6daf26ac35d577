"""``fptkit bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from fptkit.cli.report import find_study, studies


@click.command(
    epilog="""\b
Examples:
  fptkit bundle rothermel-nano
  fptkit bundle studies/rothermel-nano --output rothermel.zip --checkpoints
  fptkit bundle rothermel-nano --output rothermel.tar.xz
"""
)
@click.argument("study", shell_complete=studies)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="FILE.zip, or FILE.tar.xz, about a fourth as large. Default: STUDY.zip here.",
)
@click.option("--checkpoints", is_flag=True, help="Include checkpoints and trained tensors.")
@click.option(
    "--license",
    "--licence",
    "license_text",
    default="",
    metavar="TEXT|URL",
    help="License of the bundle, e.g. a Creative Commons URL.",
)
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("studies"),
    show_default=True,
    help="Folder of the studies.",
)
def bundle(study: str, output: Path | None, checkpoints: bool, license_text: str, ledger: Path) -> None:
    """Write STUDY, a folder of results or the name of a study in the ledger folder, as one file to publish.

    It holds the reports, the plan, every figure, and recipe, metrics and summary of every run, as JSON, CSV and plain
    text with a README, described as an RO-Crate. `fptkit verify` checks it.
    """
    from fptkit.lab.verification.bundles.bundle import write_bundle

    folder = find_study(study, ledger)
    target = output or Path(f"{folder.resolve().name}.zip")
    names = write_bundle(folder, target, checkpoints=checkpoints, license_text=license_text)
    click.echo(f"{target}: {len(names)} files, {target.stat().st_size / 2**20:.1f} MiB")
