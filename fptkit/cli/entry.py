"""The installed command. It imports nothing at first, so that Ctrl-C ends it cleanly from the beginning."""

from __future__ import annotations


def command() -> None:
    """Carry out `fptkit.cli.main.command`; Ctrl-C outside of it, while modules are imported, is one line."""
    try:
        from fptkit.cli.main import command as carry_out

        carry_out()
    except BaseException as err:
        # Python 3.10 and 3.11 turn an exception inside `__set_name__` into a RuntimeError from it.
        wrapped = type(err) is RuntimeError and isinstance(err.__cause__, KeyboardInterrupt)
        if not wrapped and not isinstance(err, KeyboardInterrupt):
            raise
        import os

        os.write(2, b"interrupted\n")
        os._exit(130)
