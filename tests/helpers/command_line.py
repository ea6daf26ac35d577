"""The command line in this process, which saves importing torch for each command."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from fptkit.cli.main import main

TINY = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, size: nano, blocks: 1, width: 16, heads: 2}
train: {batch_size: 8, max_steps: 6, validate_every: 3, log_every: 2, patience: null}
threads: 1
"""
"""A recipe of six steps."""


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def fptkit(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """A command, in a folder if one is given."""
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd()
    os.chdir(cwd or before)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
    finally:
        os.chdir(before)
    assert ended.value.code is None or isinstance(ended.value.code, int), ended.value.code
    return Done(ended.value.code or 0, out.getvalue(), err.getvalue())
