"""`fptkit.study`: a study from Python, its rows and its report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fptkit
from fptkit.errors import RecipeError, UnknownNameError, UsageError

STUDY: dict[str, Any] = {
    "seeds": 3,
    "tasks": {"xor": {"task": {"name": "bit_xor", "bits": 3, "validation_size": 40, "test_size": 50}}},
    "arms": {
        "one": {"backbone": {"name": "random", "blocks": 1, "width": 16, "heads": 2, "size": "nano"}},
        "two": {"backbone": {"name": "random", "blocks": 2, "width": 16, "heads": 2, "size": "nano"}},
    },
    "budget": {"steps": 4},
}


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_a_study_given_as_a_mapping(capfd: pytest.CaptureFixture[str]) -> None:
    found = fptkit.study(STUDY, name="mine", workers=1, quiet=True)
    assert capfd.readouterr() == ("", "")
    assert found.folder == Path("studies/mine")
    assert [(row["task"], row["arm"], row["seeds"], row["complete"]) for row in found.scores()] == [
        ("xor", "one", 3, True),
        ("xor", "two", 3, True),
    ]
    (row,) = found.verdicts()
    by_arm = {score["arm"]: score["mean"] for score in found.scores()}
    assert (row["a"], row["b"]) == ("two", "one")
    assert row["difference"] == pytest.approx(by_arm["two"] - by_arm["one"])
    assert row["verdict"] in ("better", "worse", "same", "undecided", "not enough evidence")
    for form, beginning in (("markdown", "# mine"), ("html", "<!DOCTYPE html>"), ("csv", "task,arm,")):
        text = found.report(form)  # type: ignore[arg-type]
        assert text.lower().startswith(beginning.lower()), text[:50]
    assert found.report("markdown") == (found.folder / "report.md").read_text()
    assert found._repr_html_().count("<table>") == 2
    with pytest.raises(UsageError, match="unknown form 'pdf'"):
        found.report("pdf")  # type: ignore[arg-type]
    again = fptkit.study(STUDY, name="mine", quiet=True)
    assert again.results == found.results
    wider = fptkit.study(STUDY, name="mine", workers=1, quiet=True, seeds=4)
    assert [row["seeds"] for row in wider.scores()] == [4, 4]
    assert "--set" not in (wider.folder / "study.yaml").read_text()  # the file itself has the overrides


@pytest.mark.slow
def test_runs_that_fail_are_listed() -> None:
    arms = {**STUDY["arms"], "wide": {"backbone": {"name": "gpt2", "weights": "path:missing"}}}
    found = fptkit.study({**STUDY, "seeds": 1, "arms": arms}, workers=1, quiet=True)
    assert len(found.failed) == 1
    assert found.failed[0].startswith("arm wide: ")
    assert "failed: arm wide" in found._repr_html_()


@pytest.mark.slow
def test_a_script_needs_no_guard_and_is_not_executed_again() -> None:
    Path("script.py").write_text(
        "import fptkit, pathlib\n"
        "with pathlib.Path('log').open('a') as file: file.write('x')\n"
        f"study = {STUDY!r}\n"
        "found = fptkit.study(study, name='mine', workers=1, quiet=True, seeds=1)\n"
        "print(len(found.scores()), found.failed)\n"
    )
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.returncode) == ("2 ()\n", 0), done.stderr
    assert Path("log").read_text() == "x"


def test_faults_are_reported_before_anything_is_written() -> None:
    with pytest.raises(RecipeError, match="unknown key 'seedz'"):
        fptkit.study(STUDY, seedz=3)
    with pytest.raises(UnknownNameError, match="unknown study or recipe 'rq9'"):
        fptkit.study("rq9")
    with pytest.raises(UsageError, match="cannot be called 'runs'"):
        fptkit.study(STUDY, name="runs")
    assert list(Path().iterdir()) == []


def test_a_study_that_cannot_be_recorded_says_what_is_kept(tmp_path: Path) -> None:
    from fptkit.api.studies import _writing

    message = r"mine: the study cannot be recorded: .*No space left.*its runs are kept"
    with pytest.raises(UsageError, match=message), _writing(tmp_path / "mine"):
        raise OSError(28, "No space left on device")
