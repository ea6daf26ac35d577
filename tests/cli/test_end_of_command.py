"""How a command's process ends: at once after torch, with nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import TINY, process

from fptkit.files import find_json

PLUGIN = """
import atexit, threading, time
from pathlib import Path
import fptkit

atexit.register(lambda: Path("handler").write_text("ran"))

def late():
    time.sleep(1)
    Path("thread").write_text("ran")

@fptkit.hookimpl
def fptkit_listeners():
    return [fptkit.ListenerSpec(name="late", summary="ends after the run", target=Late)]

class Late:
    def __init__(self, options, *, folder):
        pass

    def handle(self, event):
        if type(event).__name__ == "RunEnded":
            threading.Thread(target=late).start()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "recipe.yaml").write_text(TINY + "plugins: [plugin.py]\n")
    return tmp_path


@pytest.mark.slow
def test_exit_handlers_run_and_all_output_arrives(folder: Path) -> None:
    done = process("run", "recipe.yaml", "--output", "run", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == find_json(folder / "run" / "summary.json")
    assert (folder / "handler").read_text() == "ran"


@pytest.mark.slow
def test_a_thread_that_still_runs_is_waited_for(folder: Path) -> None:
    with (folder / "recipe.yaml").open("a") as recipe:
        recipe.write("listeners: [{name: late}]\n")
    done = process("run", "recipe.yaml", "--output", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "thread").read_text() == "ran"
    assert (folder / "handler").read_text() == "ran"


@pytest.mark.slow
def test_the_status_of_a_failed_run_is_kept(folder: Path) -> None:
    done = process("run", "recipe.yaml", "--output", "run", "--set", "train.learning_rate=1e30", cwd=folder)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert (folder / "handler").read_text() == "ran"
