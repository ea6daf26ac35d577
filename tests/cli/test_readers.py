"""What a command does when its reader goes away, its disk is full, or its recipe speaks to the terminal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, blocks: 1, width: 16, heads: 2, size: nano}
freezing: {name: fpt}
train: {batch_size: 8, max_steps: 40, validate_every: 2, log_every: 1, patience: null}
threads: 1
"""

COMMAND = [sys.executable, "-m", "fptkit"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "k.yaml").write_text(RECIPE)
    return tmp_path


@pytest.mark.slow
def test_a_run_goes_on_without_its_reader(folder: Path) -> None:
    command = [*COMMAND, "run", "k.yaml", "--output", "o"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder) as run:
        assert run.stdout is not None
        run.stdout.readline()
        run.stdout.close()
        assert run.wait(60) == 0
    assert json.loads((folder / "o/summary.json").read_text())["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_run_folder_that_goes_away(folder: Path, how: str) -> None:
    (folder / "k.yaml").write_text(RECIPE.replace("max_steps: 40", "max_steps: 1000000"))
    command = [*COMMAND, "run", "k.yaml", "--output", "o", "--quiet"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=folder, text=True) as run:
        while not (folder / "o/checkpoints").exists():
            assert run.poll() is None
            time.sleep(0.02)
        if how == "renamed":
            (folder / "o").rename(folder / "moved")
        while how == "removed" and (folder / "o").exists():
            shutil.rmtree(folder / "o", ignore_errors=True)
        _, problem = run.communicate(timeout=60)
    assert run.returncode == 1
    gone = "o: the run folder is gone: it was removed or renamed during the run" in problem
    assert gone or (how == "removed" and _begun_to_remove(problem))
    assert "Traceback" not in problem
    assert not (folder / "o").exists()


def _begun_to_remove(problem: str) -> bool:
    """Whether a run noticed that its files were removed before the folder itself was."""
    return problem.startswith("error: o: ") and any(
        words in problem for words in ("removed during the run", "start the run again", "--resume continues from it")
    )


def test_a_listing_ends_with_its_reader(folder: Path) -> None:
    command = [*COMMAND, "list", "recipes", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, bufsize=0) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert listing.wait(60) == 1
        assert listing.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_behind_the_output(folder: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, "list", "backbones"], stdout=full, stderr=subprocess.PIPE, cwd=folder)
    assert done.returncode == 1
    assert done.stderr.decode() == "error: standard output cannot be written: No space left on device\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_recipe_cannot_speak_to_the_terminal(folder: Path) -> None:
    (folder / "k.yaml").write_text(RECIPE + '"\\e]0;title\\a\\e[31mred": 1\n')
    ours, theirs = os.openpty()
    done = subprocess.run([*COMMAND, "validate", "k.yaml"], stdout=theirs, stderr=theirs, cwd=folder)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 2
    assert r"unknown key '\x1b]0;title\x07\x1b[31mred'" in shown
    assert "\x1b" not in shown
