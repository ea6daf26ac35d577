"""The command line in this process, which saves importing torch for each command, and in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
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


def process(
    *arguments: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 300,
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own.

    Args:
        arguments: of the command.
        cwd: folder to start it in.
        environment: all of its variables; without it, those of this process.
        timeout_s: after which it is ended, and the test fails.
    """
    return subprocess.run(
        [sys.executable, "-m", "fptkit", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
