"""A job whose log cannot be written still reports what became of its run."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from fptkit.lab.studies import job
from fptkit.lab.studies.job import LOG, Job, carry_out


def a_job(folder: Path) -> Job:
    return Job("a" * 64, "a run", "", folder, Path.cwd(), 1)


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A run folder whose log is on a disk without space."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    (tmp_path / LOG).symlink_to("/dev/full")
    return tmp_path


def test_a_log_that_cannot_be_begun_is_the_reason(full: Path) -> None:
    found = carry_out(a_job(full))
    assert found.status == "failed"
    assert found.reason.startswith(f"{full / LOG} cannot be written: ")
    assert "No space left" in found.reason
    os.write(1, b"")  # the streams are the test's own again


def test_a_log_that_fills_up_does_not_hide_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def carried_out(given: Job) -> tuple[str, str]:
        with open("/dev/full", "w") as none:
            os.dup2(none.fileno(), 1)
            os.dup2(none.fileno(), 2)
        monkeypatch.setattr("builtins.print", fails)
        return "validated", ""

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "_carry_out", carried_out)
    assert carry_out(a_job(tmp_path)).status == "validated"


NO_TEXT = "no file 'a\udcff\ud800'"
"""What an error says of a file whose name is not UTF-8."""


def test_an_error_that_quotes_what_is_no_text_is_logged_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(given: Job) -> tuple[str, str]:
        try:
            raise OSError(NO_TEXT)
        except OSError:
            traceback.print_exc()
        print(NO_TEXT)
        return "failed", NO_TEXT

    monkeypatch.setattr(job, "_carry_out", fails)
    found = carry_out(a_job(tmp_path))
    assert (found.status, found.reason) == ("failed", r"no file 'a\udcff\ud800'")
    assert (tmp_path / LOG).read_text(encoding="utf-8").count(found.reason) == 3
