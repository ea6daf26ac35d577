"""``fptkit pretrain``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from fptkit.cli.shared import json_option, load_registry, new_run_folder, print_json, recipe_options


@click.command(
    epilog="""\b
Examples:
  fptkit pretrain pretrain_language --set data.path=corpus.txt
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
    help="Folder of the pretraining and of the finished model. Default: runs/RECIPE-DATE-TIME.",
)
@click.option("--resume", is_flag=True, help="Go on where the folder stopped; start there if it is empty.")
@click.option("--quiet", is_flag=True, help="Print warnings and errors only.")
@json_option
def pretrain(
    recipe: str,
    profile: str | None,
    overrides: Sequence[str],
    output: Path | None,
    resume: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Pretrain a small sequence model as RECIPE says, such as a GPT-2 on a text file."""
    from fptkit.errors import UsageError
    from fptkit.pretraining.options import PretrainRecipe
    from fptkit.recipe.find import find_recipe, recipe_folders, recipe_kind
    from fptkit.recipe.load import load_model, shown_path

    if resume and output is None:
        raise UsageError("--resume needs --output, the folder of the pretraining to go on with")
    folders = recipe_folders(load_registry())
    path = find_recipe(recipe, folders)
    if recipe_kind(path) == "run":
        raise UsageError(f"{shown_path(path)}: this is a recipe for fptkit run; use: fptkit run {recipe}")
    loaded = load_model(recipe, PretrainRecipe, profile=profile, overrides=overrides, folders=folders)
    # Heavy imports only now: a wrong recipe is told at once.
    from fptkit.pretraining.language import pretrain as carry_out
    from fptkit.pretraining.loop import log_to_stderr

    log = (lambda line: None) if quiet else log_to_stderr
    folder = output or new_run_folder(path.stem)
    log(f"output folder: {folder}")
    result = carry_out(loaded, folder, resume=resume, log=log)
    if as_json:
        print_json(asdict(result))
    elif not quiet:
        click.echo(
            f"{result.steps:,} steps, {result.tokens:,} tokens, {result.seconds:,.0f} s: "
            f"{result.validation_loss:.4f} nats per token, {result.validation_bits_per_byte:.4f} bits per byte on "
            f"held-out text\nuse it with: --set backbone.weights=path:{result.output}"
        )
