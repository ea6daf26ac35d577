"""What the commands share that use a trained run: the run, its inputs, device, progress."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fptkit.cli.completion import run_folders
from fptkit.cli.shared import one_process_only, plugin_option, quiet_libraries
from fptkit.engine.terminal import console as make_console
from fptkit.specs import limits

if TYPE_CHECKING:
    from fptkit.inference.trained import TrainedModel

Command = TypeVar("Command", bound=Callable[..., Any])


def run_argument(command: Command) -> Command:
    """``RUN``, a run folder."""
    return click.argument("run", type=click.Path(path_type=Path), shell_complete=run_folders, metavar="RUN")(command)


def input_arguments(command: Command) -> Command:
    """``INPUT...``, files or folders."""
    return click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")(command)


def model_options(command: Command) -> Command:
    """``--batch-size``, ``--device``, ``--weights`` and ``--plugin``."""
    command = weights_option(plugin_option(command))
    command = click.option(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1.", show_default=True
    )(command)
    return click.option(
        "--batch-size",
        type=click.IntRange(1, limits.BATCH),
        help="Examples of a batch. Default: that of the recipe's evaluations.",
    )(command)


def weights_option(command: Command) -> Command:
    """``--weights``."""
    return click.option(
        "--weights",
        metavar="ENTRY",
        help="Where the backbone's weights are, e.g. path:FOLDER, if not where the recipe says; the same weights.",
    )(command)


def loaded_model(run: Path, device: str, plugin_files: Sequence[Path], weights: str | None = None) -> TrainedModel:
    """The model of a run, with the number of threads of its recipe.

    Raises:
        FptkitError: it cannot be loaded.
    """
    one_process_only("this command")
    quiet_libraries()
    import torch

    from fptkit.errors import CheckpointError, DataError
    from fptkit.inference.trained import load

    try:
        model = load(run, device=device, plugin_files=plugin_files, weights=weights)
    except CheckpointError as err:
        err.exit_code = DataError.exit_code  # no run failed: files are damaged
        raise
    if (threads := model.loaded.recipe.threads) is not None:
        torch.set_num_threads(threads)
    return model


def batch_size_of(model: TrainedModel, given: int | None) -> int:
    """Examples of a batch."""
    return given or model.loaded.recipe.train.evaluation_batch_size


def entries_of(inputs: Sequence[str], output: Path | None) -> list[str]:
    """Inputs as entries of a source.

    Raises:
        UsageError: the output would replace an input.
    """
    from fptkit.errors import UsageError
    from fptkit.inference.inputs import PATH, entry_of

    entries = [entry_of(place) for place in inputs]
    for entry in entries:
        place = Path(entry.removeprefix(PATH))
        if output is not None and output.exists() and place.exists() and output.samefile(place):
            raise UsageError(f"--output {output} is an input, too; choose another file")
    return entries


def print_notes(notes: Sequence[str]) -> None:
    """Print on stderr what is to be known about the inputs."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


@contextlib.contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, if that is a terminal; gives a function that advances it.

    Args:
        total: examples.
        what: what happens.
    """
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=make_console(stderr=True), expand=True, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)
