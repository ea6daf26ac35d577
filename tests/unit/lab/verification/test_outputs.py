"""Stored results replaced by those of this version: what is renewed, what is refused, and what stays as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from finished_studies import TWO_ARMS, change_digit, finished

from fptkit.cli.main import cli
from fptkit.errors import UsageError
from fptkit.lab.reporting.write import FILES
from fptkit.lab.studies.results import COSTS, RESULTS
from fptkit.lab.verification.bundles.bundle import write_bundle
from fptkit.lab.verification.manifest import read_manifest, write_manifest
from fptkit.lab.verification.outputs import renew_outputs
from fptkit.lab.verification.verify import verify_study
from fptkit.sources.download import file_sha256

SMALL = TWO_ARMS.replace("[1e-3, 1e-2]", "[1e-3]").replace("seeds: 3", "seeds: 2")

OTHER = "0" * 64
"""Version of the code that made the runs."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of a finished study."""
    place = tmp_path_factory.mktemp("made")
    finished(place, SMALL)
    return place / "studies"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the study's folder, in a copy of its ledger."""
    shutil.copytree(made, tmp_path / "studies")
    return tmp_path / "studies" / "mine"


def as_other_statistics_wrote_it(folder: Path) -> None:
    """Change a figure, and seal it in the manifest as another version of the code would have."""
    content = json.loads((folder / RESULTS).read_text("utf-8"))
    content["comparisons"][0]["mean"] += 0.01
    (folder / RESULTS).write_text(json.dumps({**content, "code_version": OTHER}), "utf-8")
    manifest = read_manifest(folder)
    plan = manifest.plan.model_copy(update={"code": OTHER})
    files = {**manifest.files, RESULTS: file_sha256(folder / RESULTS)}
    write_manifest(folder, manifest.model_copy(update={"plan": plan, "files": files}).sealed())


def texts(folder: Path) -> dict[str, str]:
    found = {name: (folder / name).read_text("utf-8") for name in (RESULTS, COSTS, *FILES.values())}
    version = json.loads(found[RESULTS])["code_version"]
    return {name: text.replace(version, "VERSION") for name, text in found.items()}


def test_figures_of_other_statistics_are_replaced(folder: Path, tmp_path: Path) -> None:
    before, runs = texts(folder), read_manifest(folder).runs
    as_other_statistics_wrote_it(folder)
    assert verify_study(folder).differences
    with pytest.raises(UsageError, match=r"does not agree with its runs.*--anew --save"):
        write_bundle(folder, tmp_path / "mine.zip")
    done = CliRunner().invoke(cli, ["report", str(folder), "--anew", "--save"])
    assert done.output.endswith("results and reports are those of this version; the runs are as they were\n")
    assert verify_study(folder).differences == []
    assert texts(folder) == before
    assert read_manifest(folder).runs == runs
    assert write_bundle(folder, tmp_path / "mine.zip")


def test_what_was_interrupted_is_done_by_another_call(folder: Path) -> None:
    before = texts(folder)
    as_other_statistics_wrote_it(folder)
    (folder / RESULTS).write_text(before[RESULTS].replace("VERSION", OTHER), "utf-8")  # the manifest was not written
    (folder / "report.md").unlink()
    renew_outputs(folder)
    assert (texts(folder), verify_study(folder).differences) == (before, [])


def test_pictures_beside_the_report_are_renewed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["report", str(folder), "--format", "markdown", "--output", str(folder / "report.md"), "--figures"]
    assert CliRunner().invoke(cli, asked).exit_code == 0
    pictures = {path: path.read_text("utf-8") for path in folder.glob("report_figures/*.svg")}
    assert pictures
    as_other_statistics_wrote_it(folder)
    min(pictures).write_text("written by a call that was interrupted", "utf-8")
    monkeypatch.chdir(folder)
    assert CliRunner().invoke(cli, ["report", ".", "--anew", "--save"]).exit_code == 0
    assert {path: path.read_text("utf-8") for path in pictures} == pictures
    assert verify_study(folder).differences == []


@pytest.mark.parametrize("altered", ["runs/*/summary.json", "runs/*/recipe.yaml", "mine/study.yaml"])
def test_altered_runs_and_plans_are_refused(folder: Path, altered: str) -> None:
    as_other_statistics_wrote_it(folder)
    path = min(folder.parent.glob(altered))
    change_digit(path)
    stored = texts(folder)
    with pytest.raises(UsageError, match=r"cannot be derived anew: .*fptkit verify"):
        renew_outputs(folder)
    assert texts(folder) == stored


def test_a_study_without_a_manifest_is_refused(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"has no manifest\.json"):
        renew_outputs(folder)


@pytest.mark.parametrize("others", [[], ["--anew", "--json"], ["--anew", "--format", "csv"], ["--against", "fpt2021"]])
def test_saving_is_an_option_of_its_own(folder: Path, others: list[str]) -> None:
    stored = texts(folder)
    done = CliRunner().invoke(cli, ["report", str(folder), "--save", *others])
    assert "--save replaces the stored results and reports: give it with --anew and nothing else" in str(done.exception)
    assert texts(folder) == stored


def test_runs_that_were_not_made_are_counted(folder: Path) -> None:
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"trials": manifest.trials[1:]}).sealed())
    with pytest.raises(UsageError, match="this version's statistics need 1 run that the study did not make"):
        renew_outputs(folder)
