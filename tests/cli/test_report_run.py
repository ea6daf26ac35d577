"""``fptkit report RUN``, and the report that ``fptkit run`` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import study_results as made
from click.testing import CliRunner, Result
from run_folders import classes_of, make_run_folder, split_of

from fptkit.cli.main import cli
from fptkit.errors import FptkitError, UnknownNameError, UsageError


def invoke(*arguments: str | Path) -> Result:
    """Run a command and raise its own errors."""
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    if isinstance(done.exception, FptkitError):
        raise done.exception
    return done


def test_a_run_writes_its_report_and_names_it(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = invoke("run", recipe, "--output", folder)
    assert f"report: {folder / 'report.html'}\n" in done.stdout
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h1>Run of tiny</h1>" in page
    assert "There is no control with random weights" in page  # they are random
    # The command gives the same file.
    (folder / "report.html").unlink()
    again = invoke("report", folder)
    assert again.stdout == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_text(encoding="utf-8") == page
    # A run that is complete is left as it is.
    (folder / "report.html").write_text("mine")
    assert "nothing was trained" in invoke("run", recipe, "--output", folder, "--resume").stderr
    assert (folder / "report.html").read_text() == "mine"


def test_quiet_and_json_print_no_path(recipe: Path, tmp_path: Path) -> None:
    done = invoke("run", recipe, "--output", tmp_path / "quiet", "--quiet")
    assert done.stdout == ""
    assert (tmp_path / "quiet" / "report.html").is_file()
    done = invoke("run", recipe, "--output", tmp_path / "json", "--json")
    assert json.loads(done.stdout)["status"] == "finished"


def test_a_run_without_a_test_has_a_report_and_one_with_it_another(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert "report: " in invoke("run", recipe, "--output", folder, "--no-test").stdout
    assert "The test splits were not evaluated" in (folder / "report.html").read_text(encoding="utf-8")
    invoke("run", recipe, "--output", folder, "--resume")
    assert "Confusion" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_does_not_fail_the_run(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    done = invoke("run", recipe, "--output", tmp_path / "run")
    assert done.exit_code == 0
    assert "report.html cannot be written" in done.stderr
    assert "report: " not in done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run_folder(tmp_path / "made", split_of(classes_of()))


def test_other_places_and_forms(folder: Path, tmp_path: Path) -> None:
    assert invoke("report", folder, "--output", tmp_path / "page.html").stdout == f"{tmp_path / 'page.html'}\n"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    invoke("report", folder, "--output", tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text(encoding="utf-8").startswith("# Run of mine")
    done = invoke("report", folder, "--format", "markdown", "--output", tmp_path / "with.md", "--figures")
    assert f"{tmp_path / 'with_figures' / 'curve-loss.svg'}" in done.stdout
    assert not (folder / "report.html").exists()


def test_json_has_summary_and_assessment(folder: Path) -> None:
    found = json.loads(invoke("report", folder, "--json").stdout)
    assert found["summary"]["recipe"] == "mine"
    assert found["assessment"]["splits"]["test"]["answers"]["right"] == 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "csv"], "is a run, which has no report as csv; use --format html or markdown"),
        (["--format", "terminal"], "is a run, which has no report as terminal"),
        (["--anew"], "--against and --anew are for studies"),
        (["--against", "fpt2021"], "--against and --anew are for studies"),
        (["--output", "report.pdf"], "its suffix is none of"),
    ],
)
def test_options_that_do_not_go_with_a_run(options: list[str], message: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=message):
        invoke("report", folder, *options)


def test_a_folder_without_a_run_and_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no results of a study"):
        invoke("report", tmp_path)
    with pytest.raises(UnknownNameError):
        invoke("report", "nothing", "--ledger", tmp_path)


def test_a_study_is_not_taken_for_a_run(tmp_path: Path) -> None:
    results = made.study(("mnist",), ("pretrained", "random"))
    made.save(results, tmp_path / "mine", made.costs_of(results))
    (tmp_path / "mine" / "summary.json").write_text("{}")
    assert "pretrained (reference)" in invoke("report", tmp_path / "mine").stdout
