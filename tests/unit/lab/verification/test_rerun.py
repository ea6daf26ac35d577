"""Which runs are drawn to be repeated, and how a repeated run is compared; runs are made up here."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from finished_studies import TWO_ARMS, finished

from fptkit.errors import UsageError
from fptkit.lab.studies.job import Job, JobResult
from fptkit.lab.studies.launchers.base import Ended
from fptkit.lab.studies.results import run_folder
from fptkit.lab.verification import rerun as module
from fptkit.lab.verification.differences import Findings
from fptkit.lab.verification.manifest import Manifest, read_manifest
from fptkit.lab.verification.rerun import draw, named, rerun

MACHINE = {"processor_model": "Abacus 3000", "vector_instructions": "AVX2"}

Change = Callable[[Path, dict[str, Any]], None]
"""Changes a repeated run: its folder, and its summary, which is written afterwards."""


class Copies:
    """A launcher that copies the stored run instead of training."""

    def __init__(self, stored: Path, change: Change, status: str = "") -> None:
        self._stored, self._change, self._status = stored, change, status
        self.jobs: list[Job] = []

    def start(self, job: Job) -> None:
        self.jobs.append(job)
        shutil.copytree(run_folder(self._stored, job.address), job.folder, dirs_exist_ok=True)
        summary = json.loads((job.folder / "summary.json").read_text(encoding="utf-8"))
        self._change(job.folder, summary)
        (job.folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")

    def wait(self, timeout_s: float) -> list[Ended]:
        job = self.jobs[-1]
        summary = json.loads((job.folder / "summary.json").read_text(encoding="utf-8"))
        return [Ended(job, JobResult(self._status or summary["status"], "a reason"))]

    def close(self) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study whose runs know their processor."""
    found = finished(tmp_path, TWO_ARMS, "seeds=1")
    for path in (tmp_path / "studies" / "runs").glob("*/environment.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**content, **MACHINE}), encoding="utf-8")
    return found


@pytest.fixture
def repeated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Findings]:
    def repeat(
        change: Change = lambda folder, summary: None, *, count: int = 1, status: str = "", names: Sequence[str] = ()
    ) -> Findings:
        launcher = Copies(folder.parent, change, status)
        monkeypatch.setattr(module, "make_launcher", lambda options, place: launcher)
        findings = Findings()
        manifest = read_manifest(folder)
        rerun(folder.parent, manifest, findings, count=count, names=names)
        return findings

    return repeat


def environment(**changes: Any) -> Change:
    def change(folder: Path, summary: dict[str, Any]) -> None:
        path = folder / "environment.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")

    return change


def altered(folder: Path, summary: dict[str, Any]) -> None:
    (folder / "model.json").write_text(json.dumps({"files": {"model.safetensors": "f" * 64}}), encoding="utf-8")


def shifted(by: float) -> Change:
    def change(folder: Path, summary: dict[str, Any]) -> None:
        altered(folder, summary)
        summary["metrics"]["test"]["test"]["accuracy"] += by
        summary["metrics"]["test"]["test"]["loss"] *= 3

    return change


def both(*changes: Change) -> Change:
    def change(folder: Path, summary: dict[str, Any]) -> None:
        for one in changes:
            one(folder, summary)

    return change


def texts(findings: Findings) -> list[str]:
    return [str(one) for one in findings.differences]


# Drawing


def test_everyone_draws_the_same_runs(folder: Path) -> None:
    manifest = read_manifest(folder)
    first = [one.address for one in draw(folder.parent, manifest, count=2, seed=None)]
    assert first == [one.address for one in draw(folder.parent, manifest, count=2, seed=None)]
    assert len(set(first)) == 2
    others = {tuple(one.address for one in draw(folder.parent, manifest, count=2, seed=seed)) for seed in range(20)}
    assert len(others) > 3
    changed = [manifest.model_copy(update={"files": {"results.json": f"{digit:x}" * 64}}) for digit in range(16)]
    drawn = {tuple(one.address for one in draw(folder.parent, one, count=4, seed=None)) for one in changed}
    assert len(drawn) > 3


