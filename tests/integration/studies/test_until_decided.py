"""Carrying out a study that adds seeds until its comparisons are decided. Nothing is trained: runs are made up."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scripted_launcher import ScriptedLauncher, carry_out, write
from written_files import TWO_ARMS

from fptkit.lab.reporting.compose import compose
from fptkit.lab.reporting.markdown import to_markdown
from fptkit.lab.studies.job import Job, JobResult
from fptkit.lab.studies.launchers.base import Ended
from fptkit.lab.studies.ledger import Ledger
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.plan import Study
from fptkit.lab.studies.progress import LineView, StudyProgress, draw
from fptkit.lab.studies.results import Costs, StudyResults
from fptkit.lab.studies.runner import StudyRunner
from fptkit.lab.studies.summarise import summarise

STUDY = TWO_ARMS.replace("seeds: 2", "seeds: {until: decided, at_most: 8}")

MEANS = {"language": 0.84, "random": 0.8, "third": 0.79}

STEPS = 20


class KilledError(BaseException):
    """The process is killed; nothing catches this."""


class Shuffling(ScriptedLauncher):
    """Jobs end in random order; after ``life`` of them the process is killed."""

    def __init__(self, seed: int, life: int | None = None, **more: Any) -> None:
        super().__init__(more.pop("script", made_up), slots=more.pop("slots", 5))
        self._random, self._life = random.Random(seed), life

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        if self._life == 0:
            raise KilledError
        self._life = None if self._life is None else self._life - 1
        self._random.shuffle(self._under_way)
        return super().wait(timeout_s)


def made_up(job: Job, number: int) -> JobResult:
    """Figures that depend on arm, rate and seed only; at 1e-2 validation is better for most seeds."""
    arm, rate, seed = re.fullmatch(r"(\w+) on .*, rate (\S+), (.*seed \d+)", job.name).groups()  # type: ignore[union-attr]
    chance = random.Random(f"{arm} {rate} {seed}")
    validation = chance.gauss(0.9 if float(rate) == 1e-2 else 0.89, 0.01)
    test = chance.gauss(MEANS[arm], 0.01)
    status = "paused" if job.until_step else "finished" if job.open_test else "validated"
    tests = {"test": {"test": {"accuracy": test}}} if job.open_test else {}
    write(
        job,
        status=status,
        steps=job.until_step or STEPS,
        metrics={"validation": {"accuracy": validation}, **tests},
        selection={"metric": "accuracy", "higher_is_better": True},
        fractions=["accuracy"],
    )
    return JobResult(status, seconds=1.0)  # type: ignore[arg-type]


def loaded(folder: Path, text: str = STUDY, *overrides: str) -> Study:
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return load_study(str(folder / "mine.yaml"), overrides=overrides)


def results(study: Study, folder: Path, launcher: ScriptedLauncher | None = None, **more: Any) -> StudyResults:
    end = carry_out(study, folder, launcher or Shuffling(0), **more)
    return summarise(study, end.outcomes, folder)


def seeds_of(found: StudyResults, arm: str) -> list[int]:
    return sorted({run.seed for run in found.runs if run.arm == arm and not run.varied})


SEARCHES = {
    "grid": [],
    "halving": ["search.name=halving", "search.rungs=2", "learning_rates=[1e-3,3e-3,1e-2]"],
    "optuna": ["search.name=optuna", "search.trials=4"],
}


@pytest.mark.parametrize(
    "search", ["grid", pytest.param("halving", marks=pytest.mark.slow), pytest.param("optuna", marks=pytest.mark.slow)]
)
def test_kills_and_the_order_of_runs_change_nothing(search: str, tmp_path: Path) -> None:
    if search == "optuna":
        pytest.importorskip("optuna")
    study = loaded(tmp_path, STUDY, *SEARCHES[search])
    whole = results(study, tmp_path / "whole")
    assert 3 < len(whole.seeds) <= 8
    for order in range(3):
        kills, folder = 0, tmp_path / f"parts_{order}"
        while True:
            try:
                parts = results(study, folder, Shuffling(order, life=7 + order))
                break
            except KilledError:
                kills += 1
        assert kills > 2
        assert parts.model_dump_json() == whole.model_dump_json()


def test_seeds_stop_when_the_comparison_is_decided(tmp_path: Path) -> None:
    study = loaded(tmp_path)
    launcher = Shuffling(0)
    found = results(study, tmp_path / "s", launcher)
    (one,) = found.comparisons
    assert one.verdict == "worse", "random against language"
    assert one.anytime is not None
    assert one.anytime.decided_at == len(one.seeds) == len(found.seeds) < 8
    assert found.until == "3 seeds, then more where a comparison is undecided, at most 8"
    assert found.failures == ()
    assert all(cell.complete for cell in found.cells)
    # The tests at the common rate are made once, when no seed can be added.
    common = {cell.arm: cell.common.learning_rate for cell in found.cells if cell.common}
    tested = {(run.arm, run.learning_rate, run.seed) for run in found.runs if run.test is not None}
    own = {(cell.arm, rate, seed) for cell in found.cells for seed, rate in cell.chosen_rates.items()}
    beside = {(arm, rate, seed) for arm, rate in common.items() for seed in found.seeds}
    assert tested == own | beside
    assert sum(job.open_test for job in launcher.started) == len(tested)


def test_only_undecided_comparisons_get_further_seeds(tmp_path: Path) -> None:
    arms = "  third: {extends: [base/bit_xor, base/random], train: {clip_norm: 0.5}}\nrecipe_profile"
    study = loaded(tmp_path, STUDY.replace("recipe_profile", arms, 1), "reference=random", "margin=0.01")
    found = results(study, tmp_path / "s")
    assert {one.a: one.verdict for one in found.comparisons} == {"language": "better", "third": "undecided"}
    assert (seeds_of(found, "language"), seeds_of(found, "third")) == ([*range(6)], [*range(8)])
    assert seeds_of(found, "random") == [*range(8)]


def test_reports_say_how_many_seeds_each_cell_has(tmp_path: Path) -> None:
    arms = "  third: {extends: [base/bit_xor, base/random], train: {clip_norm: 0.5}}\nrecipe_profile"
    study = loaded(tmp_path, STUDY.replace("recipe_profile", arms, 1), "reference=random", "margin=0.01")
    found = results(study, tmp_path / "s")
    text = to_markdown(compose(found, Costs(runs={})))
    assert "1 task × 3 arms, 6 to 8 seeds, 2 learning rates" in text
    assert "6 to 8 seeds: 3 seeds, then more where a comparison is undecided, at most 8" in text
    assert re.search(r"\| language \|.*6 seeds \|", text)
    assert "language is better than random on bit_xor by" in text
    assert "decided after 6 seeds" in text
    assert "They are added up to at_most; raise it for more." in text
    assert not [warning for warning in found.warnings if "seed" in warning and "edge" not in warning]
    # Nothing that is valid for a fixed number only.
    for one in found.comparisons:
        assert (one.t, one.degrees, one.p_exact, one.interval_bca) == (None, None, None, None)
    for answer in found.answers:
        assert (answer.t, answer.degrees, answer.p_heterogeneity) == (None, None, None)


def test_a_larger_at_most_makes_only_the_new_runs(tmp_path: Path) -> None:
    few, many = (loaded(tmp_path, STUDY, f"seeds.at_most={most}", "margin=0.01") for most in (4, 6))
    before = results(few, tmp_path / "s")
    assert (before.comparisons[0].verdict, len(before.seeds)) == ("undecided", 4)
    launcher = Shuffling(0)
    after = results(many, tmp_path / "s", launcher)
    trained = [job for job in launcher.started if not job.open_test]
    assert len(trained) == 2 * 2 * (len(after.seeds) - 4)
    assert {run.address for run in before.runs} < {run.address for run in after.runs}


def test_a_smaller_at_most_ignores_the_others(tmp_path: Path) -> None:
    results(loaded(tmp_path, STUDY, "margin=0.01"), tmp_path / "s")
    launcher = Shuffling(0)
    found = results(loaded(tmp_path, STUDY, "seeds.at_most=4", "margin=0.01"), tmp_path / "s", launcher)
    assert (found.seeds, found.comparisons[0].verdict) == ((0, 1, 2, 3), "undecided")
    assert not [job for job in launcher.started if not job.open_test]


def test_runs_of_a_study_with_a_fixed_number_are_used(tmp_path: Path) -> None:
    results(loaded(tmp_path, STUDY, "seeds=5"), tmp_path / "s")
    launcher = Shuffling(0)
    found = results(loaded(tmp_path), tmp_path / "s", launcher)
    trained = {job.name.rpartition(" ")[2] for job in launcher.started if not job.open_test}
    assert trained == {str(seed) for seed in found.seeds if seed > 4}


def fails(job: Job, number: int) -> JobResult:
    if job.name.startswith("random") and job.name.endswith("seed 1"):
        return JobResult("failed", "broken")
    return made_up(job, number)


def test_a_failed_seed_is_replaced_by_the_next_and_can_be_tried_again(tmp_path: Path) -> None:
    study = loaded(tmp_path)
    without = results(study, tmp_path / "s", Shuffling(0, script=fails))
    (one,) = without.comparisons
    assert 1 not in one.seeds
    assert one.verdict == "worse"
    assert one.note == "without seed 1: no test result of random"
    assert [failure.seed for failure in without.failures] == [1, 1]
    again = results(study, tmp_path / "s", retry_failed=True)
    assert again == results(study, tmp_path / "new")


def test_a_broken_arm_is_not_tried_again_and_again(tmp_path: Path) -> None:
    def broken(job: Job, number: int) -> JobResult:
        return JobResult("failed", "broken") if job.name.startswith("random") else made_up(job, number)

    launcher = Shuffling(0, script=broken)
    found = results(loaded(tmp_path), tmp_path / "s", launcher)
    assert found.seeds == (0, 1, 2)
    assert sum(job.name.startswith("random") for job in launcher.started) == 6
    assert (found.comparisons[0].verdict, found.comparisons[0].note) == (
        "not enough evidence",
        "random has no test result",
    )


def test_single_sources_are_varied_once_the_seeds_are_decided(tmp_path: Path) -> None:
    launcher = Shuffling(0)
    found = results(loaded(tmp_path, STUDY, "vary=[init,order]"), tmp_path / "s", launcher)
    assert {(one.arm, one.source, len(one.values)) for one in found.noise} == {
        (arm, source, 3) for arm in ("language", "random") for source in ("init", "order")
    }, "at_least seeds, of which the first belongs to every source"
    names = [job.name for job in launcher.started]
    first_varied = next(place for place, name in enumerate(names) if "init seed" in name or "order seed" in name)
    last_seed = f", seed {max(found.seeds)}"
    assert max(place for place, name in enumerate(names) if name.endswith(last_seed)) < len(names)
    assert all(last_seed not in name or "rate" in name for name in names)
    assert min(place for place, name in enumerate(names) if name.endswith(last_seed)) < first_varied
    plain = results(loaded(tmp_path), tmp_path / "plain")
    assert plain.comparisons == found.comparisons


# Progress


def plan(study: Study, folder: Path) -> StudyProgress:
    with Ledger(folder) as ledger:
        return StudyRunner(study, ledger, lambda _: Shuffling(0), LineView(Console(quiet=True))).plan()


@pytest.mark.parametrize(
    ("overrides", "least", "most"),
    [
        ([], 2 * 2 * 3, 2 * 2 * 8),
        (["seeds.at_least=5"], 2 * 2 * 5, 2 * 2 * 8),
        (["vary=[init,order]"], 2 * 2 * 3 + 2 * 2 * 2, 2 * 2 * 8 + 2 * 2 * 2),
        (["learning_rates=[]"], 2 * 3, 2 * 8),
        (["search.name=halving"], 2 * 2 * 3, 2 * 2 * 8),
        (["comparisons=[]", "seeds.at_most=3"], 12, 12),
        (["seeds=3"], 12, None),
    ],
)
def test_the_smallest_and_the_largest_number_of_runs(
    overrides: Sequence[str], least: int, most: int | None, tmp_path: Path
) -> None:
    found = plan(loaded(tmp_path, STUDY, *overrides), tmp_path / "s")
    assert (found.runs, found.most) == (least, most)
    assert sum(cell.runs for cell in found.cells) == least
    assert sum(cell.most or cell.runs for cell in found.cells) == (most or least)


def test_the_largest_number_counts_shared_runs_once(tmp_path: Path) -> None:
    twins = STUDY.replace("  random:", "  twin: {extends: [base/bit_xor, base/random]}\n  random:")
    found = plan(loaded(tmp_path, twins), tmp_path / "s")
    assert (found.runs, found.most) == (12, 32)
    assert [cell.most for cell in found.cells] == [16, 16, 16]


def test_the_largest_number_with_proposed_rates(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    found = plan(loaded(tmp_path, STUDY, *SEARCHES["optuna"]), tmp_path / "s")
    assert (found.runs, found.most) == (2 * 3, 2 * 8 * 4)


def test_progress_has_an_open_end_until_all_is_decided(tmp_path: Path) -> None:
    study = loaded(tmp_path)
    console = Console(width=120, record=True, quiet=True)
    seen: list[StudyProgress] = []

    class Recording(LineView):
        def update(self, progress: StudyProgress) -> None:
            seen.append(progress)

    with Ledger(tmp_path / "s") as ledger:
        StudyRunner(study, ledger, lambda _: Shuffling(0), Recording(console)).carry_out()
    assert (seen[0].runs, seen[0].most, seen[0].comparisons, seen[0].undecided) == (12, 32, 1, 1)
    assert [one.runs for one in seen] == sorted(one.runs for one in seen)
    assert (seen[-1].most, seen[-1].undecided) == (None, 0)
    assert seen[-1].done == seen[-1].runs
    assert all(cell.state == "done" for cell in seen[-1].cells)
    assert all(one.most is None or one.runs <= one.most for one in seen)
    assert any(cell.state == "waiting" and cell.done == cell.runs for one in seen for cell in one.cells)


def test_the_table_says_at_least(tmp_path: Path) -> None:
    study = plan(loaded(tmp_path), tmp_path / "s")
    console = Console(width=120)
    with console.capture() as captured:
        console.print(draw(study, seconds=75, width=120, height=20))
    lines = captured.get().splitlines()
    assert "0 of 12+ runs done · 0 running · 1 of 1 undecided · 1 min" in lines[0]
    assert lines[2].split()[:3] == ["bit_xor", "language", "0/6+"] or "0/6+" in lines[2]
