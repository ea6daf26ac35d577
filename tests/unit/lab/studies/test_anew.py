"""Results derived again from stored runs: what they say, what they lack, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stored_studies import StoredRuns, carried_out

from fptkit.engine.code_version import code_version
from fptkit.lab.studies.anew import derive_anew
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.plan import CellName, Study, Trial
from fptkit.lab.studies.results import RESULTS, StudyResults, run_folder

STUDY = """
tasks:
  xor: {task: {name: bit_xor}, train: {validate_every: 10}}
arms:
  language: {backbone: {name: gpt2, weights: "builtin:gpt2_nano"}}
  random:   {backbone: {name: gpt2, weights: random, size: nano}}
learning_rates: [1e-3, 3e-3, 1e-2]
budget: {steps: 80}
seeds: 5
"""
RATES = (1e-3, 3e-3, 1e-2)


def quality(name: CellName, trial: Trial) -> float:
    """Over all seeds 3e-3 is best; of random, seed 1 is best at 1e-2 and seed 3 at 1e-3."""
    best = {1: 1e-2, 3: 1e-3}.get(trial.seed, 3e-3) if name.arm == "random" else 3e-3
    level = 0.9 if name.arm == "language" else 0.7 + trial.seed**2 / 1000
    return level - 0.05 * abs(RATES.index(trial.learning_rate) - RATES.index(best))


def load(tmp_path: Path, *overrides: str) -> Study:
    path = tmp_path / "two_arms.yaml"
    path.write_text(STUDY, encoding="utf-8")
    return load_study(str(path), overrides=overrides)


def as_version_0_1_wrote_it(folder: Path) -> None:
    """Turn a study with a common choice into one of format 1, of another code."""
    path = folder / RESULTS
    found = json.loads(path.read_text(encoding="utf-8"))
    for key in ("choose", "until", "smoke", "deviations", "plan", "answers", "ranks", "noise"):
        del found[key]
    for cell in found["cells"]:
        del cell["chosen_rates"], cell["common"]
    found.update(format=1, code_version="0" * 64, level=0.04)
    found["comparisons"] = [
        {
            **{key: one[key] for key in ("task", "data_fraction", "a", "b", "differences", "mean", "interval", "note")},
            **{key: one[key] for key in ("t", "degrees", "p", "p_holm", "effect_size")},
            "allowance": 0.3,
            "p_verdict": 1.0,
            "verdict": "no difference found",
        }
        for one in found["comparisons"]
    ]
    path.write_text(json.dumps(found), encoding="utf-8")
    study = folder / "study.yaml"
    lines = study.read_text(encoding="utf-8").splitlines(keepends=True)
    study.write_text("".join(line for line in lines if not line.startswith("choose:")), encoding="utf-8")


@pytest.fixture
def earlier(tmp_path: Path) -> tuple[Path, StoredRuns]:
    """A study of an earlier version: one rate for all seeds."""
    folder, runs = carried_out(load(tmp_path, "choose=common"), tmp_path / "studies", quality)
    as_version_0_1_wrote_it(folder)
    return folder, runs


def test_seeds_without_a_test_at_their_own_rate_are_left_out_and_named(earlier: Any) -> None:
    folder, runs = earlier
    found = derive_anew(folder, runs.ledger)
    results = found.results
    cell = results.cell("xor", "random")
    assert cell is not None
    assert cell.chosen_rates == {0: 3e-3, 1: 1e-2, 2: 3e-3, 3: 1e-3, 4: 3e-3}
    assert cell.common is not None
    assert (cell.common.learning_rate, len(cell.common.test["test"].values)) == (3e-3, 5)
    (comparison,) = results.comparisons
    assert (comparison.seeds, comparison.verdict) == ((0, 2, 4), "worse")
    assert comparison.note == "without seeds 1, 3: no test result of random"
    assert results.warnings[:2] == (
        "derived again with the statistics of this version from the 30 stored runs of fptkit 0.1.0",
        "2 seeds are missing from the comparisons, since no test is stored at the rates they choose: random on xor, "
        "rate 0.001, seed 3; random on xor, rate 0.01, seed 1",
    )
    assert (results.format, results.level, results.choose) == (2, 0.05, "per_seed")


def test_tests_of_another_code_are_opened_run_by_run(earlier: Any) -> None:
    folder, runs = earlier
    found = derive_anew(folder, runs.ledger)
    lacking = [row.address for row in found.results.failures]
    tests, study = found.remedies
    assert len(lacking) == 2
    folders = " ".join(str(run_folder(runs.ledger, address)) for address in lacking)
    assert tests == (
        f"to evaluate the missing tests of the stored runs: for run in {folders}; do fptkit run "
        '"$run/recipe.yaml" --output "$run" --resume; done'
    )
    assert study.startswith(
        "another version of the code made these runs; to make all of them with this one: fptkit study "
    )
    for address in lacking:
        runs.open_test(address)
    whole = derive_anew(folder, runs.ledger)
    assert whole.remedies == ()
    assert whole.results.failures == ()
    assert whole.results.comparisons[0].seeds == (0, 1, 2, 3, 4)
    assert not any("missing" in warning for warning in whole.results.warnings)


def test_what_is_derived_equals_a_study_that_chose_for_each_seed(earlier: Any, tmp_path: Path) -> None:
    folder, runs = earlier
    for row in derive_anew(folder, runs.ledger).results.failures:
        runs.open_test(row.address)
    derived = derive_anew(folder, runs.ledger).results
    other, _ = carried_out(load(tmp_path), tmp_path / "other", quality)
    written = StudyResults.model_validate_json((other / RESULTS).read_bytes())
    assert derived.comparisons == written.comparisons
    assert (derived.answers, derived.ranks, derived.cells) == (written.answers, written.ranks, written.cells)


def test_the_same_code_opens_them_by_the_study_itself(tmp_path: Path) -> None:
    study = load(tmp_path)
    folder, runs = carried_out(study, tmp_path / "studies", quality)
    assert study.code_version == code_version()
    again = derive_anew(folder, runs.ledger)
    assert again.remedies == ()
    row = next(row for row in again.results.runs if row.status == "finished")
    close_test(runs, row.address)
    assert derive_anew(folder, runs.ledger).remedies == (
        f"to evaluate the missing tests and make the missing runs: fptkit study {study.path} --ledger {runs.ledger}",
    )


def close_test(runs: StoredRuns, address: str) -> None:
    path = run_folder(runs.ledger, address) / "summary.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told.update(status="validated", metrics={**told["metrics"], "test": {}})
    path.write_text(json.dumps(told), encoding="utf-8")


def test_runs_that_a_common_halving_did_not_make_are_named(tmp_path: Path) -> None:
    """Together the seeds keep other rates than each alone."""
    study = load(tmp_path, "choose=common", "search.name=halving", "search.rungs=2")
    folder, runs = carried_out(study, tmp_path / "studies", quality)
    as_version_0_1_wrote_it(folder)
    found = derive_anew(folder, runs.ledger)
    assert found.results.failures
    assert {row.reason for row in found.results.failures} <= {"not finished: 40 steps done", "trained, not tested yet"}
    assert "another version of the code made these runs" in found.remedies[-1]


def test_a_common_choice_stays_one(tmp_path: Path) -> None:
    folder, runs = carried_out(load(tmp_path, "choose=common"), tmp_path / "studies", quality)
    found = derive_anew(folder, runs.ledger)
    assert (found.results.choose, found.remedies) == ("common", ())
    assert found.results.comparisons[0].seeds == (0, 1, 2, 3, 4)


def test_nothing_is_written(earlier: Any) -> None:
    folder, runs = earlier
    before = {path: path.stat().st_mtime_ns for path in runs.ledger.rglob("*")}
    derive_anew(folder, runs.ledger)
    assert {path: path.stat().st_mtime_ns for path in runs.ledger.rglob("*")} == before
