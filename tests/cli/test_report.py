"""``fptkit report``: finding the study, the formats, where they go, published figures, what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import study_results as made
from click.testing import CliRunner, Result
from stored_studies import carried_out
from written_files import TWO_ARMS

from fptkit.cli.main import cli
from fptkit.errors import DataError, FptkitError, UnknownNameError, UsageError
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.results import run_folder

RESULTS = made.study(("mnist", "bit_xor"), ("pretrained", "random"), warnings=("the grid is narrow",))


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose ledger holds one study."""
    made.save(RESULTS, tmp_path / "studies" / "modality-nano", made.costs_of(RESULTS))
    (tmp_path / "studies" / "runs" / RESULTS.runs[0].address[:16]).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "studies"


def report(*arguments: str | Path) -> Result:
    """Run the command and raise its own errors."""
    done = CliRunner().invoke(cli, ["report", *map(str, arguments)])
    if isinstance(done.exception, FptkitError):
        raise done.exception
    return done


@pytest.mark.parametrize("study", ["modality-nano", "studies/modality-nano", "studies/modality-nano/"])
def test_a_study_is_found_by_name_and_by_folder(study: str, studies: Path) -> None:
    done = report(study)
    assert done.exit_code == 0
    assert done.stderr == "warning: the grid is narrow\n"
    assert re.search(r"^pretrained \(reference\) +\d\d\.\d ± \d\.\d \(rank 1; rate", done.stdout, re.MULTILINE)
    assert "pretraining lift: pretrained is better than random over 2 tasks by 5.1 points [2.7, 7.5]" in done.stdout
    assert "  - mnist: better by 5.1 points [2.7, 7.5], p = 0.004" in done.stdout


def test_another_ledger(studies: Path) -> None:
    studies.rename(studies.parent / "elsewhere")
    with pytest.raises(UnknownNameError):
        report("modality-nano")
    assert report("modality-nano", "--ledger", "elsewhere").exit_code == 0


