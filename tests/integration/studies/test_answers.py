"""The script ``benchmarks/answers.py``: plans first, budgets, interruptions, bundles; and the studies that it makes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fptkit.errors import DataError, UsageError
from fptkit.files import locked_folder
from fptkit.lab.reproduction.carry_out import STOPPED, Spent
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.options import UntilDecided
from fptkit.lab.verification.bundles.bundle import write_bundle

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "docs")]

import answer_pages  # noqa: E402
import answers  # noqa: E402
import answers_plan  # noqa: E402

PLUGINS = [ROOT / "plugins" / f"fptkit-{name}" for name in ("smollm2", "spoken-digits", "timeseries", "bodies")]
QUESTIONS = answers_plan.questions()
SHORT = replace(QUESTIONS[0], study="one", core_hours=0.01, needs=())


@pytest.fixture(name="plugins")
def _plugins(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The packages of the studies, as plugin files."""
    for folder in PLUGINS:
        monkeypatch.syspath_prepend(str(folder))
    return [folder / folder.name.replace("-", "_") / "__init__.py" for folder in PLUGINS]


# --- the studies


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.study)
def test_studies_are_planned_as_stated(question: answers_plan.Question, plugins: list[Path]) -> None:
    study = load_study(str(question.file), plugin_files=plugins)
    assert study.settings.margin == 1
    assert study.settings.search.name == "halving"
    seeds = study.settings.seeds
    if question.study in {"rq2_undecided", "rq1_rates", "rq5_rates"}:
        earlier = next(other for other in QUESTIONS if other.study == question.page)
        others = load_study(str(earlier.file), plugin_files=plugins).settings.seeds
        assert isinstance(seeds, tuple)
        assert isinstance(others, UntilDecided)
        assert min(seeds) >= others.at_most  # its results were known when these were chosen
    else:
        assert isinstance(seeds, UntilDecided) or question.page == "faults"
    smoke = load_study(str(question.file), profile="smoke", plugin_files=plugins).settings
    cells = len(study.arms) * len(smoke.use_tasks)
    assert isinstance(smoke.seeds, tuple)
    assert cells * len(smoke.learning_rates) * len(smoke.seeds) <= 40


def test_the_plan_has_every_study_and_fits_its_budget() -> None:
    assert {question.study for question in QUESTIONS} == {path.stem for path in answers_plan.FOLDER.glob("*.yaml")} - {
        "plan"
    }
    assert round(sum(question.core_hours for question in QUESTIONS), 6) <= 2 * 14


@pytest.mark.parametrize(
    ("rates", "keep", "steps", "every", "trainings"),
    [
        (3, 3, 600, 200, 3 / 3 + 1 * 2 / 3),
        (4, 3, 600, 200, 4 / 3 + 2 * 2 / 3),
        (3, 2, 100, 50, 3 / 2 + 2 / 2),
        (3, 3, 100, 100, 3.0),
    ],
)
def test_halving_costs_less_than_all_rates(
    rates: int, keep: int, steps: int, every: int, trainings: float, tmp_path: Path
) -> None:
    grid = [10.0**-place for place in range(1, rates + 1)]
    (tmp_path / "one.yaml").write_text(
        "arms: {a: {extends: [base/bit_xor, base/random]}}\n"
        f"learning_rates: {grid}\nsearch: {{name: halving, keep: {keep}, rungs: 2}}\nseeds: 3\n"
        f"tasks: {{bit_xor: {{train: {{max_steps: {steps}, validate_every: {every}}}}}}}\n",
        "utf-8",
    )
    study = load_study(str(tmp_path / "one.yaml"))
    assert answers_plan.share_of_rates(study.settings, study.cells[0]) == pytest.approx(trainings)


def test_data_are_named_and_missing_ones_are_found_before_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_plan, "_tasks", lambda _: ["bit_xor", "mnist", "ecg5000"])
    (tmp_path / "mnist_subset.npz").touch()
    with pytest.raises(DataError, match=r"timeseries_ecg5000.npz does not exist; one needs it for its task ecg5000"):
        answers_plan.data_overrides(SHORT, tmp_path)
    (tmp_path / "timeseries_ecg5000.npz").touch()
    named = answers_plan.data_overrides(SHORT, tmp_path)
    assert named[0] == f"tasks.mnist.task.source=path:{tmp_path / 'mnist_subset.npz'}"
    assert answers_plan.data_overrides(SHORT, None) == []


# --- the driver, without fptkit


