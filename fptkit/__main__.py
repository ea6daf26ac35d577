"""``python -m fptkit``."""

from fptkit.cli.main import command

command()
