"""``fptkit verify`` and ``fptkit bundle``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import fptkit
from finished_studies import TWO_ARMS, change_digit, finished


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_PLUGINS", "")
    return finished(tmp_path, TWO_ARMS, "seeds=1").relative_to(tmp_path)


def test_a_study_that_agrees_exits_with_0() -> None:
    done = fptkit("verify", "studies/mine")
    assert done.returncode == 0, done.stdout
    assert done.stdout == "studies/mine: 4 runs, 63 digests: all agree\n"


def test_a_study_is_found_by_its_name_in_the_ledger() -> None:
    assert fptkit("verify", "mine").stdout == "studies/mine: 4 runs, 63 digests: all agree\n"
    assert fptkit("verify", "mine", "--ledger", "elsewhere").returncode == 2


def test_differences_exit_with_1_and_are_listed(folder: Path) -> None:
    change_digit(folder / "costs.json", -1)
    change_digit(folder / "study.yaml", 0)
    done = fptkit("verify", "studies/mine")
    assert done.returncode == 1
    first, second, last = done.stdout.splitlines()
    assert first == "  mine/study.yaml: was changed since it was written: its digest differs"
    assert second.startswith("  mine/costs.json: runs.")
    assert second.endswith(" stored, 1 derived")
    assert last == "studies/mine: 4 runs, 62 digests: 2 differences"


def test_differences_as_json(folder: Path) -> None:
    change_digit(folder / "costs.json", -1)
    done = fptkit("verify", "studies/mine", "--json")
    assert done.returncode == 1
    content = json.loads(done.stdout)
    assert content["runs"] == 4
    (one,) = content["differences"]
    assert one["file"] == "mine/costs.json"
    assert one["place"].startswith("runs.")
    assert (one["stored"], one["derived"]) == ("2", "1")


def test_many_differences_are_cut_and_json_has_all(folder: Path) -> None:
    path = folder / "results.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.", "1."), encoding="utf-8")
    lines = fptkit("verify", "studies/mine").stdout.splitlines()
    assert len(lines) == 42
    count = len(json.loads(fptkit("verify", "studies/mine", "--json").stdout)["differences"])
    assert lines[-2] == f"  and {count - 40} more (--json prints all)"
    assert lines[-1].endswith(f"{count} differences")


def test_quick_reads_no_tensors(folder: Path) -> None:
    change_digit(next(folder.parent.rglob("optimizer.safetensors")))
    assert fptkit("verify", "studies/mine").returncode == 1
    assert fptkit("verify", "studies/mine", "--quick").returncode == 0


def test_a_seed_needs_a_rerun() -> None:
    done = fptkit("verify", "studies/mine", "--seed", "3")
    assert done.returncode == 2
    assert done.stderr == "error: --seed draws the runs to repeat: use it with --rerun N\n"


def test_what_cannot_be_verified_is_an_error(tmp_path: Path) -> None:
    done = fptkit("verify", "mein")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown file, folder or study 'mein'. Did you mean 'mine'?")
    (tmp_path / "empty").mkdir()
    done = fptkit("verify", "empty")
    assert done.returncode == 2
    assert "neither a study's folder (results.json) nor a run's (summary.json)" in done.stderr


def test_a_bundle_is_written_by_name_and_verified(folder: Path) -> None:
    done = fptkit("bundle", "mine")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "mine.zip: 38 files, 0.0 MiB\n"
    assert fptkit("verify", "mine.zip").stdout.endswith("4 runs, 34 digests: all agree\n")
    done = fptkit("bundle", "studies/mine", "--output", "out/other.zip", "--checkpoints")
    assert done.stdout.startswith("out/other.zip: 54 files")
    data = bytearray(Path("mine.zip").read_bytes())
    data[len(data) // 2] ^= 1
    Path("mine.zip").write_bytes(data)
    assert fptkit("verify", "mine.zip").returncode in (1, 3)


def test_a_study_in_disorder_is_not_bundled(folder: Path) -> None:
    change_digit(folder / "report.md")
    done = fptkit("bundle", "mine")
    assert done.returncode == 2
    assert "does not agree with its runs, so no bundle is made of it; see: fptkit verify" in done.stderr


def test_an_unknown_study_is_an_error() -> None:
    done = fptkit("bundle", "mein")
    assert done.returncode == 2
    assert "Did you mean 'mine'?" in done.stderr


def test_reports_written_into_the_studys_folder_still_agree(folder: Path) -> None:
    assert fptkit("report", "mine", "--output", "studies/mine", "--against", "fpt2021").returncode == 0
    assert fptkit("verify", "studies/mine").returncode == 0
    done = fptkit("report", "mine", "--format", "markdown", "--output", "studies/mine", "--figures")
    assert done.returncode == 0
    assert fptkit("verify", "studies/mine").returncode == 0
    picture = next((folder / "report_figures").iterdir())
    change_digit(picture)
    assert picture.name in fptkit("verify", "studies/mine").stdout
