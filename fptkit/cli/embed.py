"""``fptkit embed``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fptkit.cli.trained import (
    batch_size_of,
    entries_of,
    input_arguments,
    loaded_model,
    model_options,
    print_notes,
    progress,
    run_argument,
)


@click.command(
    epilog="""\b
Examples:
  fptkit embed runs/birds new_birds.csv --output embeddings.npz
  fptkit embed runs/machines recordings/ --output embeddings.parquet
"""
)
@run_argument
@input_arguments
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="File for the embeddings: .npz, .npy, .parquet or .csv; replaced if it exists.",
)
@model_options
def embed(
    run: Path,
    inputs: Sequence[str],
    output: Path,
    batch_size: int | None,
    device: str,
    weights: str | None,
    plugin_files: Sequence[Path],
) -> None:
    """Write the vectors that the head of RUN reads for new INPUTs: what encoder and backbone make of them.

    RUN and INPUT are as in fptkit predict. A vector has as many numbers as the backbone is wide; tagging gives one for
    each token.
    """
    from fptkit.inference.tables import check_place
    from fptkit.inference.vectors import ENDINGS, writing_vectors
    from fptkit.interfaces import Examples

    check_place(output, ENDINGS)
    entries = entries_of(inputs, output)
    model = loaded_model(run, device, plugin_files, weights)
    found = model.read(entries)
    print_notes(found.notes if isinstance(found, Examples) else ())
    single = model.one_vector
    with progress(len(found), "embedding") as advance, writing_vectors(output, single=single) as add:
        for given, vectors in model.vectors(found, batch_size=batch_size_of(model, batch_size)):
            add(given.names, vectors)
            advance(len(vectors))
    click.echo(f"{len(found):,} embeddings are in {output}", err=True)
