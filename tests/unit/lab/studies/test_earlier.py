"""Studies with runs made by another version of the code: they are counted, kept, and never mixed in."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from written_files import TWO_ARMS

from fptkit.cli.main import cli
from fptkit.engine.code_version import code_version
from fptkit.lab.studies import load as module
from fptkit.lab.studies.earlier import earlier_notes, earlier_runs, other_data_notes
from fptkit.lab.studies.job import JobResult
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Study
from fptkit.lab.studies.progress import LineView
from fptkit.lab.studies.results import read_results
from fptkit.lab.studies.runner import StudyRunner
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.models import SeedOptions

OLD, NEW = "0" * 64, "1" * 64


def load(folder: Path, text: str = TWO_ARMS, code: str = OLD) -> Study:
    (folder / "mine.yaml").write_text(text)
    return replace(load_study(str(folder / "mine.yaml")), code_version=code)


def runner_of(study: Study, ledger: Ledger) -> StudyRunner:
    def none_needed(_: object) -> None:
        raise AssertionError("a launcher was made")

    return StudyRunner(study, ledger, none_needed, LineView(Console(quiet=True)))  # type: ignore[arg-type]


def make_runs(study: Study, ledger: Ledger, number: int | None = None) -> None:
    """Begin and end the first runs of a study, without training."""
    for address, recipe in list(runner_of(study, ledger).unmade().items())[:number]:
        assert ledger.claim(Outcome(address), name="any", recipe=dump_recipe(recipe))
        summary = {"status": "validated", "steps": 20, "selection": {"metric": "accuracy", "higher_is_better": True}}
        folder = ledger.folder / "runs" / address[:16]
        (folder / "summary.json").write_text(json.dumps({**summary, "metrics": {"validation": {"accuracy": 0.5}}}))
        ledger.settle(address, JobResult("validated").status)


def count(study: Study, ledger: Ledger) -> int:
    return earlier_runs(runner_of(study, ledger).unmade(), ledger)


def test_runs_of_another_code_are_counted(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s") as ledger:
        study = load(tmp_path)
        assert count(study, ledger) == 0
        make_runs(study, ledger, 5)
        assert count(study, ledger) == 0, "of the same code, they are the study's own"
        again = replace(study, code_version=NEW)
        assert count(again, ledger) == 5
        make_runs(again, ledger, 6)
        assert count(again, ledger) == 0, "of those that are still to be made, another code has made none"
        make_runs(study, ledger)
        assert count(again, ledger) == 2


def test_other_recipes_are_other_runs_whatever_the_code(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s") as ledger:
        make_runs(load(tmp_path), ledger)
        assert count(load(tmp_path, TWO_ARMS + "budget: {steps: 7}\n", NEW), ledger) == 0
        one_rate = TWO_ARMS.replace("[1e-3, 1e-2]", "[1e-3, 3e-3]")
        assert count(load(tmp_path, one_rate, NEW), ledger) == 4


def test_options_that_came_later_or_do_not_decide_make_no_other_run(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s") as ledger:
        study = load(tmp_path)
        address, recipe = next(iter(runner_of(study, ledger).unmade().items()))
        text = dump_recipe(recipe).replace("  clip_norm: 1.0\n", "  gone: 1\n").replace("log_every: ", "log_every: 1")
        assert text != dump_recipe(recipe)
        ledger.claim(Outcome(address), name="any", recipe=text)
        assert count(replace(study, code_version=NEW), ledger) == 1


def test_seeds_of_single_sources_make_another_run(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s") as ledger:
        study = load(tmp_path)
        address, recipe = next(iter(runner_of(study, ledger).unmade().items()))
        train = recipe.train.model_copy(update={"seeds": SeedOptions(init=1)})
        varied = recipe.model_copy(update={"train": train})
        of_a_version_without = re.sub(r"  seeds:\n(    .*\n)+", "", dump_recipe(recipe))
        ledger.claim(Outcome(address), name="any", recipe=of_a_version_without)
        assert earlier_runs({"0" * 64: recipe}, ledger) == 1
        assert earlier_runs({"0" * 64: varied}, ledger) == 0
        ledger.claim(Outcome("1" * 64), name="any", recipe=dump_recipe(varied))
        assert earlier_runs({"0" * 64: recipe}, ledger) == 1
        assert earlier_runs({"0" * 64: varied}, ledger) == 1


def test_rows_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s") as ledger:
        for number, text in enumerate(("[", "x", "task: 3\ntrain: [1]\nbackbone:\n")):
            ledger.claim(Outcome(f"{number}" * 64), name="any", recipe=text)
        assert count(load(tmp_path), ledger) == 0


def test_runs_on_other_data_are_distinguished_from_those_of_another_code(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s") as ledger:
        study = load(tmp_path)
        make_runs(study, ledger, 3)
        folders = sorted((tmp_path / "s/runs").iterdir())
        for folder, files in zip(folders, (1, 1, 0), strict=True):
            (folder / "environment.json").write_text(json.dumps({"code": [code_version()]}))
            summary = json.loads((folder / "summary.json").read_text())
            summary["data"] = {"source": "path:t.csv", "digest": "d1", "files": files}
            (folder / "summary.json").write_text(json.dumps(summary))
        unmade = runner_of(replace(study, code_version=NEW), ledger).unmade()
        assert earlier_runs(unmade, ledger) == 1
        (note,) = other_data_notes(unmade, ledger)
        assert note.startswith(
            "2 runs of this study were made on other data under the same path (path:t.csv; digest d1)"
        )
        assert other_data_notes({}, ledger) == []


def write_results(folder: Path, study: Study) -> None:
    from fptkit.lab.studies.summarise import write_results

    write_results(study, {}, folder.parent, folder)


def test_nothing_is_reported_without_earlier_runs(tmp_path: Path) -> None:
    study, folder = load(tmp_path), tmp_path / "s" / "mine"
    assert earlier_notes(study, folder, 0, keep=True) == []
    write_results(folder, study)
    assert earlier_notes(study, folder, 0, keep=True) == []
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["mine"]


def test_earlier_results_are_kept_before_new_ones_take_their_place(tmp_path: Path) -> None:
    study, folder = load(tmp_path), tmp_path / "s" / "mine"
    write_results(folder, study)
    before = (folder / "results.json").read_bytes()
    again = replace(study, code_version=NEW)
    kept = tmp_path / "s" / "mine-00000000"
    lines = earlier_notes(again, folder, 40, keep=False)
    assert f"fptkit report {folder}" in lines[1]
    assert not kept.exists()
    lines = earlier_notes(again, folder, 40, keep=True)
    assert lines[0] == (
        "40 runs of this study were made by another version of the code (code 00000000); this is 11111111. Results "
        "could differ, so the runs are repeated. The earlier ones are kept and not mixed in."
    )
    assert lines[1] == f"to see the earlier results: fptkit report {kept}"
    assert lines[2].startswith("to continue or repeat the earlier runs: the same command with the version of fptkit")
    write_results(folder, again)
    assert (kept / "results.json").read_bytes() == before
    assert read_results(folder).code_version == NEW
    # Called again, after it was stopped.
    lines = earlier_notes(again, folder, 1, keep=True)
    assert lines[0].startswith("1 run of this study was made by another version of the code (code 00000000)")
    assert lines[1] == f"to see the earlier results: fptkit report {kept}"
    assert earlier_notes(again, folder, 0, keep=True) == []


def test_results_alone_are_kept_too(tmp_path: Path) -> None:
    study, folder = load(tmp_path), tmp_path / "s" / "mine"
    write_results(folder, study)
    lines = earlier_notes(replace(study, code_version=NEW), folder, 0, keep=True)
    assert lines[0] == "the results so far were made by another version of the code (code 00000000); they are kept"
    assert (tmp_path / "s" / "mine-00000000" / "results.json").is_file()


def test_runs_without_results_are_reported_as_well(tmp_path: Path) -> None:
    study, folder = load(tmp_path), tmp_path / "s" / "mine"
    lines = earlier_notes(study, folder, 3, keep=True)
    assert lines[0].startswith("3 runs of this study were made by another version of the code; this is 00000000.")
    assert len(lines) == 2
    folder.mkdir(parents=True)
    (folder / "results.json").write_text("{")
    assert earlier_notes(study, folder, 3, keep=True) == lines, "results that cannot be read cannot be shown"


def test_the_command_says_so_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "code_version", lambda: OLD)
    with Ledger(tmp_path / "s") as ledger:
        make_runs(load(tmp_path), ledger)
    monkeypatch.setattr(module, "code_version", lambda: NEW)
    done = CliRunner().invoke(cli, ["study", "mine.yaml", "--ledger", "s", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "8 runs of this study were made by another version of the code; this is 11111111." in done.stderr
    assert "8 to do; nothing was run" in done.stdout
