"""The installed command. It imports nothing at first, so that Ctrl-C ends it cleanly from the beginning."""

from __future__ import annotations


def command() -> None:
    """Carry out `fptkit.cli.main.command`; Ctrl-C outside of it, while modules are imported, is one line."""
    try:
        from fptkit.cli.main import command as carry_out

        carry_out()
    except KeyboardInterrupt:
        import os

        os.write(2, b"interrupted\n")
        os._exit(130)
