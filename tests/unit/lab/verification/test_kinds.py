"""What a path leads to: a bundle, a study, an earlier study, a run, or nothing to verify."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from finished_studies import TWO_ARMS, finished

from fptkit.errors import DataError, UsageError
from fptkit.lab.verification.bundles.bundle import write_bundle
from fptkit.lab.verification.kinds import Options, verify_path
from fptkit.lab.verification.manifest import MANIFEST

QUIET = Options()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return finished(tmp_path, TWO_ARMS, "seeds=1")


def test_a_relative_path_works(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert verify_path(Path("."), QUIET).runs == 4
    monkeypatch.chdir(tmp_path)
    assert verify_path(Path("studies/mine"), QUIET).runs == 4


def test_bundles_are_verified_packed_and_unpacked_whole_and_in_part(folder: Path, tmp_path: Path) -> None:
    write_bundle(folder, tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        archive.extractall(tmp_path / "un")
    run = min((tmp_path / "un" / "runs").iterdir())
    for path, runs in (("b.zip", 4), ("un", 4), ("un/mine", 4), (f"un/runs/{run.name}", 1)):
        findings = verify_path(tmp_path / path, QUIET)
        assert findings.differences == [], path
        assert findings.runs == runs
        assert findings.files
    (run / "summary.json").write_text("{}", encoding="utf-8")
    for path in ("un", "un/mine", f"un/runs/{run.name}"):
        assert verify_path(tmp_path / path, QUIET).differences, path


def test_a_study_without_a_manifest_has_its_figures_checked(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    findings = verify_path(folder, QUIET)
    assert findings.differences == []
    assert findings.runs == 4
    assert "has no manifest.json, so only figures are checked" in findings.notes[0]
    path = folder / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cells"][1]["test"]["test"]["mean"] = 0.99
    path.write_text(json.dumps(content), encoding="utf-8")
    (difference,) = verify_path(folder, QUIET).differences
    assert str(difference).startswith("mine/results.json: cells[1].test.test.mean: 0.99 stored, 0.")


def test_results_of_format_1_cannot_be_derived(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    path = folder / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "format": 1}), encoding="utf-8")
    findings = verify_path(folder, QUIET)
    assert findings.differences == []
    assert any("fptkit report --anew" in note for note in findings.notes)


def test_a_run_cannot_be_drawn_from_itself(folder: Path) -> None:
    run = min((folder.parent / "runs").iterdir())
    with pytest.raises(UsageError, match=r"--rerun is for runs of a study.*fptkit run .*recipe\.yaml"):
        verify_path(run, Options(reruns=1))
    with pytest.raises(UsageError, match=r"--run is for runs of a study"):
        verify_path(run, Options(runs=(run.name,)))


def test_without_a_manifest_nothing_is_repeated(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    for options, option in ((Options(reruns=1), "--rerun"), (Options(runs=("ab",)), "--run")):
        with pytest.raises(UsageError, match=rf"{option} needs manifest\.json"):
            verify_path(folder, options)


def test_a_name_of_no_run_of_the_study_is_an_error(folder: Path, tmp_path: Path) -> None:
    write_bundle(folder, tmp_path / "b.zip")
    for path in (folder, tmp_path / "b.zip"):
        with pytest.raises(UsageError, match=r"the study has no run 'nothing'"):
            verify_path(path, Options(runs=("nothing",)))


def test_files_in_disorder_are_not_worth_a_repetition(folder: Path) -> None:
    (folder / "report.md").write_text("", encoding="utf-8")
    findings = verify_path(folder, Options(runs=(min((folder.parent / "runs").iterdir()).name,)))
    assert findings.differences
    assert "no run was repeated, since the files do not agree" in findings.notes


@pytest.mark.parametrize("name", ["empty", "file.txt"])
def test_anything_else_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x", encoding="utf-8")
    with pytest.raises((UsageError, DataError), match=r"neither a study's folder|not readable as a zip file"):
        verify_path(tmp_path / name, QUIET)
