"""A command that also has subcommands: ``fptkit study FILE`` and ``fptkit study lock FILE``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class CommandWithSubcommands(click.Command):
    """A command whose first argument may name a subcommand instead; only the first one can.

    Args:
        subcommands: name -> location of the command and its one-line help; it is imported when it is used.
    """

    def __init__(self, *arguments: Any, subcommands: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.subcommands = dict(subcommands)

    def subcommand(self, name: str) -> click.Command:
        """The subcommand called ``name``."""
        module_name, _, attribute = self.subcommands[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module_name), attribute)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of the command, or of the subcommand that the first argument names."""
        if args and args[0] in self.subcommands:
            command = self.subcommand(args[0])
            return command.make_context(f"{info_name} {args[0]}", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse as usual; if that fails and an argument after the first names a subcommand, the error says so."""
        late = next((argument for argument in args if argument in self.subcommands), None)
        try:
            return super().parse_args(context, args)
        except click.UsageError as err:
            if late is None:
                raise
            hint = f"'{late}' must come first: {context.command_path} {late} ..."
            raise click.UsageError(f"{err.message}. {hint}", context) from err

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the subcommands."""
        super().format_options(context, formatter)
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.subcommands.items()])
