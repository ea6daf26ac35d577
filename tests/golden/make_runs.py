"""Makes a golden run folder with the present version, ``run_folders/VERSION-NAME``.

From the root: ``PYTHONPATH=.:tests/helpers python tests/golden/make_runs.py NAME``.

Existing folders are never made again: that they load for ever is what is tested. Add one for each change of what a run
folder holds.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import new_files
from command_line import fptkit

from fptkit import __version__
from fptkit.files import MODEL, PREPARATION, RECIPE

HERE = Path(__file__).parent

NANO = "{name: gpt2, weights: [builtin:gpt2_nano], dropout: 0.0, blocks: {keep: 1}}"

MAKERS = {
    "table": partial(new_files.table, backbone=NANO),
    "forecast": new_files.CASES["forecast scaled by window"],
    "tagging": new_files.sequences_tags,
}


def make(name: str) -> None:
    """Train a run, and keep what is needed to predict, new files, and the predictions for them."""
    folder = HERE / "run_folders" / f"{__version__}-{name}"
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        case = MAKERS[name](Path(place))
        for file in (RECIPE, PREPARATION, MODEL, "model.safetensors"):
            shutil.copy(case.run / file, folder)
        shutil.copy(case.new, folder / "new.csv")
    done = fptkit("predict", ".", "new.csv", "--output", "predictions.jsonl", cwd=folder)
    assert not done.returncode, done.stderr
    (folder / ".lock").unlink(missing_ok=True)


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        make(wanted)
