"""``fptkit pretrain``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from fptkit.cli.shared import json_option, load_registry, print_json, recipe_options


@click.command(
    epilog="""\b
Examples:
  fptkit pretrain pretrain_language --set data.path=corpus.txt --output models/mine
  fptkit pretrain pretrain_language --set data.path=corpus.txt --output models/mine --resume
  fptkit run bit_xor_gpt2 --set backbone.weights=path:models/mine
"""
)
@click.argument("recipe")
@recipe_options
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the pretraining and of the finished model.",
)
@click.option("--resume", is_flag=True, help="Go on where the folder stopped; start there if it is empty.")
@json_option
def pretrain(
    recipe: str, profile: str | None, overrides: Sequence[str], output: Path, resume: bool, as_json: bool
) -> None:
    """Pretrain a small sequence model as RECIPE says, such as a GPT-2 on a text file."""
    from fptkit.pretraining.options import PretrainRecipe
    from fptkit.recipe.find import recipe_folders
    from fptkit.recipe.load import load_model

    loaded = load_model(
        recipe, PretrainRecipe, profile=profile, overrides=overrides, folders=recipe_folders(load_registry())
    )
    from fptkit.pretraining.language import pretrain as carry_out

    result = carry_out(loaded, output, resume=resume)
    if as_json:
        print_json(asdict(result))
    else:
        click.echo(
            f"{result.steps:,} steps, {result.tokens:,} tokens, {result.seconds:,.0f} s: "
            f"{result.validation_loss:.4f} nats per token, {result.validation_bits_per_byte:.4f} bits per byte on "
            f"held-out text\nuse it with: --set backbone.weights=path:{result.output}"
        )
