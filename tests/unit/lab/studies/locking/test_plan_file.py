"""The file of a locked plan: its digests find every change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished_studies import load

from fptkit.errors import DataError
from fptkit.lab.studies.locking import plan_file
from fptkit.lab.studies.locking.content import plan_of
from fptkit.lab.studies.locking.plan_file import FILE, PlanFile


@pytest.fixture
def locked(tmp_path: Path) -> PlanFile:
    file = plan_file.locked_now(plan_of(load(tmp_path))).logged(["one", "two", "one"])
    plan_file.write(tmp_path / "mine", file)
    return file


def test_what_is_written_is_read(tmp_path: Path, locked: PlanFile) -> None:
    found = plan_file.read(tmp_path / "mine")
    assert found is not None
    assert found.checked == locked.checked
    assert found.faults == ()
    assert plan_file.read(tmp_path) is None


def test_the_time_is_utc_to_the_second(locked: PlanFile) -> None:
    assert len(locked.locked) == len("2026-01-01T00:00:00Z")
    assert locked.locked.endswith("Z")


def test_each_deviation_is_logged_once_with_its_first_time(locked: PlanFile) -> None:
    assert [entry.deviation for entry in locked.log] == ["one", "two"]
    again = locked.logged(["two", "three"])
    assert again.log[:2] == locked.log
    assert again.log[2].deviation == "three"
    assert again.digest == locked.digest, "the log is not part of the plan's digest"
    assert again.faults == ()


def test_a_late_lock_says_so(tmp_path: Path) -> None:
    plan = plan_of(load(tmp_path))
    assert plan_file.locked_now(plan, runs=1).late == "locked after 1 run"
    assert plan_file.locked_now(plan, runs=12).late == "locked after 12 runs"
    assert plan_file.locked_now(plan).late == ""


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"seeds": [\n        0,', '"seeds": [\n        7,', "was changed after it was locked: its digest is"),
        ('"late": ""', '"late": "no"', "was changed after it was locked"),
        ('"locked": "2', '"locked": "3', "was changed after it was locked"),
        ('"deviation": "one"', '"deviation": "none"', "entry 1 does not match"),
        ('"deviation": "two"', '"deviation": "too"', "entry 2 does not match"),
    ],
)
def test_a_change_by_hand_is_found(tmp_path: Path, locked: PlanFile, before: str, after: str, said: str) -> None:
    path = tmp_path / "mine" / FILE
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    found = plan_file.read(tmp_path / "mine")
    assert found is not None
    assert said in found.faults[0]


def test_a_log_without_its_first_entry_is_found(tmp_path: Path, locked: PlanFile) -> None:
    path = tmp_path / "mine" / FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    content["log"] = content["log"][1:]
    path.write_text(json.dumps(content), encoding="utf-8")
    found = plan_file.read(tmp_path / "mine")
    assert found is not None
    assert "entry 1 does not match" in found.faults[0]


def test_the_digest_depends_on_the_file_alone(tmp_path: Path, locked: PlanFile) -> None:
    """A later version that adds a setting with a default still finds the digest right."""
    path = tmp_path / "mine" / FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["plan"]["settings"]["vary"]
    del content["digest"], content["log"]
    digest = plan_file._digest_of(content)
    path.write_text(json.dumps({"digest": digest, "log": [], **content}), encoding="utf-8")
    found = plan_file.read(tmp_path / "mine")
    assert found is not None
    assert found.faults == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "is not readable as JSON"), ("{}", "is damaged, or written by another version of fptkit: format")],
)
def test_a_damaged_file_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        plan_file.read(tmp_path)
