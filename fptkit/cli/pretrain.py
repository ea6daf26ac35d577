"""``fptkit pretrain``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fptkit.cli.completion import recipe_names
from fptkit.cli.shared import (
    json_option,
    load_registry,
    one_process_only,
    plugin_option,
    print_json,
    recipe_options,
)
from fptkit.cli.starting import Starting, starting
from fptkit.sources.activity import doing

if TYPE_CHECKING:
    from fptkit.lab.pretraining.language import PretrainResult
    from fptkit.lab.pretraining.options import PretrainRecipe, SyntheticRecipe
    from fptkit.lab.pretraining.recipes import LoadedTaskPretraining
    from fptkit.lab.pretraining.synthetic import SyntheticResult
    from fptkit.lab.pretraining.task import TaskPretrainResult


@click.command(
    epilog="""\b
Examples:
  fptkit pretrain pretrain_language --set data.path=corpus.txt
  fptkit pretrain pretrain_language --set data.path=corpus.txt --output models/mine --resume
  fptkit pretrain pretrain_bit_memory --output models/bits
  fptkit pretrain pretrain_synthetic --profile iid
  fptkit run bit_xor_gpt2 --set backbone.weights=path:models/mine
"""
)
@click.argument("recipe", shell_complete=recipe_names)
@recipe_options
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the pretraining and of the finished weights. Default: runs/RECIPE-DATE-TIME.",
)
@click.option("--resume", is_flag=True, help="Continue the pretraining in the folder; start it if the folder is empty.")
@click.option("--quiet", is_flag=True, help="Print warnings and errors only.")
@json_option
@plugin_option
def pretrain(
    recipe: str,
    profile: str | None,
    overrides: Sequence[str],
    output: Path | None,
    resume: bool,
    quiet: bool,
    as_json: bool,
    plugin_files: Sequence[Path],
) -> None:
    """Pretrain a small sequence model from RECIPE: on text, on synthetic symbols, or on a task.

    The result is a folder of weights for backbone.weights=path:FOLDER.
    """
    from fptkit.engine.terminal import outlive_readers
    from fptkit.errors import UsageError
    from fptkit.lab.pretraining.options import PretrainRecipe, SyntheticRecipe
    from fptkit.lab.pretraining.recipes import load_pretraining

    one_process_only("pretraining")
    if resume and output is None:
        raise UsageError("--resume needs --output, the folder of the pretraining to continue")
    outlive_readers()
    from fptkit.files import new_run_folder

    with starting(f"reading recipe {recipe}", shown=not (quiet or as_json), lines=False) as shows:
        path, loaded = load_pretraining(
            recipe, profile=profile, overrides=overrides, plugin_files=plugin_files, registry_loader=load_registry
        )
        folder = output or new_run_folder(path.stem)
        doing("importing torch")
        result: PretrainResult | SyntheticResult | TaskPretrainResult
        if isinstance(loaded, (PretrainRecipe, SyntheticRecipe)):
            result, text = _on_tokens(loaded, folder, resume=resume, quiet=quiet)
        else:
            result, text = _on_task(loaded, folder, shows, resume=resume, quiet=quiet)
    if as_json:
        print_json(asdict(result))
    elif not quiet:
        click.echo(f"{text}\nuse it with: --set backbone.weights=path:{result.output}")


def _on_tokens(
    recipe: PretrainRecipe | SyntheticRecipe, folder: Path, *, resume: bool, quiet: bool
) -> tuple[PretrainResult | SyntheticResult, str]:
    """Next-token prediction: the result, and a line about it."""
    # Heavy imports only now, so that errors of the recipe are reported at once.
    from fptkit.lab.pretraining import language, synthetic
    from fptkit.lab.pretraining.loop import log_to_stderr
    from fptkit.lab.pretraining.options import PretrainRecipe

    log = (lambda line: None) if quiet else log_to_stderr
    log(f"output folder: {folder}")
    if isinstance(recipe, PretrainRecipe):
        text = language.pretrain(recipe, folder, resume=resume, log=log)
        return text, (
            f"{text.steps:,} steps, {text.tokens:,} tokens, {text.seconds:,.0f} s: "
            f"{text.validation_loss:.4f} nats per token, {text.validation_bits_per_byte:.4f} bits per byte on "
            "held-out text"
        )
    symbols = synthetic.pretrain(recipe, folder, resume=resume, log=log)
    rate = symbols.entropy_rate
    return symbols, (
        f"{symbols.steps:,} steps, {symbols.tokens:,} symbols, {symbols.seconds:,.0f} s: "
        f"{symbols.validation_loss:.4f} nats per symbol on held-out symbols; the source itself has "
        f"{symbols.source_loss:.4f}" + ("" if rate is None else f", its entropy rate is {rate:.4f}")
    )


def _on_task(
    loaded: LoadedTaskPretraining, folder: Path, shows: Starting, *, resume: bool, quiet: bool
) -> tuple[TaskPretrainResult, str]:
    """A run that trains all weights: the result, and a line about it."""
    from fptkit.cli.console import console_listener, describe_metrics
    from fptkit.lab.pretraining.task import pretrain as carry_out

    with console_listener(quiet=quiet, started=shows.end) as listener:
        result = carry_out(loaded, folder, resume=resume, listeners=[listener])
        if not listener.started and not quiet:
            click.echo(f"{folder} holds a finished run: nothing was trained, the weights are exported again", err=True)
    figures = "; ".join(
        f"{split} {describe_metrics(metrics, result.fractions)}" for split, metrics in result.test.items()
    )
    return result, f"{result.steps:,} steps, {result.seconds:,.0f} s, weights as stored: {figures}"
