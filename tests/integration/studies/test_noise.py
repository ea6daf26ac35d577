"""A study that varies single sources of randomness, run by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from command_line import process

from fptkit.lab.studies.results import StudyResults, read_results
from fptkit.lab.studies.stored import read_stored
from fptkit.lab.studies.summarise import results_of

STUDY = """
arms:
  digits:
    task: {name: mnist, source: [digits], train_size: 100}
    backbone: {name: random, blocks: 1, width: 16, heads: 2, size: nano}
learning_rates: [1e-2]
data_fractions: [0.5]
budget: {steps: 20}
seeds: [4, 6]
vary: [init, order, data]
"""


@pytest.mark.slow
def test_the_noise_of_real_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(STUDY)
    planned = json.loads(process("study", "mine.yaml", "--dry-run", "--json").stdout)
    assert (planned["runs"], planned["missing"]) == (5, 5)
    done = process("study", "mine.yaml", "--quiet", timeout_s=300)
    assert done.returncode == 0, done.stderr
    results = read_results(Path("studies/mine"))
    assert [(one.source, len(one.values)) for one in results.noise] == [("init", 2), ("order", 2), ("data", 2)]
    (cell,) = results.cells
    assert cell.main is not None
    assert len(cell.main.values) == 2
    for one in results.noise:
        assert one.values[0] == cell.main.values[0], "the run of the first seed"
    assert_seeds(results)
    before = Path("studies/mine/results.json").read_bytes()
    again = process("study", "mine.yaml", timeout_s=300)
    assert again.returncode == 0
    assert Path("studies/mine/results.json").read_bytes() == before
    stored = read_stored(Path("studies/mine"), Path("studies"))
    assert results_of(stored.facts, stored.lookup, stored.ledger_folder) == results


def assert_seeds(results: StudyResults) -> None:
    """Every run has the seeds that its row says."""
    found = set()
    for row in results.runs:
        summary = json.loads(Path(f"studies/runs/{row.address[:16]}/summary.json").read_text())
        assert summary["status"] == "finished"
        expected = {name: row.seed if row.varied in ("", name) else 4 for name in ("init", "order", "data")}
        assert summary["seeds"] == expected
        recipe = yaml.safe_load(Path(f"studies/runs/{row.address[:16]}/recipe.yaml").read_text())
        assert recipe["train"]["seed"] == (4 if row.varied else row.seed)
        found.add((row.varied, row.seed))
    assert found == {("", 4), ("", 6), ("init", 6), ("order", 6), ("data", 6)}
