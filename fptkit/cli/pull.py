"""``fptkit pull``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fptkit.cli.shared import plugin_option, quiet_libraries


@click.command(
    epilog="""\b
Examples:
  fptkit pull me/first
  fptkit pull me/first@longer --output longer
  fptkit predict first new.csv
"""
)
@click.argument("place", metavar="OWNER/NAME[@REVISION]")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Default: NAME here."
)
@plugin_option
def pull(place: str, output: Path | None, plugin_files: Sequence[Path]) -> None:
    """Pull a run from the hub into a folder that fptkit predict, evaluate, embed and export take.

    Digests are checked. Code that the run names is never executed: if its recipe uses plugin files, give yours with
    --plugin. The frozen part is not pulled; it comes from its own source when the run is used.
    """
    quiet_libraries()
    from fptkit.errors import CheckpointError, DataError
    from fptkit.inference.sharing.pull import pull as carry_out

    try:
        click.echo(carry_out(place, output, plugin_files=plugin_files))
    except CheckpointError as err:
        err.exit_code = DataError.exit_code  # no run failed: files are damaged
        raise
