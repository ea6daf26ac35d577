"""From runs to the results file, on runs whose figures are made up so that every number can be computed by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from fptkit.lab.studies.address import address_of
from fptkit.lab.studies.cells import rates_of, recipe_for_trial
from fptkit.lab.studies.efficiency import effort, mean_curve
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import Cell, Study, Trial
from fptkit.lab.studies.results import RESULTS, CellResult, RunRow, StudyResults, read_costs, read_results, run_folder
from fptkit.lab.studies.summarise import summarise, write_results

STUDY = """
description: A study of two arms
tasks:
  bit_xor: {task: {name: bit_xor}}
arms:
  language: {backbone: {name: gpt2, weights: "builtin:gpt2_nano"}, freezing: {name: fpt}, summary: words}
  random:   {backbone: {name: gpt2, weights: random, size: nano}, freezing: {name: fpt}}
learning_rates: [1e-3, 3e-3, 1e-2]
seeds: 3
targets: {bit_xor: 0.8}
"""

RATES = (1e-3, 3e-3, 1e-2)
VALIDATION = {
    "language": {1e-3: (0.70, 0.71, 0.72), 3e-3: (0.90, 0.91, 0.89), 1e-2: (0.80, 0.82, 0.81)},
    "random": {1e-3: (0.50, 0.51, 0.52), 3e-3: (0.60, 0.61, 0.58), 1e-2: (0.55, 0.56, 0.57)},
}
TEST = {"language": (0.90, 0.92, 0.91), "random": (0.61, 0.60, 0.59)}

Changes = Mapping[tuple[str, float, int], Mapping[str, Any]]


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load_text(text: str = STUDY, *overrides: str) -> Study:
        file = tmp_path / "two_arms.yaml"
        file.write_text(text, encoding="utf-8")
        return load_study(str(file), overrides=overrides)

    return load_text


def address(study: Study, cell: Cell, trial: Trial) -> str:
    loaded = recipe_for_trial(cell, trial)
    return address_of(loaded.recipe, study.code_version, registry=loaded.registry)


def summary(cell: Cell, trial: Trial, validation: float, test: float | None) -> dict[str, Any]:
    recipe = cell.loaded.recipe
    return {
        "status": "validated" if test is None else "finished",
        "task": {"name": recipe.task.name, "protocol": "clean", "source": "generated", "stand_in": False},
        "selection": {"metric": "accuracy", "higher_is_better": True},
        "backbone": {"name": "gpt2", "weights": "w", "init": "pretrained", "stand_in": False, "blocks": 4, "width": 64},
        "encoder": "linear",
        "readout": "last_k",
        "freezing": recipe.freezing.name,
        "freezing_options": {},
        "parameters": {"total": 100, "trained": 10, "reached": 9},
        "flops_per_step": 1000,
        "majority_accuracy": {},
        "metrics": {
            "validation": {"loss": 0.5, "accuracy": validation},
            "test": {} if test is None else {"test": {"loss": 0.4, "accuracy": test}},
        },
        "steps": 300,
        "best_step": 200,
        "seconds": 12.5,
        "peak_memory_mib": 300.0,
        "device": "cpu",
        "threads": 2,
        "versions": {"torch": "2.9"},
    }


def trials_of(study: Study, cell: Cell) -> list[Trial]:
    return [Trial(rate, seed) for rate in rates_of(study.settings, cell) for seed in study.settings.first_seeds]


def made_up(study: Study, folder: Path, changes: Changes | None = None) -> dict[str, Outcome]:
    """All runs of a study, with their validations on disk; ``changes`` are fields of single outcomes."""
    found = {}
    for cell in study.cells:
        arm = cell.name.arm if cell.name.arm in VALIDATION else "random"
        for trial in trials_of(study, cell):
            best = trial.learning_rate == 3e-3
            validation = VALIDATION[arm][trial.learning_rate][trial.seed]
            told = summary(cell, trial, validation, TEST[arm][trial.seed] if best else None)
            one = Outcome(address(study, cell, trial), status=told["status"], step=300, summary=told)
            found[one.address] = replace(
                one, **(changes or {}).get((cell.name.arm, trial.learning_rate, trial.seed), {})
            )
            runs = run_folder(folder, one.address)
            runs.mkdir(parents=True, exist_ok=True)
            lines = [
                {"step": 100, "split": "train", "loss": 1.0},
                *({"step": s, "split": "validation", "accuracy": validation - 0.2 + s / 1000} for s in (100, 200)),
                {"step": 200, "split": "test", "accuracy": 0.1},
            ]
            (runs / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return found


def results_of(study: Study, folder: Path, changes: Changes | None = None) -> StudyResults:
    return summarise(study, made_up(study, folder, changes), folder)


def test_the_figures_of_a_cell(load: Any, tmp_path: Path) -> None:
    results = results_of(load(), tmp_path)
    cell = results.cell("bit_xor", "language")
    assert cell is not None
    assert cell.complete
    assert (cell.chosen_rate, cell.at_edge, cell.metric) == (3e-3, "", "accuracy")
    assert [rate.learning_rate for rate in cell.rates] == list(RATES)
    assert cell.main is not None
    assert cell.main.values == TEST["language"]
    assert cell.main.mean == pytest.approx(0.91)
    assert cell.main.sem == pytest.approx(scipy.stats.sem(TEST["language"]))
    assert cell.validation is not None
    assert cell.validation.values == (0.90, 0.91, 0.89)
    assert (cell.steps, cell.best_steps, cell.blocks, cell.width) == ((300,) * 3, (200,) * 3, 4, 64)
    assert cell.parameters == {"total": 100, "trained": 10, "reached": 9}
    assert [(p.step, round(p.mean, 6)) for p in cell.curve] == [(100, 0.8), (200, 0.9)]
    assert results.warnings == ()
    assert results.failures == ()
    assert len(results.runs) == 18
    assert cell.chosen_rates == {0: 3e-3, 1: 3e-3, 2: 3e-3}
    assert cell.common is not None
    assert (cell.common.learning_rate, cell.common.test) == (3e-3, cell.test)


def test_effort_is_the_first_step_at_the_target(load: Any, tmp_path: Path) -> None:
    results = results_of(load(), tmp_path)
    language, random = (results.cell("bit_xor", arm) for arm in ("language", "random"))
    assert language is not None
    assert language.effort is not None
    assert (language.effort.steps, language.effort.flops) == ((100, 100, 200), (1e5, 1e5, 2e5))
    assert (language.effort.reached, language.effort.seeds) == (3, 3)
    assert random is not None
    assert random.effort is not None
    assert (random.effort.steps, random.effort.reached, random.effort.seeds) == ((), 0, 3)


def test_the_comparison_agrees_with_scipy(load: Any, tmp_path: Path) -> None:
    (found,) = results_of(load(), tmp_path).comparisons
    theirs = scipy.stats.ttest_rel(TEST["random"], TEST["language"])
    assert (found.a, found.b, found.verdict) == ("random", "language", "worse")
    assert found.t == pytest.approx(theirs.statistic, rel=1e-9)
    assert found.p == found.p_holm == pytest.approx(theirs.pvalue, rel=1e-9)
    assert found.degrees == 2
    bounds = theirs.confidence_interval(0.95)
    assert found.interval == pytest.approx((bounds.low, bounds.high))
    assert (found.allowance, found.p_verdict) == (0, None)


def test_controls_give_lifts_which_count_once(load: Any, tmp_path: Path) -> None:
    study = load(STUDY, "controls=[frozen_random, unfrozen_random]")
    results = results_of(study, tmp_path)
    assert [(one.a, one.b) for one in results.lifts] == [("language", "frozen_random")]
    (lift,) = results.lifts
    same = next(one for one in results.comparisons if one.a == "frozen_random")
    assert lift.mean == pytest.approx(0.31)
    assert same.mean == pytest.approx(-0.31)
    assert (lift.verdict, same.verdict) == ("better", "worse")
    assert lift.interval is not None
    assert same.interval == pytest.approx((-lift.interval[1], -lift.interval[0]))
    assert lift.p_holm == same.p_holm
    assert lift.p_holm == lift.p, "the lift is the same question as the comparison, and the only test of it"


def test_a_trained_reference_is_compared_with_the_trained_control(load: Any, tmp_path: Path) -> None:
    text = STUDY.replace("freezing: {name: fpt}, summary", "freezing: {name: full}, summary")
    results = results_of(load(text, "controls=[frozen_random, unfrozen_random]"), tmp_path)
    assert [one.b for one in results.lifts] == ["unfrozen_random"]


def test_comparisons_that_are_asked_for(load: Any, tmp_path: Path) -> None:
    results = results_of(load(STUDY, "comparisons=[[language, random]]"), tmp_path)
    assert [(one.a, one.b, one.verdict) for one in results.comparisons] == [("language", "random", "better")]


def test_lower_is_better_turns_the_difference(load: Any, tmp_path: Path) -> None:
    study = load()
    outcomes = {
        key: replace(one, summary={**one.summary, "selection": {"metric": "loss", "higher_is_better": False}})
        for key, one in made_up(study, tmp_path).items()
    }
    for cell in study.cells:
        for trial in trials_of(study, cell):
            one = outcomes[address(study, cell, trial)]
            for split in (one.summary["metrics"]["validation"], one.summary["metrics"]["test"].get("test", {})):
                if "accuracy" in split:
                    split["loss"] = 1 - split["accuracy"]
    results = summarise(study, outcomes, tmp_path)
    (found,) = results.comparisons
    assert found.verdict == "worse"
    assert found.mean == pytest.approx(-0.31)
    cell = results.cell("bit_xor", "language")
    assert cell is not None
    assert cell.main is not None
    assert cell.main.mean == pytest.approx(0.09)
    assert cell.chosen_rate == 3e-3


def test_each_seed_is_reported_at_its_own_rate_and_the_common_one_beside(load: Any, tmp_path: Path) -> None:
    """Seed 1 of random validates best at 1e-2, where its test is not that of the common rate."""
    study = load()
    better = summary(study.cells[1], Trial(1e-2, 1), 0.66, 0.70)
    results = results_of(study, tmp_path, {("random", 1e-2, 1): {"status": "finished", "summary": better}})
    cell = results.cell("bit_xor", "random")
    assert cell is not None
    assert (cell.chosen_rates, cell.chosen_rate) == ({0: 3e-3, 1: 1e-2, 2: 3e-3}, None)
    assert cell.main is not None
    assert cell.main.values == (0.61, 0.70, 0.59)
    assert cell.validation is not None
    assert cell.validation.values == (0.60, 0.66, 0.58)
    assert (cell.at_edge, cell.complete) == ("high", True)
    assert cell.common is not None
    assert (cell.common.learning_rate, cell.common.test["test"].values) == (3e-3, TEST["random"])
    assert cell.common.validation is not None
    assert cell.common.validation.values == VALIDATION["random"][3e-3]
    (found,) = results.comparisons
    assert found.differences == pytest.approx((0.61 - 0.90, 0.70 - 0.92, 0.59 - 0.91))
    assert results.warnings == (
        "the best learning rate is at the edge of the grid, a better one may be outside it (highest end: random on "
        "bit_xor, 1 of 3 seeds)",
    )


def test_seeds_at_both_ends_of_the_grid(load: Any, tmp_path: Path) -> None:
    study = load()
    changes = {
        ("random", rate, seed): {"status": "finished", "summary": summary(study.cells[1], Trial(rate, seed), 0.9, 0.9)}
        for rate, seed in ((1e-3, 0), (1e-2, 1))
    }
    results = results_of(study, tmp_path, changes)
    cell = results.cell("bit_xor", "random")
    assert cell is not None
    assert cell.at_edge == "both"
    assert results.warnings[1].endswith(
        "(lowest end: random on bit_xor, 1 of 3 seeds; highest end: random on bit_xor, 1 of 3 seeds)"
    )


def test_a_seed_without_its_own_test_is_missing_from_the_comparison(load: Any, tmp_path: Path) -> None:
    study = load()
    untested = summary(study.cells[1], Trial(1e-2, 1), 0.66, None)
    results = results_of(study, tmp_path, {("random", 1e-2, 1): {"status": "validated", "summary": untested}})
    (found,) = results.comparisons
    assert (found.seeds, found.verdict) == ((0, 2), "not enough evidence")
    assert [(f.arm, f.learning_rate, f.seed, f.reason) for f in results.failures] == [
        ("random", 1e-2, 1, "trained, not tested yet")
    ]


def test_a_common_choice_has_no_figures_beside_and_a_caveat(load: Any, tmp_path: Path) -> None:
    results = results_of(load(STUDY, "choose=common"), tmp_path)
    cell = results.cell("bit_xor", "random")
    assert cell is not None
    assert (cell.chosen_rates, cell.chosen_rate, cell.common) == (dict.fromkeys(range(3), 3e-3), 3e-3, None)
    assert (results.choose, results.format) == ("common", 2)
    assert results.search == "grid of 3 rates, 0.001 to 0.01, chosen on validation for all seeds together"
    (warning,) = results.warnings
    assert warning.startswith(
        "one learning rate was chosen for all seeds together: a wrong choice looks like an effect"
    )


def test_a_study_without_a_search_has_no_figures_beside(load: Any, tmp_path: Path) -> None:
    results = results_of(load(STUDY, "learning_rates=[3e-3]"), tmp_path)
    assert all(cell.common is None and cell.chosen_rate == 3e-3 for cell in results.cells)
    assert (results.choose, results.search, results.warnings) == ("per_seed", "the rate 0.003", ())


def test_what_the_results_say_of_the_study(load: Any, tmp_path: Path) -> None:
    results = results_of(load(STUDY), tmp_path)
    assert results.until == ""
    assert (results.seeds, results.choose, results.smoke) == ((0, 1, 2), "per_seed", False)
    assert results.search == "grid of 3 rates, 0.001 to 0.01, chosen on validation by each seed for itself"
    assert [(answer.a, answer.b, answer.verdict) for answer in results.answers] == [("random", "language", "worse")]
    assert {rank.arm: rank.rank for rank in results.ranks} == {"language": 1, "random": 2}


def test_seeds_that_are_added_until_decided(load: Any, tmp_path: Path) -> None:
    study = load(STUDY, "seeds={until: decided, at_most: 9}")
    results = results_of(study, tmp_path)
    (one,) = results.comparisons
    assert one.verdict == "undecided"
    assert one.anytime is not None
    assert one.p == one.p_holm == one.anytime.p == one.anytime.p_holm > 0.05
    assert (one.interval, one.t, one.p_exact, one.resolution) == (None, None, None, None), "three seeds exclude nothing"
    assert results.until == "3 seeds, then more where a comparison is undecided, at most 9"
    assert results.seeds == (0, 1, 2, 3)
    assert {(run.arm, run.learning_rate) for run in results.failures} == set(product(("language", "random"), RATES))
    assert {(run.seed, run.status) for run in results.failures} == {(3, "waiting")}
    assert not any(cell.complete or cell.common for cell in results.cells)
    assert results.ranks == ()
    read = StudyResults.model_validate_json(results.model_dump_json())
    assert read == results


@pytest.mark.parametrize("status", ["lost", "interrupted"])
def test_a_worker_that_dies_after_all_is_saved_changes_no_result(load: Any, tmp_path: Path, status: str) -> None:
    """The last validation is saved, the end of the run is not; nothing more is asked of a rate that is not chosen."""
    study = load()
    cell, rate, seed = study.cells[0], RATES[0], 1
    whole = results_of(study, tmp_path)
    told = {**summary(cell, Trial(rate, seed), VALIDATION["language"][rate][seed], None), "status": "running"}

    def rows(validated_step: int) -> tuple[RunRow, ...]:
        change = {"status": status, "summary": {**told, "validated_step": validated_step}}
        return results_of(study, tmp_path, {("language", rate, seed): change}).runs

    steps = cell.loaded.recipe.train.max_steps
    assert rows(steps) == whole.runs
    (one,) = (row for row in rows(steps - 1) if (row.arm, row.learning_rate, row.seed) == ("language", rate, seed))
    assert one.status == status, "its last steps decide something, and are missing"


def test_a_failed_run_leaves_a_partial_study(load: Any, tmp_path: Path) -> None:
    failed = {"status": "failed", "reason": "ShapeError: the arm is broken", "summary": {}}
    results = results_of(load(), tmp_path, {("random", rate, seed): failed for rate in RATES for seed in range(3)})
    assert len(results.failures) == 9
    assert {(f.arm, f.status, f.reason) for f in results.failures} == {("random", "failed", failed["reason"])}
    assert results.warnings[0] == "9 of 18 runs are missing, figures are from the others; 9 failed, in random"
    language, random = (results.cell("bit_xor", arm) for arm in ("language", "random"))
    assert language is not None
    assert language.complete
    assert random is not None
    assert not random.complete
    assert random.chosen_rate is None
    (found,) = results.comparisons
    assert (found.verdict, found.note) == ("not enough evidence", "random has no test result")


def test_a_missing_test_leaves_two_pairs_and_no_verdict(load: Any, tmp_path: Path) -> None:
    study = load()
    untested = summary(study.cells[0], Trial(3e-3, 1), 0.91, None)
    change = {"status": "validated", "summary": untested}
    results = results_of(study, tmp_path, {("language", 3e-3, 1): change})
    (found,) = results.comparisons
    assert found.verdict == "not enough evidence"
    assert found.differences == pytest.approx((-0.29, -0.32))
    assert (found.p, found.p_holm, found.effect_size, found.interval) == (None,) * 4
    assert found.note == "2 seeds in common, a test needs 3"
    assert [(f.seed, f.status, f.reason) for f in results.failures] == [(1, "waiting", "trained, not tested yet")]


def test_a_study_before_its_first_run(load: Any, tmp_path: Path) -> None:
    study = load()
    results = summarise(study, {}, tmp_path)
    assert {f.reason for f in results.failures} == {"not started"}
    assert results.comparisons[0].verdict == "not enough evidence"
    assert all(cell.main is None and cell.curve == () and cell.effort is None for cell in results.cells)


def test_a_rate_that_diverged_is_reported(load: Any, tmp_path: Path) -> None:
    change = {"status": "diverged", "reason": "the loss is nan"}
    results = results_of(load(), tmp_path, {("language", 1e-2, 0): change})
    cell = results.cell("bit_xor", "language")
    assert cell is not None
    assert [rate.diverged for rate in cell.rates] == [0, 0, 1]
    assert cell.complete
    assert any("diverged" in warning and "language on bit_xor at 0.01" in warning for warning in results.warnings)


def test_an_arm_that_diverges_at_every_rate_has_no_figure(load: Any, tmp_path: Path) -> None:
    gone = {"status": "diverged", "reason": "the loss is nan"}
    results = results_of(load(), tmp_path, {("random", rate, seed): gone for rate in RATES for seed in range(3)})
    cell = results.cell("bit_xor", "random")
    assert cell is not None
    assert (cell.complete, cell.chosen_rate, cell.reason) == (True, None, "diverged at every rate")
    assert results.failures == ()
    assert results.warnings[0] == "no learning rate could be chosen: random on bit_xor (diverged at every rate)"


def test_a_seed_that_diverges_at_every_rate_is_named(load: Any, tmp_path: Path) -> None:
    gone = {"status": "diverged", "reason": "the loss is nan"}
    study = load(STUDY, "seeds=[0, 1, 2]")
    results = results_of(study, tmp_path, {("random", rate, 2): gone for rate in RATES})
    cell = results.cell("bit_xor", "random")
    assert cell is not None
    assert (cell.complete, cell.chosen_rates) == (True, {0: 3e-3, 1: 3e-3})
    assert cell.reason == "seed 2: diverged at every rate"
    assert results.failures == ()
    assert results.warnings == (
        "no learning rate could be chosen: random on bit_xor (seed 2: diverged at every rate)",
        "runs diverged, so their seeds did not choose these rates: random on bit_xor at 0.001 (1 of 3 seeds), 0.003 (1 "
        "of 3 seeds), 0.01 (1 of 3 seeds)",
    )
    (found,) = results.comparisons
    assert (found.seeds, found.verdict) == ((0, 1), "not enough evidence")


def test_runs_of_a_stopped_rate_are_listed_and_not_missing(load: Any, tmp_path: Path) -> None:
    study = load(STUDY, "search.name=halving", "search.rungs=2", "budget.steps=300")
    outcomes = made_up(study, tmp_path)
    results = summarise(study, outcomes, tmp_path)
    assert results.failures == ()
    assert all(cell.complete and cell.chosen_rate == 3e-3 for cell in results.cells)
    assert results.search.startswith("successive halving of 3 rates, 0.001 to 0.01")


@pytest.mark.parametrize(
    ("precisions", "told"),
    [
        (("bfloat16",), "bfloat16"),
        (("int8", "bfloat16"), "bfloat16, int8"),
        ((None,), ""),
        ((None, "float32"), "float32"),
    ],
)
def test_the_precision_of_the_runs_is_recorded(
    precisions: tuple[str | None, ...], told: str, load: Any, tmp_path: Path
) -> None:
    """Runs of earlier versions do not say it; machines may differ."""
    study = load()
    outcomes = made_up(study, tmp_path)
    for number, one in enumerate(outcomes.values()):
        if (precision := precisions[number % len(precisions)]) is not None:
            one.summary["precision"] = precision
    assert {cell.precision for cell in summarise(study, outcomes, tmp_path).cells} == {told}


def test_what_a_reader_must_know_comes_first(load: Any, tmp_path: Path) -> None:
    study = load(STUDY, "learning_rates=[3e-3, 1e-2]", "seeds=1")
    outcomes = made_up(study, tmp_path)
    for number, one in enumerate(outcomes.values()):
        one.summary["task"].update(stand_in=True, source="simulated")
        one.summary["backbone"]["stand_in"] = True
        one.summary["versions"]["torch"] = f"2.{number % 2}"
        one.summary["majority_accuracy"]["test"] = 0.7
        one.summary["steps"] = 300 if number < 2 else 200
    outcomes[next(iter(outcomes))].summary["task"]["protocol"] = "fpt2021"
    beginnings = [
        "bit_xor was run under different protocols (fpt2021, clean)",
        "fallback data (stand-in): bit_xor (simulated)",
        "fallback weights (stand-in): language (w), random (w)",
        "the best learning rate is at the edge of the grid, a better one may be outside it (lowest end: language on",
        "one seed",
        "no budget was set, and arms trained for different numbers of steps on bit_xor: language 300, random 200",
        "runs were made with different versions: torch (2.0 and 2.1)",
        "no better than guessing or always answering with the most frequent class, within two standard errors: random ",
    ]
    warnings = summarise(study, outcomes, tmp_path).warnings
    assert len(warnings) == len(beginnings)
    for warning, beginning in zip(warnings, beginnings, strict=True):
        assert warning.startswith(beginning)


def test_arms_with_the_same_recipe_are_named(load: Any, tmp_path: Path) -> None:
    arm = "  twin: {backbone: {name: gpt2, weights: random, size: nano}, freezing: {name: fpt}}"
    twin = STUDY.replace("learning_rates:", f"{arm}\nlearning_rates:")
    warnings = results_of(load(twin), tmp_path).warnings
    assert "arms whose recipes differ in nothing, so that they have the same runs: random, twin on bit_xor" in warnings
    assert not any("differ in nothing" in warning for warning in results_of(load(), tmp_path / "two").warnings)


def test_an_edge_that_others_equal_is_no_warning(load: Any, tmp_path: Path) -> None:
    study = load()
    changes = {
        ("language", rate, seed): {
            "summary": summary(study.cells[0], Trial(rate, seed), 1.0, 1.0),
            "status": "finished",
        }
        for rate in RATES
        for seed in range(3)
    }
    results = results_of(study, tmp_path, changes)
    cell = results.cell("bit_xor", "language")
    assert cell is not None
    assert cell.at_edge == "low"
    assert not any("edge" in warning for warning in results.warnings)


def test_a_budget_makes_other_lengths_no_fault(load: Any, tmp_path: Path) -> None:
    study = load(STUDY, "budget.flops=1e9")
    outcomes = made_up(study, tmp_path)
    for number, one in enumerate(outcomes.values()):
        one.summary["steps"] = 300 if number < 9 else 200
    assert not any("steps" in warning for warning in summarise(study, outcomes, tmp_path).warnings)


def test_the_files_say_nothing_of_time_place_or_order(load: Any, tmp_path: Path) -> None:
    study = load()
    first = made_up(study, tmp_path / "one")
    write_results(study, first, tmp_path / "one", tmp_path / "a")
    second = {
        key: replace(
            one, summary={**one.summary, "seconds": 99.0, "device": "gpu", "threads": 1, "peak_memory_mib": 1.0}
        )
        for key, one in reversed(list(made_up(study, tmp_path / "two").items()))
    }
    write_results(study, second, tmp_path / "two", tmp_path / "b")
    assert (tmp_path / "a" / RESULTS).read_bytes() == (tmp_path / "b" / RESULTS).read_bytes()
    assert str(tmp_path) not in (tmp_path / "a" / RESULTS).read_text(encoding="utf-8")
    costs = read_costs(tmp_path / "b").runs
    assert set(costs) == set(first)
    assert {cost.seconds for cost in costs.values()} == {99.0}
    assert read_results(tmp_path / "a") == summarise(study, first, tmp_path / "one")


def test_lines_cut_off_are_passed_over(load: Any, tmp_path: Path) -> None:
    study = load()
    outcomes = made_up(study, tmp_path)
    for one in outcomes.values():
        with (run_folder(tmp_path, one.address) / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"step": 300, "split": "validation", "accu')
    cell = summarise(study, outcomes, tmp_path).cell("bit_xor", "language")
    assert cell is not None
    assert [point.step for point in cell.curve] == [100, 200]


@pytest.mark.slow
def test_a_summary_needs_no_torch(load: Any, tmp_path: Path) -> None:
    load()
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from fptkit.lab.studies.load import load_study\n"
        "from fptkit.lab.studies.summarise import write_results\n"
        "folder = Path(sys.argv[1])\n"
        "write_results(load_study(str(folder / 'two_arms.yaml')), {}, folder, folder / 'out')\n"
        "heavy = [n for n in ('torch', 'transformers', 'timm', 'scipy.stats') if n in sys.modules]\n"
        "sys.exit(f'loads {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_target_missed_by_single_precision_only_is_reached() -> None:
    counted = float(np.float32(0.7))
    assert counted < 0.7
    found = effort([{10: 0.6, 20: counted}, {10: 0.69}], 0.7, higher_is_better=True, flops_per_step=None)
    assert (found.steps, found.flops, found.reached, found.seeds) == ((20,), (), 1, 2)


def test_a_loss_reaches_its_target_from_above() -> None:
    found = effort([{10: 2.0, 20: 0.9, 30: 0.5}], 1.0, higher_is_better=False, flops_per_step=3.0)
    assert (found.steps, found.flops) == ((20,), (60.0,))


def test_the_mean_curve_keeps_the_steps_all_seeds_have() -> None:
    points = mean_curve([{10: 0.2, 20: 0.4, 30: 0.9}, {10: 0.4, 20: 0.8}, {}])
    assert [(p.step, pytest.approx(p.mean)) for p in points] == [(10, 0.3), (20, 0.6)]
    assert points[0].sem == pytest.approx(scipy.stats.sem([0.2, 0.4]))
    assert mean_curve([{}, {}]) == ()


@pytest.mark.parametrize(("metric", "fraction"), [("accuracy", True), ("mean_squared_error", False), ("", False)])
def test_files_that_do_not_say_what_is_a_fraction_are_read(metric: str, fraction: bool) -> None:
    told = {"task": "t", "arm": "a", "complete": True, "metric": metric}
    assert CellResult.model_validate(told).measure == (metric, fraction)
    assert not CellResult.model_validate({**told, "fraction": False}).fraction
    summary: dict[str, Any] = {"majority_accuracy": {"test": 0.5}, "metrics": {"test": {"test": {}}}}
    older = Outcome("address", summary={**summary, "selection": {"metric": metric}})
    assert (older.fraction, older.majority) == (fraction, 0.5 if fraction else None)


def test_summaries_say_what_is_a_fraction_and_what_an_accuracy() -> None:
    summary = {
        "selection": {"metric": "f1"},
        "fractions": ["accuracy", "f1"],
        "accuracies": ["accuracy"],
        "majority_accuracy": {"test": 0.5},
        "chance_accuracy": 0.25,
        "metrics": {"test": {"test": {"f1": 0.4}}},
    }
    found = Outcome("address", summary=summary)
    assert (found.fraction, found.majority, found.chance) == (True, None, None)
    accuracy = Outcome("address", summary={**summary, "selection": {"metric": "accuracy"}})
    assert (accuracy.majority, accuracy.chance) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("chance", "majority", "level"), [(None, None, None), (0.75, None, 0.75), (None, 0.2, 0.2), (0.1, 0.2, 0.2)]
)
def test_what_needs_no_learning_is_the_better_of_guessing_and_majority(
    chance: float | None, majority: float | None, level: float | None
) -> None:
    told = {"task": "t", "arm": "a", "complete": True, "chance": chance, "majority": majority}
    assert CellResult.model_validate(told).uninformed == level
