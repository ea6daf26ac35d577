"""Ctrl-C while the modules of the command are imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMAND = """
import sys, types

class Fails:
    def __set_name__(self, owner, name):
        raise {error}

def command():
    {body}

sys.modules["fptkit.cli.main"] = types.SimpleNamespace(command=command)
from fptkit.cli import entry
entry.command()
"""


def _ended(error: str, body: str) -> subprocess.CompletedProcess[str]:
    code = COMMAND.format(error=error, body=body)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("body", ["raise KeyboardInterrupt", "type('Owner', (), {'field': Fails()})"])
def test_an_interrupt_outside_of_main_is_one_line(body: str) -> None:
    ended = _ended("KeyboardInterrupt", body)
    assert (ended.returncode, ended.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    "body", ["type('Owner', (), {'field': Fails()})", "raise RuntimeError from ValueError()", "raise ValueError"]
)
def test_any_other_error_keeps_its_traceback(body: str) -> None:
    ended = _ended("ValueError", body)
    assert ended.returncode == 1
    assert ended.stderr.startswith(("Traceback", "ValueError"))