def with_outcome(manifest: Manifest, **changes: Any) -> Manifest:
    """The manifest with its first run changed."""
    first = min(manifest.runs)
    record = manifest.runs[first].model_copy(update=changes)
    return manifest.model_copy(update={"runs": {**manifest.runs, first: record}})


@pytest.mark.parametrize(
    "changes", [{"status": "failed"}, {"status": "lost"}, {"status": "waiting"}, {"summary": {"max_seconds": 5.0}}]
)
def test_runs_without_a_result_or_limited_by_time_are_not_drawn(folder: Path, changes: Mapping[str, Any]) -> None:
    manifest = with_outcome(read_manifest(folder), **changes)
    found = draw(folder.parent, manifest, count=9, seed=0)
    assert len(found) == 3
    assert min(manifest.runs) not in {one.address for one in found}


def test_runs_are_named_by_their_folders_or_first_digits(folder: Path) -> None:
    manifest = read_manifest(folder)
    first, second = sorted(manifest.runs)[:2]
    short = next(first[:n] for n in range(1, 17) if sum(one.startswith(first[:n]) for one in manifest.runs) == 1)
    names = [run_folder(folder.parent, second).name, short, first]
    assert [one.address for one in named(folder.parent, manifest, names)] == [second, first]
    assert named(folder.parent, manifest, []) == []


@pytest.mark.parametrize("name", ["", "ffffffffffffffff", "runs", "*"])
def test_a_name_of_no_run_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match=rf"the study has no run '{re.escape(name)}'\. The study's report names"):
        named(folder.parent, read_manifest(folder), [name])


def test_a_wrong_digit_is_found(folder: Path) -> None:
    run = min((folder.parent / "runs").iterdir()).name
    with pytest.raises(UsageError, match=rf"the study has no run '{run[:-1]}-'\. Did you mean '{run}'\?"):
        named(folder.parent, read_manifest(folder), [f"{run[:-1]}-"])


def test_digits_of_several_runs_are_an_error_with_their_names(folder: Path) -> None:
    manifest = read_manifest(folder)
    record = min(manifest.runs.items())[1]
    both = manifest.model_copy(update={"runs": {"ab1": record, "ab2": record, "cd": record}})
    with pytest.raises(UsageError, match="'ab' are the first digits of 2 runs, such as ab1 and ab2: give more digits"):
        named(folder.parent, both.model_copy(update={"trials": ()}), ["ab"])


@pytest.mark.parametrize("changes", [{"status": "failed"}, {"summary": {"max_seconds": 5.0}}])
def test_a_run_without_a_result_or_limited_by_time_cannot_be_named(folder: Path, changes: Mapping[str, Any]) -> None:
    manifest = with_outcome(read_manifest(folder), **changes)
    with pytest.raises(UsageError, match=r"run \w{16} cannot be repeated: it was limited by time, or has no result"):
        named(folder.parent, manifest, [min(manifest.runs)])


def test_a_named_run_that_is_also_drawn_is_repeated_once(folder: Path, repeated: Callable[..., Findings]) -> None:
    runs = sorted(read_manifest(folder).runs)
    assert len(repeated(count=4, names=runs[:1]).notes) == 4
    (note,) = repeated(count=0, names=runs[2:3]).notes
    assert f"({runs[2][:16]}): equal" in note


def test_fewer_runs_than_asked_for_are_noted(repeated: Callable[..., Findings]) -> None:
    findings = repeated(count=9)
    assert any(note.startswith("only 4 runs can be repeated") for note in findings.notes)
    assert sum(note.endswith("equal, bit for bit") for note in findings.notes) == 4


# Comparing


def test_an_equal_run_is_equal_bit_for_bit(repeated: Callable[..., Findings]) -> None:
    findings = repeated()
    assert findings.differences == []
    (note,) = findings.notes
    assert note.startswith("repeated ")
    assert note.endswith(": equal, bit for bit")


def test_the_speed_of_training_may_differ(repeated: Callable[..., Findings]) -> None:
    def slower(folder: Path, summary: dict[str, Any]) -> None:
        path = folder / "metrics.jsonl"
        path.write_text(path.read_text(encoding="utf-8").replace("500.5", "1.5"), encoding="utf-8")
        summary.update(seconds=1000.0, peak_memory_mib=1.0)

    assert repeated(slower).differences == []


