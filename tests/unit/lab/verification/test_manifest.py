"""The manifest of a study: what it lists, what it leaves out, and reports that are written again."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from finished_studies import TWO_ARMS, finished, load, make_runs, write

from fptkit.errors import DataError, UsageError
from fptkit.lab.reporting import write_reports
from fptkit.lab.studies.results import run_folder
from fptkit.lab.verification.manifest import (
    MANIFEST,
    Manifest,
    ReportRecord,
    files_in,
    read_manifest,
    record_reports,
    run_digests,
    same_json,
)
from fptkit.lab.verification.verify import verify_study


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return finished(tmp_path, TWO_ARMS, "seeds=1")


def test_every_file_has_its_digest(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert {*manifest.files, MANIFEST} == {path.name for path in folder.iterdir()}
    for name, digest in manifest.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    for address, record in manifest.runs.items():
        run = run_folder(folder.parent, address)
        assert [*record.files] == files_in(run)
        for name, digest in record.files.items():
            assert hashlib.sha256((run / name).read_bytes()).hexdigest() == digest
        assert record.metrics_bytes == (run / "metrics.jsonl").stat().st_size


def test_the_trials_say_which_run_is_which(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert len(manifest.trials) == len(manifest.runs) == 4
    for trial in manifest.trials:
        summary = manifest.runs[trial.address].summary
        assert (summary["learning_rate"], summary["seed"]) == (trial.learning_rate, trial.seed)


def test_digests_of_tensors_are_copied_and_not_computed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints may be large; the run itself has written their digests."""
    run = min((folder.parent / "runs").iterdir())
    before = run_digests(run)
    for path in run.rglob("*.safetensors"):
        path.write_bytes(b"other")
    assert run_digests(run) == before


def test_locks_and_unfinished_files_are_left_out(tmp_path: Path) -> None:
    for name in (".lock", ".plan.json.lock", ".report.md.abc.part", ".step-1.part/x", ".step-1.old/x", "a/b", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    assert files_in(tmp_path) == ["a/b", "c"]


def test_nothing_rests_on_runs_that_have_not_started_or_are_in_progress(tmp_path: Path) -> None:
    study, ledger = load(tmp_path, TWO_ARMS, "seeds=1"), tmp_path / "studies"
    outcomes = make_runs(study, ledger)
    first, second, *_ = outcomes
    del outcomes[first]  # not started
    outcomes[second] = replace(outcomes[second], status="running")
    write(study, outcomes, ledger)
    manifest = read_manifest(ledger / "mine")
    assert manifest.runs[first].files == manifest.runs[second].files == {}
    assert manifest.runs[first].status == "waiting"
    (run_folder(ledger, second) / "summary.json").write_text("{}", encoding="utf-8")
    assert verify_study(ledger / "mine").differences == []


def test_a_run_that_moved_on_while_the_study_was_written_is_recorded_as_it_was(tmp_path: Path) -> None:
    study, ledger = load(tmp_path, TWO_ARMS, "seeds=1"), tmp_path / "studies"
    outcomes = make_runs(study, ledger)
    first = next(iter(outcomes))
    outcomes[first] = replace(outcomes[first], summary={**outcomes[first].summary, "steps": 1})
    write(study, outcomes, ledger)
    assert read_manifest(ledger / "mine").runs[first].files == {}
    assert verify_study(ledger / "mine").differences == []


def test_values_that_are_no_numbers_survive(tmp_path: Path) -> None:
    study, ledger = load(tmp_path, TWO_ARMS, "seeds=1"), tmp_path / "studies"
    outcomes = make_runs(study, ledger)
    first = next(iter(outcomes))
    path = run_folder(ledger, first) / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["examples_per_second"] = math.nan
    path.write_text(json.dumps(summary), encoding="utf-8")
    outcomes[first] = replace(outcomes[first], summary=summary)
    write(study, outcomes, ledger)
    record = read_manifest(ledger / "mine").runs[first]
    assert math.isnan(record.summary["examples_per_second"])
    assert record.files
    assert verify_study(ledger / "mine").differences == []


def test_equality_of_json() -> None:
    assert same_json({"a": math.nan, "b": 1}, {"b": 1, "a": math.nan})
    assert not same_json({"a": 1}, {"a": 1.0})


def test_the_digest_is_of_everything_else(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.digest == manifest.right_digest
    for change in ({"made": "2000-01-01"}, {"locked": "x"}, {"log": 3}, {"files": {}}, {"trials": ()}, {"runs": {}}):
        assert manifest.model_copy(update=change).right_digest != manifest.digest, change
    assert Manifest.model_validate_json(manifest.text) == manifest


def test_reports_written_again_are_recorded(folder: Path) -> None:
    paths = write_reports(folder, folder.parent, against=["fpt2021"])
    assert verify_study(folder).differences, "the reports are others now"
    record_reports(folder, paths, ["fpt2021"])
    assert verify_study(folder).differences == []
    assert read_manifest(folder).reports["report.html"] == ReportRecord(against=("fpt2021",))
    write_reports(folder, folder.parent)
    record_reports(folder, [folder / "report.md"], [])
    names = {difference.file for difference in verify_study(folder).differences}
    assert names == {"mine/report.html"}, "the CSV table is the same without published figures"


def test_reports_elsewhere_change_nothing(folder: Path, tmp_path: Path) -> None:
    before = (folder / MANIFEST).read_bytes()
    (tmp_path / "report.md").write_text("", encoding="utf-8")
    record_reports(folder, [tmp_path / "report.md"], [])
    assert read_manifest(folder).files == Manifest.model_validate_json(before).files
    (folder / MANIFEST).unlink()
    record_reports(folder, [folder / "report.md"], [])
    assert not (folder / MANIFEST).exists()


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run its fptkit study command again"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="digest: Field required; replace it by an intact copy"):
        read_manifest(tmp_path)


def damaged(folder: Path, *keys: str, name: str) -> None:
    """Rename the first key of a mapping in the manifest."""
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    inner = content
    for key in keys:
        inner = inner[min(inner) if key == "*" else key]
    inner[name] = inner.pop(min(inner))
    (folder / MANIFEST).write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a/..", "..", "C:x", "a\\..\\x", "a\0b", ""])
def test_names_that_lead_out_of_a_folder_are_refused(folder: Path, name: str) -> None:
    """A manifest may come from somebody else."""
    intact = (folder / MANIFEST).read_bytes()
    for keys in (["files"], ["runs", "*", "files"]):
        damaged(folder, *keys, name=name)
        with pytest.raises(DataError, match="is damaged"):
            read_manifest(folder)
        (folder / MANIFEST).write_bytes(intact)


@pytest.mark.parametrize("name", ["../../../../etc", "", "F" * 64, "f" * 63, "f" * 65])
def test_addresses_are_digests(folder: Path, name: str) -> None:
    damaged(folder, "runs", name=name)
    with pytest.raises(DataError, match="is damaged"):
        read_manifest(folder)


def test_usual_names_are_accepted(folder: Path) -> None:
    damaged(folder, "files", name="report_figures/a..b-0.svg")
    assert "report_figures/a..b-0.svg" in read_manifest(folder).files
