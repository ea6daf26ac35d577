"""Plugins written as the documentation of version 0.1 showed them still load, keep the contracts and run.

``of_0_1/`` holds the examples of its pages, word for word, and a package of its template. Keep them as they are: a
change of fptkit that needs a change there breaks the plugins of others.
"""

from __future__ import annotations

import importlib
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

import fptkit
from fptkit.api.plugin_checks import check_plugins
from fptkit.engine.run import RunRequest, run
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins
from fptkit.testing import check_task

OLD = Path(__file__).parent / "of_0_1"
PLUGINS = [file for file in sorted(OLD.glob("*.py")) if "@hookimpl" in file.read_text(encoding="utf-8")]
ROWS = re.findall(r"^\| `([\w.]+)` \| (.*) \| .* \|$", (OLD / "names.md").read_text(encoding="utf-8"), re.MULTILINE)

SMALL = {"name": "random", "size": "nano", "blocks": 1, "width": 16, "heads": 2}
RUNS: dict[str, dict[str, Any]] = {
    "waves": {
        "encoder": {"name": "scaled"},
        "backbone": {"name": "norm_only"},
        "freezing": {"name": "norms_slowly"},
        "listeners": [{"name": "best_file"}],
    },
    "mean": {"backbone": SMALL, "freezing": {"name": "gain", "start": 2.0}},
    "ends": {"backbone": SMALL, "freezing": {"name": "last_attention"}},
    "moons": {"backbone": SMALL, "freezing": {"name": "fpt"}},
}
TRAIN = {"learning_rate": 1e-2, "batch_size": 8, "max_steps": 2, "validate_every": 1, "seed": 0}


def test_every_public_name_is_still_there() -> None:
    assert len(ROWS) == 38
    for module, names in ROWS:
        found = [name for name in re.findall(r"`([\w.]+)`", names) if "." not in name and name != "fptkit"]
        assert found, module
        for name in found:
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.parametrize("file", PLUGINS, ids=lambda file: file.stem)
def test_a_plugin_keeps_the_contracts(file: Path) -> None:
    results = list(check_plugins(load_plugins([file], selection=""), file.stem))
    assert results
    assert [one for one in results if one.result != "ok"] == []


def test_checks_written_then_pass() -> None:
    checks = [run for name, run in runpy.run_path(str(OLD / "contract_checks.py")).items() if name.startswith("test_")]
    assert len(checks) == 4
    for check in checks:
        check()


@pytest.mark.parametrize("task", RUNS)
def test_a_run(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(OLD))
    files = [*(file for file in PLUGINS if file.stem != "mine"), OLD / "fptkit_moons" / "__init__.py"]
    loaded = load_recipe({"task": {"name": task}, **RUNS[task], "train": TRAIN, "threads": 1}, plugin_files=files)
    summary = run(RunRequest(loaded, tmp_path / "run"))
    assert (summary["status"], summary["best_step"] > 0) == ("finished", True)
    if task == "waves":
        assert (tmp_path / "run" / "best.txt").read_text().startswith(str(summary["best_step"]))


def test_recipes_are_found_and_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(OLD))
    assert load_recipe("mine", plugin_files=PLUGINS).recipe.task.name == "bit_xor"
    assert load_recipe(str(OLD / "parity.yaml"), plugin_files=PLUGINS).recipe.task.name == "parity"
    moons = OLD / "fptkit_moons" / "__init__.py"
    assert load_recipe("moons", profile="smoke", plugin_files=[moons]).recipe.train.max_steps == 4


def test_a_task_with_metrics_of_its_own() -> None:
    class Sums(runpy.run_path(str(OLD / "maximum_error.py"))["Regression"]):  # type: ignore[misc]
        input, output, max_tokens = fptkit.Vectors(2), fptkit.Values(1), 3

        def split(self, name: str) -> fptkit.Split:
            inputs = torch.randn(12, 3, 2, generator=torch.Generator().manual_seed(len(name)))
            return fptkit.ArraySplit(inputs, inputs.sum((1, 2))[:, None], vectors=True)

    check_task(Sums())
    assert Sums().selection() == ("maximum_error", False)


def test_a_preparation_of_its_own(tmp_path: Path) -> None:
    lengths = runpy.run_path(str(OLD / "lengths.py"))["Lengths"](mean=3.0, classes=("short", "long"))
    (tmp_path / "words.txt").write_text("a\nword\n")
    examples = lengths.read([f"path:{tmp_path / 'words.txt'}"])
    assert lengths.prepare(examples).inputs.flatten().tolist() == [-2.0, 1.0]
    assert json.loads(lengths.model_dump_json())["classes"] == ["short", "long"]


def test_an_example_in_a_form_for_people() -> None:
    boards = runpy.run_path(str(OLD / "boards.py"))["Boards"]()
    boards.boards = {"test": torch.zeros(1, 2, 3, dtype=torch.uint8)}
    assert boards.show("test", 0).name == "game 0"
    assert boards.show("test", 0).picture.shape == (2, 3)


def test_marks_of_options_and_files_of_an_entry(tmp_path: Path) -> None:
    options = runpy.run_path(str(OLD / "archive_options.py"))["ArchiveOptions"]()
    assert (options.version, options.timeout_s) == ("v1", 10.0)
    files = runpy.run_path(str(OLD / "files.py"))["files"]
    (tmp_path / "a.csv").touch()
    assert files(options, f"path:{tmp_path}") == [tmp_path / "a.csv"]
    assert files(options, "generated") == ()
