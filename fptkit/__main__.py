"""``python -m fptkit``."""

from fptkit.cli.entry import command

command()
