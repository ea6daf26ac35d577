"""``fptkit push``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fptkit.cli.shared import json_option, plugin_option, print_json, quiet_libraries
from fptkit.cli.trained import run_argument


@click.command(
    epilog="""\b
Examples:
  fptkit push runs/first me/first
  fptkit push runs/first me/first --private --licence mit
  fptkit push runs/first me/first --revision longer
"""
)
@run_argument
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Only its owner may see the repository.")
@click.option("--revision", metavar="BRANCH", help="Push to this branch; default: the main branch.")
@click.option(
    "--license",
    "--licence",
    "licence",
    default="",
    metavar="NAME",
    help="Licence of the trained tensors, e.g. mit or apache-2.0.",
)
@click.option(
    "--dry-run",
    "dry_run",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write what would be pushed into this folder, and push nothing.",
)
@json_option
@plugin_option
def push(
    run: Path,
    repository: str,
    private: bool,
    revision: str | None,
    licence: str,
    dry_run: Path | None,
    as_json: bool,
    plugin_files: Sequence[Path],
) -> None:
    """Push RUN to the hub as OWNER/NAME, with a model card.

    Pushed are recipe, preparation, trained tensors, summary, metrics and the card. Never pushed are data, the frozen
    part, checkpoints, plugins, and folders of this machine. The hub is Hugging Face, or the address in HF_ENDPOINT.
    """
    quiet_libraries()
    from fptkit.inference.sharing.push import prepared
    from fptkit.inference.sharing.push import push as carry_out

    if dry_run is not None:
        _write(dry_run, prepared(run, repository, licence=licence, plugin_files=plugin_files)[0])
        return
    pushed = carry_out(run, repository, revision=revision, private=private, licence=licence, plugin_files=plugin_files)
    if pushed.card.licence == "unknown":
        click.echo("note: the card states no licence, so nobody may use the model; name one by --licence", err=True)
    if as_json:
        print_json({"place": pushed.place, "files": pushed.files})
        return
    for name, size in pushed.files.items():
        click.echo(f"{name}  {size:,} bytes")
    click.echo(pushed.place)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    from fptkit.files import new_folder, write_bytes

    with new_folder(folder) as partial:
        for name, data in files.items():
            write_bytes(partial / name, data)
    click.echo(f"{folder}: {len(files)} files; nothing was pushed")
