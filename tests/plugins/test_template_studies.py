"""A study over the package of every template of ``fptkit new plugin``, found like installed ones, without pip."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from command_line import process

from fptkit.cli.main import cli
from fptkit.cli.new import KINDS

SIZES = {"validation_size": 16, "test_size": 16}

STUDY: dict[str, Any] = {
    "seeds": 1,
    "budget": {"steps": 2},
    "tasks": {
        "own_task": {"task": {"name": "my_task", "bits": 5, **SIZES}},
        "own_encoder": {"task": {"name": "bit_xor", "bits": 3, **SIZES}, "encoder": {"name": "my_encoder"}},
    },
    "arms": {
        "own_policy": {
            "backbone": {"name": "random", "size": "nano", "blocks": 1, "width": 16, "heads": 2},
            "freezing": {"name": "my_policy"},
            "listeners": [{"name": "my_listener"}],
        },
        "own_backbone": {"backbone": {"name": "my_backbone"}, "freezing": {"name": "full"}},
    },
}
"""Each kind of package is used by some run."""


def packaged(kind: str, folder: Path) -> Path:
    """Write the package of a kind, and beside it what an installation leaves there."""
    done = CliRunner().invoke(
        cli, ["new", "plugin", f"my_{kind}", "--kind", kind, "--output", str(folder)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    info = folder / f"fptkit_my_{kind}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fptkit-my-{kind}\nVersion: 0.1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[fptkit]\nmy_{kind} = fptkit_my_{kind}\n", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_study_over_the_package_of_every_template(tmp_path: Path) -> None:
    sites = [packaged(kind, tmp_path / kind) for kind in KINDS if f"my_{kind}" in str(STUDY)]
    assert len(sites) >= 5
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
    path = os.pathsep.join([*map(str, sites), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    environment.pop("FPTKIT_PLUGINS", None)
    done = process("study", "all.yaml", "--workers", "1", "--json", cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "studies" / "all" / "results.json").read_text(encoding="utf-8"))["cells"]
    assert {(row["task"], row["arm"]) for row in rows} == {
        (task, arm) for task in STUDY["tasks"] for arm in STUDY["arms"]
    }
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in tmp_path.glob("studies/runs/*/summary.json")]
    assert [run["status"] for run in runs] == ["finished"] * 4