class Machine:
    """Stands in for the commands of fptkit: notes them, spends time, and leaves what they would leave."""

    def __init__(self, place: answers.Place) -> None:
        self.place = place
        self.commands: list[Sequence[str]] = []
        self.code, self.seconds = 0, 1.0

    def command(self, arguments: Sequence[str], problem: str) -> str:
        self.commands.append(arguments)
        if "lock" in arguments:
            self.write("plan.json", {"digest": "x"})
        if "bundle" in arguments:
            Path(arguments[-1]).write_text("zip", "utf-8")
        return problem

    def start(
        self, arguments: Sequence[str], log: Path, *, within_s: float, tick: Callable[[float], None], **_: object
    ) -> int:
        self.commands.append(arguments)
        log.touch()
        verdicts = [{"verdict": "better"}, {"verdict": "undecided"}]
        self.write(
            "results.json", {"comparisons": verdicts, "cells": [{"complete": True}, {"complete": not self.code}]}
        )
        tick(min(self.seconds, within_s))
        return self.code

    def write(self, name: str, content: dict[str, Any]) -> None:
        folder = self.place.folder(SHORT)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content), "utf-8")


@pytest.fixture(name="machine")
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(answers.Place(tmp_path / "ledger", tmp_path / "results", None, cores=2))
    machine.place.ledger.mkdir()
    monkeypatch.setattr(answers, "_fptkit", machine.command)
    monkeypatch.setattr(answers, "start_process", machine.start)
    monkeypatch.setattr(answers, "questions", lambda: (SHORT,))
    return machine


def test_plans_are_locked_before_the_first_run_and_kept(machine: Machine) -> None:
    answers.make((SHORT,), machine.place)
    assert [command[:2] for command in machine.commands] == [
        ["study", "lock"],
        ["study", machine.commands[1][1]],
        ["verify", str(machine.place.folder(SHORT))],
        ["bundle", str(machine.place.folder(SHORT))],
    ]
    assert machine.place.plan(SHORT).is_file()
    assert machine.place.bundle(SHORT).is_file()
    answers.make((SHORT,), machine.place)
    assert len(machine.commands) == 4, "nothing is made twice"


def test_a_second_call_does_not_disturb_the_first(machine: Machine) -> None:
    with locked_folder(machine.place.ledger, "call"), pytest.raises(UsageError, match=r"in use by another call of ans"):
        answers.make((SHORT,), machine.place)
    assert not machine.commands


def test_hours_count_cores_and_calls(machine: Machine) -> None:
    machine.seconds, machine.code = 4.0, STOPPED
    for calls in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            answers.carry_out(SHORT, machine.place)
        assert machine.place.spent(SHORT) == pytest.approx(calls * 8 / 3600)
    assert not machine.place.bundle(SHORT).exists(), "an interruption is no end"


def test_a_spent_budget_ends_the_study_with_what_it_has(machine: Machine) -> None:
    machine.seconds, machine.code = 1e6, STOPPED
    assert answers.carry_out(SHORT, machine.place) == "1 of 2 comparisons decided, 0.01 core-hours"
    assert machine.place.bundle(SHORT).is_file()
    assert answers.state(SHORT, machine.place).startswith("one: bundled, 0.01 of 0.01 core-hours, 1 of 2")


def test_a_stopped_study_is_bundled_as_it_is_when_asked(machine: Machine) -> None:
    with pytest.raises(UsageError, match="failed: one"):
        answers.make((SHORT,), machine.place, answers.publish)
    assert not machine.place.bundle(SHORT).exists(), "there is nothing yet"
    machine.seconds, machine.code = 4.0, STOPPED
    with pytest.raises(KeyboardInterrupt):
        answers.make((SHORT,), machine.place)
    answers.make((SHORT,), machine.place, answers.publish)
    assert machine.place.bundle(SHORT).is_file()
    assert json.loads(machine.place.hours.read_text("utf-8")) == {"one": 8.0}
    machine.code = 0
    answers.make((SHORT,), machine.place)
    assert machine.place.spent(SHORT) == pytest.approx(16 / 3600), "it continues, since it is not complete"


def test_a_plan_that_was_published_is_not_locked_again(machine: Machine) -> None:
    place = machine.place
    place.plan(SHORT).parent.mkdir(parents=True)
    place.plan(SHORT).write_text('{"digest": "published"}', "utf-8")
    place.hours.parent.mkdir(parents=True, exist_ok=True)
    place.hours.write_text('{"one": 3600}', "utf-8")
    answers.make((SHORT,), place, lambda *_: "")
    assert not machine.commands
    assert (place.folder(SHORT) / "plan.json").read_text("utf-8") == '{"digest": "published"}'
    assert place.spent(SHORT) == 1


