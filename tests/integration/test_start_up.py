"""What a run loads from its command to its summary: little besides torch, and jinja2 for its report at the end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

NOT_NEEDED = (
    "PIL",
    "accelerate",
    "einops",
    "lmdb",
    "matplotlib",
    "pandas",
    "scipy",
    "sklearn",
    "sympy",
    "timm",
    "tokenizers",
    "torch._dynamo",
    "torch._inductor",
    "torch.utils.flop_counter",
    "torchmetrics",
    "torchvision",
    "transformers",
    "triton",
)
"""Modules that none of the run's components uses."""

CODE = """
import atexit, sys
from pathlib import Path
listing = Path(sys.argv.pop())
atexit.register(lambda: listing.write_text("\\n".join(sys.modules)))
from fptkit.cli.main import main
main()
"""


@pytest.mark.slow
def test_a_run_loads_what_it_uses(tmp_path: Path) -> None:
    """From the command to the last line written, evaluation included."""
    listing = tmp_path / "modules"
    command = ["run", "bit_xor_gpt2", "--profile", "smoke", "--output", str(tmp_path / "run"), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command, str(listing)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "summary.json").is_file()
    loaded = set(listing.read_text().splitlines())
    assert {"torch", "fptkit.engine.loop", "fptkit.engine.evaluate"} <= loaded
    assert loaded.isdisjoint(NOT_NEEDED), sorted(loaded.intersection(NOT_NEEDED))
