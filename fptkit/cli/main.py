"""The ``fptkit`` command: finds the subcommand, and turns errors into text and exit codes."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import click

from fptkit import __version__
from fptkit.engine.team.launch import process_count, process_rank
from fptkit.engine.terminal import is_lost, lost_output, take_over
from fptkit.errors import FptkitError, Interrupted, PeerError, clipped, visible
from fptkit.specs.guard import plugin_faults
from fptkit.specs.surroundings import user_interrupts

COMMANDS = {
    "run": ("fptkit.cli.run:run", "Train and evaluate a recipe."),
    "study": ("fptkit.cli.study:study", "Compare arms over tasks, learning rates and seeds."),
    "predict": ("fptkit.cli.predict:predict", "Predict for new files with what a run trained."),
    "evaluate": ("fptkit.cli.evaluate:evaluate", "Evaluate a trained run on a split, or on other labelled files."),
    "embed": ("fptkit.cli.embed:embed", "Write what a run's model makes of new files, as vectors."),
    "export": ("fptkit.cli.export:export", "Export what a run trained: torch.export, ONNX, or a delta file."),
    "push": ("fptkit.cli.push:push", "Push a run to a hub, with a model card."),
    "pull": ("fptkit.cli.pull:pull", "Pull a run from a hub."),
    "list": ("fptkit.cli.listing:list_", "List components, weights, recipes, studies or published results."),
    "show": ("fptkit.cli.show:show", "Show a component with its options, or a recipe."),
    "validate": ("fptkit.cli.validate:validate", "Check recipes without running them."),
    "report": ("fptkit.cli.report:report", "Report the results of a study, also beside published figures."),
    "verify": ("fptkit.cli.verify:verify", "Check that the figures of a study follow from its runs."),
    "bundle": ("fptkit.cli.bundle:bundle", "Write a study with its runs as one zip file to publish."),
    "bench": ("fptkit.cli.bench:bench", "Measure the training throughput of a recipe."),
    "copy": ("fptkit.cli.copy:copy", "Copy a shipped recipe to edit it."),
    "new": ("fptkit.cli.new:new", "Create a recipe for your own data, or a plugin package."),
    "plugins": ("fptkit.cli.plugins:plugins", "List the plugins, and why one failed to load."),
    "pretrain": ("fptkit.cli.pretrain:pretrain", "Pretrain a small sequence model."),
    "data": ("fptkit.cli.data:data", "Show and download data sets."),
    "schema": ("fptkit.cli.schema:schema", "Print the JSON Schema of recipes."),
}
"""Command -> its location and its one-line help, so that ``--help`` imports none of them."""


class LazyGroup(click.Group):
    """A group that imports a command only when it is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Names of the commands, in the order users need them."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command called ``name``, or None."""
        if name not in COMMANDS:
            return None
        module_name, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module_name), attribute)
        return command

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        """Like click's, but suggests the nearest name for a misspelt one."""
        from fptkit.errors import nearest

        name = args[0]
        if name not in COMMANDS and (suggestion := nearest(name, COMMANDS)):
            context.fail(f"No such command '{name}'. Did you mean '{suggestion}'?")
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fptkit", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """Turn a pretrained sequence model into an engine for any modality, and find out whether that helps.

    \b
    fptkit run homology_gpt2            train the shipped recipe
    fptkit list backbones               list what is available
    fptkit show task bit_memory         see its options

    \b
    Enable shell completion (bash_source, zsh_source or fish_source) with:
    eval "$(_FPTKIT_COMPLETE=bash_source fptkit)"
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 ok, 1 a run failed, 2 usage or recipe, 3 data or weights missing, 130 or 143
    interrupted."""
    reported = not process_rank()
    given, debug = _take_debug(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _carried_out(given)
    except KeyboardInterrupt:
        click.echo("interrupted; what was saved before is kept", err=True)
        code = 130
    except click.ClickException as err:
        if reported:
            _report_usage(err)
        code = err.exit_code
    except OSError as err:
        if debug:
            raise
        if not is_lost(err):  # else reported when all output is written
            click.echo(visible(f"error: {_of_file(err)}"), err=True)
        code = 1
    except MemoryError:
        if debug:
            raise
        click.echo("error: out of memory; make the data, the model or the batch smaller", err=True)
        code = 1
    except FptkitError as err:
        if debug:
            raise
        reported = _report(err)
        code = err.exit_code
    code = code if isinstance(code, int) else 0
    if process_count() > 1 and (code or "fptkit.engine.team.processes" in sys.modules):
        from fptkit.engine.team.processes import part

        part(code, told=reported)
    sys.exit(code)


def _carried_out(arguments: list[str]) -> Any:
    """Carry out a command; returns its exit code, or what its function returns.

    click turns an Exit into its code and Ctrl-C into an Abort; if the reader of our output is gone (`| head`), it exits
    silently with status 1.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C.
        PluginFault: code of a plugin failed, ended the process or raised a ``KeyboardInterrupt`` of its own.
    """
    with plugin_faults(), user_interrupts():
        try:
            return cli.main(args=arguments, prog_name="fptkit", standalone_mode=False)
        except click.Abort as err:
            raise err.__cause__ or KeyboardInterrupt from None


def _of_file(err: OSError) -> str:
    """The message of an error of the system that nothing else explained, such as a path that is too long."""
    name = "" if err.filename is None else f"{clipped(str(err.filename))}: "
    return f"{name}{err.strerror or err}; --debug shows where"


def command() -> None:
    """The process of a command: `main`, and then a quick end.

    When the interpreter shuts down, torch's libraries touch 130 MiB of memory that the command never used. So after a
    command that imported torch, exit handlers run, output is flushed, and the process ends at once. If other threads
    are still running, the interpreter shuts down as usual and waits for them.
    """
    take_over()
    try:
        main()
    except SystemExit as err:
        code = _after_output(err.code)
        if "torch" not in sys.modules or threading.active_count() > 1 or not isinstance(code, int):
            sys.exit(code)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.stdout = sys.stderr  # the command has printed everything; what exit handlers of libraries print is not its own
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def _after_output(code: Any) -> Any:
    """The exit code after all output is written; 1 if some of it could not be."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    if lost := lost_output():
        click.echo(f"error: {lost}", err=True)
    return code or int(bool(lost))


def _report_usage(err: click.ClickException) -> None:
    """Print click's error in our format, then the usage of the command."""
    if isinstance(err, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
        err.show()  # no error: the command alone prints its help
        return
    click.echo(visible(f"error: {err.format_message()}"), err=True)
    context = getattr(err, "ctx", None)
    if context is not None:
        click.echo(context.get_usage(), err=True)
        click.echo(f"Try '{context.command_path} {context.help_option_names[0]}' for help.", err=True)


def _report(err: FptkitError) -> bool:
    """Print an error; of several processes, one prints it. Returns whether this one did."""
    if isinstance(err, PeerError) or (process_rank() and err.process is None):
        return False
    where = f"process {err.process}: " if process_count() > 1 and err.process else ""
    prefix = "" if isinstance(err, Interrupted) else "error: "
    click.echo(visible(f"{prefix}{where}{err}"), err=True)
    return True


def _take_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without ``--debug``, which may come anywhere before a ``--``, and whether it was given."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != "--debug"]
    return [*options, *arguments[end:]], len(options) < end
