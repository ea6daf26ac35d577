"""A stored study gives back what it was made from: the same results, byte for byte."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stored_studies import StoredRuns, carried_out

from fptkit.errors import DataError, RecipeError, UsageError
from fptkit.files import RECIPE, SUMMARY
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import CellName, Study, Trial
from fptkit.lab.studies.results import RESULTS, read_results, run_folder
from fptkit.lab.studies.stored import NOT_STORED, read_settings, read_stored
from fptkit.lab.studies.summarise import results_of, write_results

STUDY = """
description: A study of two arms
question: Which?
tasks:
  xor: {task: {name: bit_xor}, train: {validate_every: 10}}
  memory: {task: {name: bit_memory, bits: 100}, train: {validate_every: 20}}
arms:
  language: {backbone: {name: gpt2, weights: "builtin:gpt2_nano"}, freezing: {name: fpt}, summary: words}
  random:   {backbone: {name: gpt2, weights: random, size: nano}, freezing: {name: full}}
learning_rates: [1e-3, 3e-3, 1e-2]
budget: {steps: 80}
seeds: 4
controls: [frozen_random]
targets: {xor: 0.5}
margin: {xor: 2}
"""


def quality(name: CellName, trial: Trial) -> float:
    """Anything, but always the same; one run in ten diverges."""
    rng = random.Random(f"{name} {trial.learning_rate} {trial.seed}")
    return -1.0 if rng.random() < 0.1 else 0.5 + 0.4 * rng.random()


def load(tmp_path: Path, *overrides: str) -> Study:
    path = tmp_path / "two_arms.yaml"
    path.write_text(STUDY, encoding="utf-8")
    return load_study(str(path), overrides=overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("choose=common",),
        ("choose=common", "search.seeds=2"),
        ("search.name=halving",),
        ("search.name=halving", "choose=common"),
        ("learning_rates=[]",),
        ("learning_rates=[3e-3]", "seeds=[7]"),
        ("data_fractions=[0.5, 1]", "seeds=2"),
        ("comparisons=[[random, language]]", "reference=random"),
        ("seeds={until: decided}",),
    ],
)
def test_derived_results_are_the_written_ones(overrides: tuple[str, ...], tmp_path: Path) -> None:
    study = load(tmp_path, *overrides)
    folder, _ = carried_out(study, tmp_path / "studies", quality)
    stored = read_stored(folder, tmp_path / "studies")
    again = results_of(stored.facts, stored.lookup, stored.ledger_folder)
    assert again.model_dump_json(indent=2) + "\n" == (folder / RESULTS).read_text(encoding="utf-8")
    assert stored.settings == study.settings
    assert any(cell.main for cell in again.cells)


def test_an_unfinished_study_gives_the_same_failures(tmp_path: Path) -> None:
    """Failed, lost and interrupted runs, one that is not tested, and a cell that has not started."""
    study = load(tmp_path, "seeds=2")
    folder, runs = carried_out(study, tmp_path / "studies", lambda name, trial: 0.5 + trial.seed / 10)
    addresses = list(runs.made)
    for address, status in zip(addresses, ("failed", "lost", "interrupted"), strict=False):
        change(runs, address, status, reason=f"it {status}")
    last = study.cells[-1].name
    kept = {a: o for a, o in runs.made.items() if a not in unstarted(runs, last)}
    written = write_results(study, kept, tmp_path / "studies", folder)
    assert {failure.status for failure in written.failures} == {"failed", "lost", "interrupted", "waiting"}
    assert {failure.reason for failure in written.failures} >= {"it failed", "it lost", "not started"}
    stored = read_stored(folder, tmp_path / "studies")
    assert results_of(stored.facts, stored.lookup, stored.ledger_folder) == written
    assert written.lifts, "a lift with a control that has not started is still listed"


def change(runs: StoredRuns, address: str, status: Any, reason: str) -> None:
    told = {key: value for key, value in runs.made[address].summary.items() if key in ("status", "steps")}
    told["status"] = "running"
    path = run_folder(runs.ledger, address) / SUMMARY
    path.write_text(json.dumps(told), encoding="utf-8")
    runs.made[address] = Outcome(address, status, reason, told["steps"], told)


def unstarted(runs: StoredRuns, name: CellName) -> set[str]:
    """Remove the run folders of a cell; returns their addresses."""
    found = {
        row.address
        for row in read_results(runs.ledger / "two_arms").runs
        if CellName(row.task, row.arm, row.data_fraction) == name
    }
    for address in found:
        for path in run_folder(runs.ledger, address).iterdir():
            path.unlink()
    return found


def test_what_is_not_stored_is_waiting_and_has_no_address(tmp_path: Path) -> None:
    folder, _ = carried_out(load(tmp_path), tmp_path / "studies", quality)
    stored = read_stored(folder, tmp_path / "studies")
    assert stored.lookup(CellName("xor", "language"), Trial(0.5, 0)) == Outcome("", reason=NOT_STORED)
    known = stored.lookup(CellName("xor", "language"), Trial(1e-3, 0))
    assert len(known.address) == 64
    assert stored.outcomes[known.address] == known


def test_another_study_may_train_a_run_further(tmp_path: Path) -> None:
    """The ledger is shared: a run that this study left paused or untested may be finished now."""
    folder, runs = carried_out(load(tmp_path), tmp_path / "studies", quality)
    before = read_results(folder)
    row = next(row for row in before.runs if row.status == "validated")
    runs.open_test(row.address)
    stored = read_stored(folder, tmp_path / "studies")
    assert stored.outcomes[row.address].status == "finished"
    again = results_of(stored.facts, stored.lookup, stored.ledger_folder)
    assert (again.cells, again.comparisons) == (before.cells, before.comparisons)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    folder, runs = carried_out(load(tmp_path), tmp_path / "studies", quality)
    recipe = run_folder(tmp_path / "studies", next(iter(runs.made))) / RECIPE
    text = recipe.read_text(encoding="utf-8")
    recipe.write_text(text.replace("max_steps: 80", "max_steps: many"), encoding="utf-8")
    with pytest.raises(DataError, match="the recipes of the runs of language on xor are damaged"):
        _ = read_stored(folder, tmp_path / "studies").facts
    recipe.write_text("a: [", encoding="utf-8")
    with pytest.raises(RecipeError, match=RECIPE):
        _ = read_stored(folder, tmp_path / "studies").facts
    study = folder / "study.yaml"
    study.write_text("seeds: [a]\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"study\.yaml is damaged"):
        read_stored(folder, tmp_path / "studies")
    study.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"study\.yaml cannot be read"):
        read_stored(folder, tmp_path / "studies")
    study.unlink()
    with pytest.raises(UsageError, match=r"study\.yaml is missing"):
        read_stored(folder, tmp_path / "studies")
    with pytest.raises(UsageError, match="holds no results"):
        read_stored(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("text", "choose"),
    [
        ("learning_rates: [0.001, 0.01]\n", "per_seed"),
        ("learning_rates: [0.001, 0.01]\nsearch: {name: grid, seeds: null}\n", "per_seed"),
        ("learning_rates: [0.001, 0.01]\nsearch: {name: grid, seeds: 1}\n", "common"),
        ("choose: common\n", "common"),
    ],
)
def test_settings_of_earlier_versions_choose_per_seed_if_all_searched(text: str, choose: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"{text}arms: {{a: {{}}}}\ntasks: {{t: {{}}}}\nplugins: [a.py]\n", encoding="utf-8")
    assert read_settings(path).choose == choose


@pytest.mark.slow
def test_reading_loads_neither_torch_nor_plugins(tmp_path: Path) -> None:
    folder, _ = carried_out(load(tmp_path), tmp_path / "studies", quality)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import fptkit.registry as registry\n"
        "def refuse(*given, **more): raise AssertionError('plugins were loaded')\n"
        "registry.load_plugins = refuse\n"
        "from fptkit.lab.studies.stored import read_stored\n"
        "from fptkit.lab.studies.summarise import results_of\n"
        "folder = Path(sys.argv[1])\n"
        "stored = read_stored(folder, folder.parent)\n"
        "assert results_of(stored.facts, stored.lookup, folder.parent).cells\n"
        "heavy = [n for n in ('torch', 'transformers', 'timm') if n in sys.modules]\n"
        "sys.exit(f'loads {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
