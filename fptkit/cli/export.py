"""``fptkit export``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fptkit.cli.shared import json_option, plugin_option, print_json
from fptkit.cli.trained import loaded_model, run_argument, weights_option

if TYPE_CHECKING:
    from fptkit.inference.exports.formats import Format
    from fptkit.inference.exports.write import Exported

FORMATS: tuple[Format, ...] = ("torch-export", "onnx", "safetensors")


@click.command(
    epilog="""\b
Examples:
  fptkit export runs/first --to torch-export
  fptkit export runs/first --to onnx --output first-onnx
  fptkit export runs/first --to safetensors
"""
)
@run_argument
@click.option("--to", type=click.Choice(FORMATS), required=True, help="Format; safetensors is a delta file.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Default: RUN-FORMAT here."
)
@weights_option
@json_option
@plugin_option
def export(
    run: Path, to: str, output: Path | None, weights: str | None, as_json: bool, plugin_files: Sequence[Path]
) -> None:
    """Export the model of RUN, a run folder, a folder that was pulled, or a delta file, into a new folder.

    torch-export and onnx hold the whole model in float32 and need no fptkit. safetensors is a delta file: only what
    training changed, for the same backbone. Each export has a README.md on how to load it, and is compared with the
    run; one that does not agree is not written.
    """
    from fptkit.inference.exports.formats import check_packages
    from fptkit.inference.exports.write import export as write

    chosen: Format = next(each for each in FORMATS if each == to)
    check_packages(chosen)
    model = loaded_model(run, "cpu", plugin_files, weights)
    name = run.resolve().name.removesuffix(".safetensors")
    exported = write(model, chosen, output or Path(f"{name}-{to}"))
    if as_json:
        print_json({"folder": str(exported.folder), "files": exported.files, "check": exported.agreement})
    else:
        _print(exported)


def _print(exported: Exported) -> None:
    for name, size in exported.files.items():
        click.echo(f"{exported.folder / name}  {size:,} bytes")
    for line in exported.agreement:
        click.echo(line)
