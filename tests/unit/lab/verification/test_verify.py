"""Verification of a study's folder: one changed digit in any file is found, and what may change raises no alarm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finished_studies import TWO_ARMS, change_digit, finished, load, make_runs, write

from fptkit.errors import UsageError
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.locking.content import plan_of
from fptkit.lab.studies.locking.lock import lock
from fptkit.lab.verification import derive
from fptkit.lab.verification.manifest import MANIFEST, read_manifest, write_manifest
from fptkit.lab.verification.verify import verify_run, verify_study
from fptkit.sources.download import file_sha256

SMALL = TWO_ARMS.replace("[1e-3, 1e-2]", "[1e-3]").replace("seeds: 3", "seeds: 2")
"""A study of four runs."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of a finished study that was locked, and deviates."""
    place = tmp_path_factory.mktemp("made")
    lock(plan_of(load(place, SMALL)), place / "studies" / "mine", runs=0, late=False)
    finished(place, SMALL, "margin=2")
    return place / "studies"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the study's folder, in a copy of its ledger."""
    shutil.copytree(made, tmp_path / "studies")
    return tmp_path / "studies" / "mine"


def found(folder: Path, **options: Any) -> list[str]:
    return [str(difference) for difference in verify_study(folder, **options).differences]


def a_run(folder: Path) -> Path:
    return min((folder.parent / "runs").iterdir())


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file, keeping its format."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def test_an_untouched_study_agrees(folder: Path) -> None:
    findings = verify_study(folder)
    assert findings.differences == []
    assert findings.runs == 4
    assert findings.files == 4 * 14 + 7, "14 files of each run, and all of the study but plan and manifest"
    assert any(note.startswith("the plan was locked 2") for note in findings.notes)
    assert any("margin: 2 (plan: null)" in note for note in findings.notes)


FILES_OF_STUDY = (
    ".state",
    "study.yaml",
    "results.json",
    "costs.json",
    "results.csv",
    "report.md",
    "report.html",
    "plan.json",
    "manifest.json",
)
FILES_OF_RUN = (
    "address",
    "assessment.json",
    "checkpoints/step-00000100/optimizer.safetensors",
    "checkpoints/step-00000100/state.json",
    "checkpoints/step-00000100/trained.safetensors",
    "environment.json",
    "log.txt",
    "metrics.jsonl",
    "model.json",
    "model.safetensors",
    "preparation.json",
    "recipe.yaml",
    "request.yaml",
    "summary.json",
)


