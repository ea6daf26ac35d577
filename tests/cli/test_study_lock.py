"""``fptkit study lock``, and ``fptkit study`` beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import fptkit
from finished_studies import TWO_ARMS, load, make_runs, write

from fptkit.lab.studies.results import read_results


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_PLUGINS", "")
    Path("mine.yaml").write_text(TWO_ARMS, encoding="utf-8")


def test_a_plan_is_locked_once() -> None:
    done = fptkit("study", "lock", "mine.yaml")
    assert done.returncode == 0, done.stderr
    first, second, third, *_ = done.stdout.splitlines()
    assert first.startswith("studies/mine/plan.json: locked 2")
    assert second == "2 cells, 12 runs planned"
    digest = json.loads(Path("studies/mine/plan.json").read_text(encoding="utf-8"))["digest"]
    assert third == f"digest {digest}"
    assert sorted(path.name for path in Path("studies").rglob("*")) == ["mine", "plan.json"], "nothing else is made"
    before = Path("studies/mine/plan.json").read_bytes()
    again = fptkit("study", "lock", "mine.yaml")
    assert again.returncode == 0
    assert again.stdout.startswith("studies/mine/plan.json: is locked already, since 2")
    assert Path("studies/mine/plan.json").read_bytes() == before


def test_another_plan_is_refused() -> None:
    fptkit("study", "lock", "mine.yaml")
    done = fptkit("study", "lock", "mine.yaml", "--seeds", "5")
    assert done.returncode == 2
    assert done.stderr.startswith("error: studies/mine/plan.json locks another plan, since 2")
    assert "\n  1. seeds: 0, 1, 2, 3, 4 (plan: 0, 1, 2)\n" in done.stderr


def test_every_option_that_changes_the_study_changes_the_plan() -> None:
    done = fptkit(
        *("study", "lock", "mine.yaml", "--json", "--seeds", "0,7", "--learning-rates", "1e-4,1e-3"),
        *("--search", "halving"),
        *("--controls=one_block", "--set", "margin=2", "--ledger", "elsewhere"),
    )
    content = json.loads(done.stdout)
    settings = content["plan"]["settings"]
    assert (settings["seeds"], settings["learning_rates"]) == ([0, 7], [1e-4, 1e-3])
    assert (settings["search"]["name"], settings["margin"], settings["controls"]) == ("halving", 2, ["one_block"])
    assert json.loads(Path("elsewhere/mine/plan.json").read_text(encoding="utf-8")) == content


def test_shipped_studies_and_their_profiles_are_locked_apart() -> None:
    for profile in ("smoke", "nano"):
        assert fptkit("study", "lock", "rothermel", "--profile", profile).returncode == 0
    assert sorted(path.parent.name for path in Path("studies").glob("*/plan.json")) == [
        "rothermel-nano",
        "rothermel-smoke",
    ]


def test_a_recipe_can_be_locked_as_a_study() -> None:
    done = fptkit("study", "lock", "bit_xor_gpt2", "--profile", "smoke", "--seeds", "2", "--learning-rates", "1e-3")
    assert done.returncode == 0
    assert "1 cell, 2 runs planned" in done.stdout


def test_runs_before_the_lock_need_late() -> None:
    study = load(Path.cwd())
    write(study, make_runs(study, Path("studies")), Path("studies"))
    done = fptkit("study", "lock", "mine.yaml")
    assert done.returncode == 2
    assert "would be locked after 12 runs of this study" in done.stderr
    late = fptkit("study", "lock", "mine.yaml", "--late")
    assert late.returncode == 0
    assert ", locked after 12 runs\n" in late.stdout
    done = fptkit("study", "mine.yaml", "--quiet")
    assert done.returncode == 0, done.stderr
    assert read_results(Path("studies/mine")).deviations == ("the plan was locked after 12 runs of this study",)


def test_runs_of_other_settings_of_the_same_study_count() -> None:
    """Someone has seen results, then changes the learning rates and locks."""
    study = load(Path.cwd())
    write(study, make_runs(study, Path("studies")), Path("studies"))
    done = fptkit("study", "lock", "mine.yaml", "--learning-rates", "3e-3")
    assert done.returncode == 2
    assert "after 12 runs" in done.stderr


def test_a_call_that_deviates_says_so_and_the_results_do() -> None:
    fptkit("study", "lock", "mine.yaml")
    study = load(Path.cwd(), TWO_ARMS, "learning_rates=[1e-2]")
    make_runs(study, Path("studies"))
    planned = fptkit("study", "mine.yaml", "--learning-rates", "1e-2", "--dry-run")
    said = "this call deviates from the locked plan:\n  1. learning_rates: 1e-2 (plan: 1e-3, 1e-2)\n"
    assert said in planned.stderr
    assert json.loads(Path("studies/mine/plan.json").read_text(encoding="utf-8"))["log"] == [], "nothing was run"
    done = fptkit("study", "mine.yaml", "--learning-rates", "1e-2", "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    assert said in done.stderr
    results = json.loads(done.stdout)
    assert results["deviations"] == ["learning_rates: 1e-2 (plan: 1e-3, 1e-2)"]
    content = json.loads(Path("studies/mine/plan.json").read_text(encoding="utf-8"))
    assert results["plan"] == content["digest"]
    assert [entry["deviation"] for entry in content["log"]] == results["deviations"]


def test_a_study_cannot_be_called_lock() -> None:
    Path("lock.yaml").write_text(TWO_ARMS, encoding="utf-8")
    for words in (["lock.yaml"], ["./lock.yaml", "--dry-run"], ["lock", "lock.yaml"], ["lock", "lock"]):
        done = fptkit("study", *words, "--quiet") if "lock" not in words else fptkit("study", *words)
        assert done.returncode == 2
        assert done.stderr == (
            "error: a study cannot be called 'lock': fptkit study lock is a command; rename the file\n"
        ), words
    done = fptkit("study", "lock")
    assert done.stderr.startswith("error: Missing argument 'STUDY'")


def test_the_subcommand_comes_first() -> None:
    done = fptkit("study", "--profile", "smoke", "lock", "mine.yaml")
    assert done.returncode == 2
    assert "'lock' must come first: fptkit study lock ..." in done.stderr


def test_a_study_still_takes_options_before_its_name() -> None:
    done = fptkit("study", "--dry-run", "--seeds", "1", "mine.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 cells, 4 runs, 4 to do; nothing was run"


def test_both_helps_show_the_subcommand() -> None:
    assert "lock  Lock the plan of a study" in fptkit("study", "--help").stdout
    assert "Usage: fptkit study lock [OPTIONS] STUDY" in fptkit("study", "lock", "-h").stdout


def test_a_damaged_plan_stops_the_study_with_advice() -> None:
    fptkit("study", "lock", "mine.yaml")
    Path("studies/mine/plan.json").write_text("{}", encoding="utf-8")
    done = fptkit("study", "mine.yaml")
    assert done.returncode == 3
    assert "is damaged" in done.stderr
    assert "put back the file as it was locked" in done.stderr
    assert not Path("studies/runs").exists()
