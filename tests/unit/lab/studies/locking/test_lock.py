"""Locking a plan, and comparing a study with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from finished_studies import TWO_ARMS, finished, load, make_runs, write

from fptkit.errors import UsageError
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.locking import plan_file
from fptkit.lab.studies.locking.content import plan_of
from fptkit.lab.studies.locking.lock import NEVER_LOCKED, compare, lock, record, runs_so_far
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.results import read_results
from fptkit.lab.verification.verify import verify_study


def test_locking_twice_makes_one_plan(tmp_path: Path) -> None:
    plan, folder = plan_of(load(tmp_path)), tmp_path / "studies" / "mine"
    first, new = lock(plan, folder, runs=0, late=False)
    assert new
    again, new = lock(plan, folder, runs=5, late=False)
    assert not new, "the runs came after the lock"
    assert again.checked == first.checked


def test_another_plan_is_refused_with_the_differences(tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "mine"
    lock(plan_of(load(tmp_path)), folder, runs=0, late=False)
    before = (folder / plan_file.FILE).read_bytes()
    with pytest.raises(UsageError, match=r"locks another plan.*\n  1. seeds: 0, 1 \(plan: 0, 1, 2\)"):
        lock(plan_of(load(tmp_path, TWO_ARMS, "seeds=2")), folder, runs=0, late=True)
    assert (folder / plan_file.FILE).read_bytes() == before


def test_runs_before_the_lock_refuse_it_unless_late(tmp_path: Path) -> None:
    plan, folder = plan_of(load(tmp_path)), tmp_path / "studies" / "mine"
    with pytest.raises(UsageError, match=r"after 3 runs of this study.*--late"):
        lock(plan, folder, runs=3, late=False)
    assert not folder.exists()
    file, _ = lock(plan, folder, runs=3, late=True)
    assert file.late == "locked after 3 runs"
    assert compare(load(tmp_path), folder).deviations == ("the plan was locked after 3 runs of this study",)


def test_a_lock_without_runs_is_not_late(tmp_path: Path) -> None:
    file, _ = lock(plan_of(load(tmp_path)), tmp_path / "mine", runs=0, late=True)
    assert file.late == ""


def test_a_study_without_a_plan_has_no_deviations(tmp_path: Path) -> None:
    assert compare(load(tmp_path), tmp_path / "mine") == NEVER_LOCKED


def test_a_change_by_hand_is_a_deviation(tmp_path: Path) -> None:
    study, folder = load(tmp_path), tmp_path / "mine"
    lock(plan_of(study), folder, runs=0, late=False)
    path = folder / plan_file.FILE
    path.write_text(path.read_text(encoding="utf-8").replace("0.01", "0.03"), encoding="utf-8")
    first, second = compare(study, folder).deviations
    assert first.startswith("plan.json was changed after it was locked")
    assert second == "learning_rates: 1e-3, 1e-2 (plan: 1e-3, 3e-2)"


def test_a_plan_that_disappears_is_a_deviation(tmp_path: Path) -> None:
    study, ledger = load(tmp_path), tmp_path / "studies"
    file, _ = lock(plan_of(study), ledger / "mine", runs=0, late=False)
    write(study, make_runs(study, ledger), ledger)
    (ledger / "mine" / plan_file.FILE).unlink()
    found = compare(study, ledger / "mine")
    assert found.plan == file.digest
    assert found.deviations == (f"plan.json is missing: the study was locked, digest {file.digest[:12]}",)
    write(study, make_runs(study, ledger), ledger)
    assert read_results(ledger / "mine").deviations == found.deviations
    assert compare(study, ledger / "mine") == found, "it is not forgotten when results are written without it"


def test_results_name_plan_and_deviations_and_the_plan_logs_them(tmp_path: Path) -> None:
    ledger = tmp_path / "studies"
    file, _ = lock(plan_of(load(tmp_path)), ledger / "mine", runs=0, late=False)
    study = load(tmp_path, TWO_ARMS, "learning_rates=[1e-2]")
    write(study, make_runs(study, ledger), ledger)
    results = read_results(ledger / "mine")
    assert results.plan == file.digest
    assert results.deviations == ("learning_rates: 1e-2 (plan: 1e-3, 1e-2)",)
    logged = plan_file.read(ledger / "mine")
    assert logged is not None
    assert [entry.deviation for entry in logged.log] == list(results.deviations)
    assert file.locked[:4] not in (ledger / "mine" / "results.json").read_text().split('"plan"')[0], "no time in it"


def test_the_first_time_of_a_deviation_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    lock(plan_of(load(tmp_path)), folder, runs=0, late=False)
    deviating = compare(load(tmp_path, TWO_ARMS, "seeds=2"), folder)
    record(folder, deviating)
    before = (folder / plan_file.FILE).read_bytes()
    monkeypatch.setattr(plan_file, "_now", lambda: "2099-01-01T00:00:00Z")
    record(folder, deviating)
    assert (folder / plan_file.FILE).read_bytes() == before
    record(folder, compare(load(tmp_path, TWO_ARMS, "seeds=4"), folder))
    found = plan_file.read(folder)
    assert found is not None
    assert [entry.time[:4] == "2099" for entry in found.log] == [False, True]


def test_a_late_lock_is_not_logged_again(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    lock(plan_of(load(tmp_path)), folder, runs=3, late=True)
    record(folder, compare(load(tmp_path), folder))
    found = plan_file.read(folder)
    assert found is not None
    assert found.log == ()


def test_runs_count_wherever_they_are_known_from(tmp_path: Path) -> None:
    ledger = tmp_path / "studies"
    with Ledger(ledger) as open_ledger:
        assert runs_so_far({"a": Outcome("a")}, {}, open_ledger, ledger / "mine") == frozenset()
        running = {"a": Outcome("a", "running"), "b": Outcome("b", "failed"), "c": Outcome("c")}
        assert runs_so_far(running, {}, open_ledger, ledger / "mine") == {"a", "b"}
        folder = finished(tmp_path)
        rows = {row["address"] for row in json.loads((folder / "results.json").read_text())["runs"]}
        assert len(rows) == 12
        assert runs_so_far(running, {}, open_ledger, folder) == {"a", "b", *rows}


def test_runs_of_another_version_of_the_code_count(tmp_path: Path) -> None:
    study, ledger = load(tmp_path), tmp_path / "studies"
    from fptkit.lab.studies.runner import _recipe_text

    loaded = study.cells[0].loaded
    with Ledger(ledger) as open_ledger:
        open_ledger.claim(Outcome("f" * 64), name="a run", recipe=_recipe_text(loaded))
        assert runs_so_far({}, {"e" * 64: loaded.recipe}, open_ledger, ledger / "mine") == {"f" * 64}
        other = replace(loaded, recipe=loaded.recipe.model_copy(update={"shuffle_tokens": True}))
        assert runs_so_far({}, {"e" * 64: other.recipe}, open_ledger, ledger / "mine") == frozenset()


def with_data(outcomes: dict[str, Outcome], *digests: str) -> dict[str, Outcome]:
    """The runs with the data that they opened, in turn."""
    return {
        address: replace(
            one, summary={**one.summary, "data": {"source": "path:x", "digest": digests[n % len(digests)]}}
        )
        for n, (address, one) in enumerate(outcomes.items())
    }


@pytest.mark.parametrize("locked", [True, False])
def test_runs_that_opened_different_data_are_a_deviation_or_a_warning(tmp_path: Path, locked: bool) -> None:
    study, ledger = load(tmp_path, TWO_ARMS, "seeds=1"), tmp_path / "studies"
    if locked:
        lock(plan_of(study), ledger / "mine", runs=0, late=False)
    outcomes = make_runs(study, ledger)
    write(study, with_data(outcomes, "a" * 32), ledger)
    assert read_results(ledger / "mine").deviations == ()
    write(study, with_data(outcomes, "a" * 32, "b" * 32), ledger)
    results = read_results(ledger / "mine")
    said = "data of bit_xor differ between runs: aaaaaaaaaaaa (2 runs), bbbbbbbbbbbb (2 runs)"
    assert results.deviations == ((said,) if locked else ())
    assert (results.warnings[0] == said) is not locked
    logged = plan_file.read(ledger / "mine")
    assert [entry.deviation for entry in logged.log] == [said] if logged else not locked
    assert verify_study(ledger / "mine").differences == []