def test_the_lists_of_files_are_complete(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {*FILES_OF_STUDY, ".plan.json.lock"}
    run = a_run(folder)
    assert {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()} == {*FILES_OF_RUN}


@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize("file", [*FILES_OF_STUDY, *(f"run/{name}" for name in FILES_OF_RUN)])
def test_one_changed_digit_is_found(folder: Path, file: str, place: int) -> None:
    path = a_run(folder) / file.removeprefix("run/") if file.startswith("run/") else folder / file
    change_digit(path, place)
    name = path.relative_to(folder.parent).as_posix()
    assert any(line.startswith(name) for line in found(folder)), found(folder)


@pytest.mark.slow
def test_digits_throughout_the_results_and_a_summary_are_checked(folder: Path) -> None:
    for path in (folder / "results.json", folder / "results.csv", a_run(folder) / "summary.json"):
        intact = path.read_bytes()
        for place in range(0, sum(48 <= byte <= 57 for byte in intact), 29):
            change_digit(path, place)
            assert found(folder), (path.name, place)
            path.write_bytes(intact)


def test_a_difference_names_file_key_and_both_values(folder: Path) -> None:
    edit(folder / "results.json", lambda content: content["cells"][0]["test"]["test"].update(mean=0.875))
    (line,) = found(folder)
    derived = derive.derived_results(folder, folder.parent, read_manifest(folder)).cells[0].test["test"].mean
    assert line == f"mine/results.json: cells[0].test.test.mean: 0.875 stored, {derived} derived"


def test_a_difference_in_a_report_names_the_line(folder: Path) -> None:
    path = folder / "report.md"
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[4] = lines[4] + " and more"
    path.write_text("\n".join(lines), encoding="utf-8")
    (line,) = found(folder)
    assert line.startswith("mine/report.md: line 5: ")
    assert "and more' stored, " in line


def test_a_figure_changed_in_run_and_manifest_no_longer_gives_the_results(folder: Path) -> None:
    """Someone who changes a run and repairs its digests must change everything that follows from it."""
    run = a_run(folder)
    edit(run / "summary.json", lambda content: content["metrics"]["test"]["test"].update(accuracy=0.99))
    manifest = read_manifest(folder)
    record = next(record for address, record in manifest.runs.items() if address.startswith(run.name))
    record.summary["metrics"]["test"]["test"]["accuracy"] = 0.99
    from fptkit.sources.download import file_sha256

    record.files["summary.json"] = file_sha256(run / "summary.json")
    write_manifest(folder, manifest.sealed())
    lines = found(folder)
    assert f"runs/{run.name}/summary.json: metrics.test.test.accuracy" in lines[0], "the metrics file disagrees"
    assert any(line.startswith("mine/results.json: cells[") for line in lines)
    assert any(line.startswith("mine/report.md: line ") for line in lines)


def test_a_run_under_another_trial_is_found(folder: Path) -> None:
    manifest = read_manifest(folder)
    first, second, *others = manifest.trials
    swapped = (
        first.model_copy(update={"address": second.address}),
        second.model_copy(update={"address": first.address}),
        *others,
    )
    write_manifest(folder, manifest.model_copy(update={"trials": swapped}).sealed())
    assert any(
        "recipe.yaml: train.seed: 1, but 0 for language on bit_xor in the plan" in line for line in found(folder)
    )


def test_the_profile_of_a_study_of_a_recipe(tmp_path: Path) -> None:
    study = load_study("bit_xor_gpt2", profile="smoke", overrides=["seeds=1"])
    write(study, make_runs(study, tmp_path), tmp_path, "seeds=1")
    folder = next(tmp_path.glob("bit_xor_gpt2*"))
    assert found(folder) == []
    file = folder / "study.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("recipe_profile: smoke", "recipe_profile: nano"))
    assert any('recipe_profile: "nano" stored, "smoke" derived' in one for one in found(folder))


@pytest.mark.parametrize("file", ["report.md", "costs.json", "study.yaml", "results.json"])
def test_a_missing_file_of_the_study_is_found(folder: Path, file: str) -> None:
    (folder / file).unlink()
    assert f"mine/{file}: is missing" in found(folder)


def test_missing_files_of_runs_are_found(folder: Path) -> None:
    run = a_run(folder)
    (run / "metrics.jsonl").unlink()
    assert f"runs/{run.name}/metrics.jsonl: is missing" in found(folder)
    shutil.rmtree(run)
    assert f"runs/{run.name}: the run folder is missing" in found(folder)


def test_a_plan_that_was_removed_or_replaced_is_found(folder: Path, tmp_path: Path) -> None:
    intact = (folder / "plan.json").read_bytes()
    (folder / "plan.json").unlink()
    assert any("deviations" in line and "plan.json is missing" in line for line in found(folder))
    lock(plan_of(load(tmp_path, SMALL, "margin=2")), folder, runs=4, late=True)
    assert any("mine/results.json: plan: " in line for line in found(folder))
    (folder / "plan.json").write_bytes(intact)
    assert found(folder) == []


def test_a_shortened_log_of_the_plan_is_found(folder: Path) -> None:
    edit(folder / "plan.json", lambda content: content.update(log=[]))
    assert "mine/plan.json: log: 0 entries, but 1 in manifest.json" in found(folder)


def test_tensors_can_be_left_unread(folder: Path) -> None:
    change_digit(a_run(folder) / "model.safetensors")
    assert found(folder, tensors=False) == []
    assert len(found(folder)) == 2, "the digests in the manifest and in model.json"


def test_formatting_alone_is_found(folder: Path) -> None:
    path = folder / "results.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"name": ', '"name":  ', 1), encoding="utf-8")
    assert found(folder) == ["mine/results.json: was changed since it was written, though not in its values"]


# What may change without an alarm


def test_the_users_own_files_are_noted_at_most(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (a_run(folder) / "picture.png").write_bytes(b"1")
    findings = verify_study(folder)
    assert findings.differences == []
    assert "not covered: notes.txt, which fptkit study did not write" in findings.notes
    assert findings.added == [f"runs/{a_run(folder).name}/picture.png"]


def test_a_log_that_grew_is_no_difference(folder: Path) -> None:
    with (a_run(folder) / "log.txt").open("a", encoding="utf-8") as file:
        file.write("--- another study found the run complete\n")
    assert found(folder) == []


def test_a_later_deviation_in_the_log_of_the_plan_is_no_difference(folder: Path, tmp_path: Path) -> None:
    """A call of the study logs what it finds before its first run; the results are still the earlier ones."""
    from fptkit.lab.studies.locking.lock import compare, record

    record(folder, compare(load(tmp_path, SMALL, "seeds=5"), folder))
    assert found(folder) == []


def test_a_plan_that_was_locked_later_is_noted(tmp_path: Path) -> None:
    folder = finished(tmp_path, SMALL)
    lock(plan_of(load(tmp_path, SMALL)), folder, runs=4, late=True)
    findings = verify_study(folder)
    assert findings.differences == []
    assert any("after these results were written" in note for note in findings.notes)


def continued(folder: Path, status: str) -> Path:
    """Take a run further, as another study does: a test for a validated run, more steps for a paused one."""
    run = a_run(folder)
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    best = summary["best_step"]
    if status == "validated":
        summary["metrics"]["test"] = {"test": {"accuracy": 0.5}}
        summary.update(status="finished", times_tested=1)
        line = {"step": best, "split": "test", "accuracy": 0.5}
    else:
        summary.update(status="validated", steps=200, validated_step=200)
        (run / "checkpoints" / "step-00000100").rename(run / "checkpoints" / "step-00000200")
        edit(run / "checkpoints" / "step-00000200" / "state.json", lambda content: content.update(step=200))
        line = {"step": 200, "split": "validation", "accuracy": 0.1}
    (run / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    with (run / "log.txt").open("a", encoding="utf-8") as file:
        file.write("--- again\n")
    edit(run / "environment.json", lambda content: content.update(cores=64))
    return run


@pytest.fixture(params=["validated", "paused"])
def unfinished(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A study with a run that is not finished and was continued since, and the folder of the run."""
    study, ledger = load(tmp_path, SMALL), tmp_path / "studies"
    outcomes = make_runs(study, ledger, tested=request.param == "finished")
    if request.param == "paused":
        for address, outcome in list(outcomes.items()):
            summary = {**outcome.summary, "status": "paused"}
            run = ledger / "runs" / address[:16]
            (run / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
            outcomes[address] = type(outcome)(address, "paused", "", 100, summary)
    write(study, outcomes, ledger)
    assert found(ledger / "mine") == []
    return ledger / "mine", continued(ledger / "mine", request.param)


def test_a_run_that_another_study_continued_is_noted(unfinished: tuple[Path, Path]) -> None:
    folder, _ = unfinished
    findings = verify_study(folder)
    assert [str(one) for one in findings.differences] == []
    assert findings.continued == 1
    assert any(note.startswith("1 run was continued since the results were written") for note in findings.notes)


@pytest.mark.parametrize("file", ["summary.json", "metrics.jsonl", "checkpoints"])
def test_a_continued_run_must_agree_with_itself(unfinished: tuple[Path, Path], file: str) -> None:
    folder, run = unfinished
    if file == "summary.json":
        edit(run / file, lambda content: content["metrics"]["validation"].update(accuracy=0.875))
    elif file == "metrics.jsonl":
        change_digit(run / file, 3)
    else:
        change_digit(next(run.glob("checkpoints/*/trained.safetensors")))
    assert found(folder)


def test_a_summary_alone_does_not_look_continued(unfinished: tuple[Path, Path], made: Path, tmp_path: Path) -> None:
    """A digit changed in the number of steps or tests is no continued run: its log and environment are the same."""
    shutil.copytree(made, tmp_path / "other")
    run = a_run(tmp_path / "other" / "mine")
    for key in ("steps", "times_tested"):
        intact = (run / "summary.json").read_bytes()
        edit(run / "summary.json", lambda content, key=key: content.update({key: 900}))
        assert any(f"summary.json: {key}: 900 stored" in line for line in found(tmp_path / "other" / "mine"))
        (run / "summary.json").write_bytes(intact)


# Other code, damage, single runs


def test_another_version_may_word_its_reports_differently(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derive, "code_version", lambda: "0" * 64)
    real = derive.text_of
    monkeypatch.setattr(derive, "text_of", lambda *a, **k: real(*a, **k) + "new in this version\n")
    findings = verify_study(folder)
    assert findings.differences == []
    assert sum("this version words it otherwise" in note for note in findings.notes) == 3
    assert any(note.startswith("made by another version of the code") for note in findings.notes)
    change_digit(folder / "report.md")
    assert any(line.startswith("mine/report.md: line ") for line in found(folder))


def test_a_figure_that_another_version_did_not_know_is_no_difference(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = folder / "results.json"
    edit(results, lambda content: content["cells"][0].pop("chance"))
    manifest = read_manifest(folder)
    files = {**manifest.files, "results.json": file_sha256(results)}
    write_manifest(folder, manifest.model_copy(update={"files": files}).sealed())
    assert any("cells[0].chance: absent stored" in line for line in found(folder)), "this version knows it"
    monkeypatch.setattr(derive, "code_version", lambda: "0" * 64)
    assert found(folder) == []
    edit(results, lambda content: content["cells"][1].pop("chance"))
    assert any("cells[1].chance: absent stored" in line for line in found(folder)), "changed by hand since"


def test_the_same_version_must_give_the_same_reports(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = derive.text_of
    monkeypatch.setattr(derive, "text_of", lambda *a, **k: real(*a, **k) + "new\n")
    assert len(found(folder)) == 3


def test_last_digits_of_an_untouched_file_may_differ(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of scipy may round a p-value differently; the digest shows that nobody changed it."""
    real = derive.results_of

    def rounded(*arguments: Any) -> Any:
        results = real(*arguments)
        first = results.comparisons[0]
        return results.model_copy(
            update={"comparisons": (first.model_copy(update={"mean": first.mean * (1 + 1e-13)}),)}
        )

    monkeypatch.setattr(derive, "results_of", rounded)
    assert found(folder) == []
    change_digit(folder / "costs.json")
    assert found(folder)


def test_a_damaged_manifest_is_a_difference(folder: Path) -> None:
    edit(folder / MANIFEST, lambda content: content.update(format=2))
    (line,) = found(folder)
    assert line.startswith("mine/manifest.json: ")
    assert "written by another version of fptkit" in line


def test_without_a_manifest_the_error_says_what_to_do(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    with pytest.raises(UsageError, match=r"has no manifest\.json.*run its fptkit study command again"):
        verify_study(folder)


def test_a_single_run_is_compared_with_the_studies_beside_it(folder: Path) -> None:
    run = a_run(folder)
    findings = verify_run(run)
    assert findings.differences == []
    assert "compared with the manifest of mine" in findings.notes
    for name in FILES_OF_RUN:
        intact = (run / name).read_bytes()
        change_digit(run / name, -1)
        assert verify_run(run).differences, name
        (run / name).write_bytes(intact)


def test_a_run_that_no_study_lists_must_agree_with_itself(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "alone"
    shutil.copytree(a_run(folder), run)
    findings = verify_run(run)
    assert findings.differences == []
    assert any("no study's manifest lists this run" in note for note in findings.notes)
    edit(run / "summary.json", lambda content: content["metrics"]["validation"].update(accuracy=0.875))
    (difference,) = verify_run(run).differences
    assert str(difference).startswith("alone/summary.json: metrics.validation.accuracy: 0.875, but 0.")