def test_a_study_that_fails_is_named_and_not_bundled(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.code = 1
    with pytest.raises(UsageError, match="failed: one"):
        answers.make((SHORT,), machine.place)
    assert "exit status 1; see" in capsys.readouterr().err
    assert not machine.place.bundle(SHORT).exists()


def test_packages_that_are_missing_are_named_before_anything_is_locked(machine: Machine) -> None:
    with pytest.raises(UsageError, match=r"pip install \./plugins/fptkit-nowhere"):
        answers.lock_all([replace(SHORT, needs=("fptkit-nowhere",))], machine.place)
    assert not machine.commands


def test_bodies_that_are_not_made_are_named_after_the_plan_is_locked(
    machine: Machine, plugins: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plugins
    find = __import__("fptkit_bodies.find", fromlist=["find"])
    monkeypatch.setattr(find, "WEIGHTS", machine.place.ledger / "nowhere")
    with pytest.raises(UsageError, match="failed: one"):
        answers.make((replace(SHORT, needs=("fptkit-bodies",)),), machine.place)
    assert "one: its weights are not made: english, brackets" in capsys.readouterr().err
    assert [command[:2] for command in machine.commands] == [["study", "lock"]]


def test_status_of_a_study_that_has_not_begun(tmp_path: Path) -> None:
    said = CliRunner().invoke(
        answers.main, ["dropout", "--status", "--ledger", str(tmp_path), "--results", str(tmp_path)]
    )
    assert said.output == "dropout: not locked, 0.00 of 0.5 core-hours, 0 of 0 comparisons decided\n"
    said = CliRunner().invoke(answers.main, ["rq9", "--status"])
    assert "there is no study 'rq9'; choose of rq2, rq2_undecided, rq4" in said.output
    assert Spent(tmp_path).total == 0


RATES = """
arms:
  random: {extends: [base/bit_xor, base/random]}
  small: {extends: [base/bit_xor, base/random], backbone: {width: 32}}
learning_rates: [1e-3, 1e-2]
search: {name: halving, keep: 2, rungs: 2}
seeds: 3
recipe_profile: smoke
tasks: {bit_xor: {task: {validation_size: 8, test_size: 8}, train: {max_steps: 4, validate_every: 2}}}
"""


@pytest.mark.slow
def test_a_study_continues_from_its_bundle_to_the_same_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the bundle holds: all runs, those of fewer seeds, or runs that were stopped."""
    (tmp_path / "one.yaml").write_text(RATES, "utf-8")
    monkeypatch.setattr(answers_plan, "FOLDER", tmp_path)
    question = replace(SHORT, core_hours=1)
    monkeypatch.setattr(answers, "questions", lambda: (question,))
    whole = answers.Place(tmp_path / "whole", tmp_path / "results", None, cores=2)
    answers.make((question,), whole)
    expected = (whole.folder(question) / "results.json").read_bytes()
    runs = sorted(path.name for path in (whole.ledger / "runs").iterdir())
    assert answers.is_complete(whole.folder(question))

    again = replace(whole, ledger=tmp_path / "again")
    answers.make((question,), again)
    assert answers.state(question, again) == answers.state(question, whole)
    assert not (again.ledger / "one.log").exists(), "a complete study is not started again"

    write_bundle(whole.folder(question), whole.packed_anew(question))
    whole.bundle(question).unlink()
    part = replace(whole, ledger=tmp_path / "part")
    answers.restore((question,), part)
    assert sorted(path.name for path in (part.ledger / "runs").iterdir()) == runs
    kept = {path: path.stat().st_mtime_ns for path in (part.ledger / "runs").glob("*/summary.json")}
    statuses = {path: json.loads(path.read_text("utf-8"))["status"] for path in kept}
    lost = next(path for path, status in sorted(statuses.items()) if status == "finished")
    shutil.rmtree(lost.parent)
    (part.folder(question) / "results.json").unlink()
    answers.carry_out(question, part)
    assert (part.folder(question) / "results.json").read_bytes() == expected
    changed = {path for path, time in kept.items() if path.stat().st_mtime_ns != time}
    assert changed == {lost}, "finished runs are not repeated"
    assert whole.published(question) == whole.bundle(question)
    assert not whole.packed_anew(question).exists(), "there is one bundle of a study"


@pytest.mark.slow
def test_a_study_from_plan_to_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "missing", lambda _: [])
    said = CliRunner().invoke(answers.main, ["faults_clean", "--smoke", "--ledger", str(tmp_path)])
    assert said.exit_code == 0, said.output
    bundle = tmp_path / "smoke" / "bundles" / "faults_clean.zip"
    assert bundle.is_file()
    assert json.loads((tmp_path / "smoke" / "plans" / "faults_clean.json").read_text("utf-8"))["late"] == ""
    text = answer_pages.page_text("faults", bundle.parent)
    assert "**Made by the profile smoke: it shows that the study runs; its figures mean nothing.**" in text
    assert "nothing: no comparison is decided" in text