def test_other_bits_on_the_same_machine_are_a_difference(repeated: Callable[..., Findings]) -> None:
    (text,) = texts(repeated(altered))
    assert text.endswith("its trained tensors have other bits")


def test_other_metrics_on_the_same_machine_are_a_difference(repeated: Callable[..., Findings]) -> None:
    found = texts(repeated(shifted(1e-9)))
    assert any("metrics.test.test.accuracy: " in text for text in found)
    assert any("metrics.test.test.loss: " in text for text in found)


def test_other_lines_of_metrics_are_a_difference(repeated: Callable[..., Findings]) -> None:
    def other(folder: Path, summary: dict[str, Any]) -> None:
        path = folder / "metrics.jsonl"
        path.write_text(path.read_text(encoding="utf-8").replace('"loss": 0.', '"loss": 1.', 1), encoding="utf-8")

    (text,) = texts(repeated(other))
    assert text.endswith("its lines in metrics.jsonl differ")


@pytest.mark.parametrize(
    ("elsewhere", "said"),
    [
        (environment(processor_model="Abacus 4000"), "processor_model"),
        (environment(vector_instructions="AVX512"), "vector_instructions"),
        (environment(code=["e" * 64]), "code"),
        (lambda folder, summary: summary.update(threads=2), "threads"),
        (lambda folder, summary: summary.update(device="cuda"), "device"),
        (lambda folder, summary: summary.update(versions={"torch": "3.0"}), "torch"),
        (lambda folder, summary: summary.update(notes=["CPU kernels are not used, so slow"]), "CPU kernels"),
    ],
)
def test_elsewhere_metrics_may_differ_within_the_tolerance(
    repeated: Callable[..., Findings], elsewhere: Change, said: str
) -> None:
    findings = repeated(both(shifted(0.019), elsewhere))
    assert findings.differences == []
    (note,) = findings.notes
    assert "equal within 2 points for metrics between 0 and 1, 5 % for others" in note
    assert note.endswith(f"equal bits cannot be expected, since these differ: {said}")
    (text,) = texts(repeated(both(shifted(0.021), elsewhere)))
    assert ": test: 0." in text
    assert "beyond the tolerance of 2 points" in text


def test_equal_bits_elsewhere_are_said(repeated: Callable[..., Findings]) -> None:
    (note,) = repeated(environment(processor_model="Abacus 4000")).notes
    assert note.endswith("equal, bit for bit")


def test_an_unknown_processor_cannot_promise_equal_bits(folder: Path, repeated: Callable[..., Findings]) -> None:
    for path in (folder.parent / "runs").glob("*/environment.json"):
        path.write_text("{}", encoding="utf-8")
    (note,) = repeated(altered).notes
    assert note.endswith("since these differ: the model of the processor, which is not recorded")


def test_a_run_that_ends_otherwise_is_a_difference(repeated: Callable[..., Findings]) -> None:
    (text,) = texts(repeated(status="diverged"))
    assert text.endswith("ended as diverged, not as finished: a reason")


def test_other_code_is_announced_before_the_first_run(
    folder: Path, repeated: Callable[..., Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "code_version", lambda: "0" * 64)
    notes = repeated().notes
    assert notes[0].startswith("the runs were made by another version of the code")
    assert len(notes) == 2, "and then they are compared"


def test_the_job_is_that_of_the_stored_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = Copies(folder.parent, lambda folder, summary: None)
    monkeypatch.setattr(module, "make_launcher", lambda options, place: launcher)
    said: list[str] = []
    rerun(folder.parent, read_manifest(folder), Findings(), count=1, seed=3, say=said.append)
    (job,) = launcher.jobs
    assert job.recipe == (run_folder(folder.parent, job.address) / "recipe.yaml").read_text(encoding="utf-8")
    assert (job.threads, job.until_step, job.open_test) == (1, None, True)
    assert job.environment["FPTKIT_CACHE"].startswith(str(job.folder.parent)), "features are computed again"
    assert not job.folder.exists()
    assert said == [f"repeating run 1 of 1: {job.name}"]
