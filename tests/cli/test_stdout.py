"""What plugins print, also from compiled code and child processes, goes to stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import process

PLUGIN = """
import atexit, logging, os, subprocess, sys
import fptkit
from fptkit.tasks.bits import BitXor
from fptkit.tasks.options import BitXorOptions

KEPT = sys.stdout
atexit.register(print, "SPAM at the end")


class Loud(BitXor):
    def loss(self, logits, batch):
        print("SPAM print")
        KEPT.write("SPAM kept stream\\n")
        sys.__stdout__.write("SPAM original stream\\n")
        os.write(1, b"SPAM descriptor\\n")
        logging.StreamHandler(sys.stdout).emit(logging.makeLogRecord({"msg": "SPAM log"}))
        return super().loss(logits, batch)

    def metrics(self):
        subprocess.run([sys.executable, "-c", "print('SPAM child')"])
        return super().metrics()


@fptkit.hookimpl
def fptkit_tasks():
    print("SPAM hook")
    return [fptkit.TaskSpec(name="loud", summary="s", target=Loud, options=BitXorOptions)]
"""

RECIPE = """
task: {name: loud, bits: 3, validation_size: 8, test_size: 8}
backbone: {name: random, size: nano, blocks: 1, width: 16, heads: 2}
train: {batch_size: 8, max_steps: 1, validate_every: 1, patience: null}
plugins: [loud.py]
"""

ALL = ("print", "kept stream", "original stream", "descriptor", "log", "child", "hook", "at the end")


@pytest.mark.parametrize("arguments", [["--json"], []])
def test_a_loud_plugin_breaks_no_output(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "loud.py").write_text(PLUGIN)
    (tmp_path / "r.yaml").write_text(RECIPE)
    done = process("run", "r.yaml", "--output", "o", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "SPAM" not in done.stdout
    assert [what for what in ALL if f"SPAM {what}" not in done.stderr] == []
    if arguments:
        assert json.loads(done.stdout)["status"] == "finished"
    else:
        assert "all files are in o" in done.stdout