def test_a_misspelt_study_gets_the_nearest_name(studies: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        report("modalty-nano")
    assert caught.value.suggestion == "modality-nano"
    assert caught.value.known == ("modality-nano",)
    assert "looked up in studies/" in str(caught.value)


def test_a_folder_that_is_no_study_is_reported(studies: Path) -> None:
    (studies / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty holds no results of a study \(results\.json\)"):
        report("empty")


def test_damaged_results_are_reported(studies: Path) -> None:
    (studies / "modality-nano" / "results.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        report("modality-nano")


@pytest.mark.parametrize("form", ["markdown", "csv", "html"])
def test_a_format_on_stdout_is_the_file_without_links_to_runs(form: str, studies: Path) -> None:
    done = report("modality-nano", "--format", form)
    assert done.stderr == ""
    name = {"markdown": "report.md", "csv": "results.csv", "html": "report.html"}[form]
    assert report("modality-nano", "--output", "studies/modality-nano").exit_code == 0
    kept = (studies / "modality-nano" / name).read_text(encoding="utf-8")
    run = RESULTS.runs[0].address[:16]
    if form != "csv":
        assert f"../runs/{run}/" in kept
    kept = kept.replace(f"[{run}](../runs/{run}/)", run).replace(f'<a href="../runs/{run}/">{run}</a>', run)
    assert done.stdout == kept


def test_a_report_written_elsewhere_links_only_to_its_pictures(studies: Path, tmp_path: Path) -> None:
    done = report("modality-nano", "--format", "markdown", "--output", "docs/modality.md", "--figures")
    files = done.stdout.splitlines()
    assert files[0] == str(Path("docs/modality.md"))
    text = (tmp_path / "docs" / "modality.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert [str(Path("docs", target)) for target in targets] == files[1:]
    assert len(targets) == len(set(targets)) > 5
    for target in targets:
        root = ElementTree.parse(tmp_path / "docs" / target).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize(
    ("output", "written"),
    [
        ("kept", ["kept/report.html", "kept/report.md", "kept/results.csv"]),
        ("kept/page.html", ["kept/page.html"]),
        ("table.csv", ["table.csv"]),
        ("text.md", ["text.md"]),
    ],
)
def test_the_format_follows_from_the_name_of_the_output(output: str, written: list[str], studies: Path) -> None:
    done = report("modality-nano", "--output", output)
    assert sorted(Path(line).as_posix() for line in done.stdout.splitlines()) == written
    for path in written:
        start = Path(path).read_text(encoding="utf-8")[:20]
        assert start.startswith(
            {".html": "<!doctype html>", ".md": "# modality", ".csv": "task,arm"}[Path(path).suffix]
        )


def test_results_of_an_earlier_version_keep_their_verdicts_and_say_so_once(studies: Path) -> None:
    earlier = Path(__file__).parents[1] / "unit" / "lab" / "studies" / "results_format_1.json"
    (studies / "old").mkdir()
    (studies / "old" / "results.json").write_bytes(earlier.read_bytes())
    done = report("old")
    assert done.exit_code == 0
    assert done.stderr.count("made by an earlier version, with one learning rate for all seeds") == 1
    assert "not enough evidence" in done.stdout
    found = json.loads(report("old", "--json").stdout)["results"]
    assert (found["format"], found["choose"], found["level"]) == (1, "common", 0.04)
    assert [(cell["chosen_rate"], cell["chosen_rates"]) for cell in found["cells"]] == [(0.01, {}), (0.01, {})]
    for form in ("markdown", "html", "csv"):
        text = report("old", "--format", form).stdout
        assert text.count("made by an earlier version") == (0 if form == "csv" else 1)
    with pytest.raises(UsageError, match=r"study\.yaml is missing"):
        report("old", "--anew")


def test_results_are_derived_anew_from_stored_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(TWO_ARMS, encoding="utf-8")
    study = load_study("mine.yaml", overrides=["seeds=5"])
    _, runs = carried_out(study, Path("studies"), lambda name, trial: 0.6 + trial.seed / 100 + trial.learning_rate)
    path = Path("studies/mine/results.json")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"verdict": "same"', '"verdict": "better"'), encoding="utf-8")
    assert '"verdict": "better"' in path.read_text(encoding="utf-8")
    assert json.loads(report("mine", "--json").stdout)["results"]["comparisons"][0]["verdict"] == "better"
    anew = report("mine", "--anew", "--json")
    assert json.loads(anew.stdout)["results"]["comparisons"][0]["verdict"] == "same"
    assert anew.stderr == ""
    shown = report("mine", "--anew")
    assert "derived again with the statistics of this version from the 20 stored runs" in shown.stderr
    own = next(address for address, outcome in runs.made.items() if outcome.status == "finished")
    close_test(run_folder(Path("studies"), own))
    lacking = report("mine", "--anew")
    assert "1 seed is missing from the comparisons" in lacking.stderr
    assert lacking.stderr.endswith(
        f"to evaluate the missing tests and make the missing runs: fptkit study {study.path} --ledger studies\n"
    )
    written = report("mine", "--anew", "--output", "there")
    assert written.exit_code == 0
    assert "derived again" in Path("there/report.md").read_text(encoding="utf-8")


def close_test(run: Path) -> None:
    told = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    told.update(status="validated", metrics={**told["metrics"], "test": {}})
    (run / "summary.json").write_text(json.dumps(told), encoding="utf-8")


def test_json_holds_everything(studies: Path) -> None:
    content = json.loads(report("modality-nano", "--json", "--against", "rothermel2021").stdout)
    assert content["results"] == RESULTS.model_dump(mode="json")
    pairs = content["against"]["rothermel2021"]
    assert [(pair["task"], pair["arm"]) for pair in pairs if pair["arm"]] == [
        ("mnist", "pretrained"),
        ("mnist", "random"),
        ("bit_xor", "pretrained"),
        ("bit_xor", "random"),
    ]
    assert json.loads(report("modality-nano", "--json").stdout)["against"] == {}


@pytest.mark.parametrize("form", ["terminal", "markdown", "html"])
def test_published_figures_are_shown_beside_ours_with_reasons(form: str, studies: Path) -> None:
    text = report("modality-nano", "--format", form, "--against", "fpt2021", "--against", "rothermel2021").stdout
    assert text.index("Against fpt2021") < text.rindex("Against rothermel2021")
    assert "Not comparable, for orientation" in text
    assert "size: ours 4 blocks of 256, theirs 12 blocks of 768" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figures"], "--figures writes the pictures next to a file"),
        (["--figures", "--output", "x.html"], "--figures writes the pictures next to a file"),
        (["--json", "--format", "html"], "--json prints on stdout"),
        (["--json", "--output", "x.json"], "--json prints on stdout"),
        (["--format", "terminal", "--output", "x"], "--format terminal prints on stdout"),
        (["--output", "x.pdf"], r"its suffix is none of \.md, \.csv, \.html"),
        (["--output", "studies/modality-nano/results.json/x.md"], "cannot be written"),
    ],
)
def test_incompatible_options_are_refused(arguments: list[str], message: str, studies: Path) -> None:
    before = sorted(studies.parent.rglob("*"))
    with pytest.raises(UsageError, match=message):
        report("modality-nano", *arguments)
    assert sorted(studies.parent.rglob("*")) == before


def test_an_unknown_paper_is_reported_before_anything_is_written(studies: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        report("modality-nano", "--against", "fpt2012", "--output", "kept")
    assert caught.value.suggestion == "fpt2021"
    assert not Path("kept").exists()


def test_an_unknown_format_is_a_usage_error(studies: Path) -> None:
    assert report("modality-nano", "--format", "pdf").exit_code == 2


@pytest.mark.slow
def test_as_a_process_it_is_light_and_ends_with_the_right_status(studies: Path) -> None:
    code = (
        "import sys\nfrom fptkit.cli.main import main\ntry:\n    main()\n"
        "finally:\n    heavy = {'torch', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )

    def process(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, "report", *arguments],
            env={**os.environ, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    done = process("modality-nano", "--against", "fpt2021")
    assert (done.returncode, done.stderr) == (0, "warning: the grid is narrow\n")
    assert "\x1b" not in done.stdout
    assert process("modalit").returncode == 2
    (studies / "modality-nano" / "results.json").write_text("[]")
    assert process("modality-nano").returncode == 3


def test_names_of_studies_complete(studies: Path) -> None:
    done = CliRunner().invoke(
        cli,
        [],
        prog_name="fptkit",
        env={"_FPTKIT_COMPLETE": "bash_complete", "COMP_WORDS": "fptkit report mod", "COMP_CWORD": "2"},
    )
    assert "plain,modality-nano" in done.stdout.splitlines()
