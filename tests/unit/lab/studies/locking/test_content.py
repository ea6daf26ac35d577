"""A plan holds everything that decides results, and results need nothing beyond it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from finished_studies import TWO_ARMS, load

import fptkit
from fptkit.lab.studies.locking.content import Plan, exclusion_rules, facts_of, plan_of
from fptkit.lab.studies.locking.deviations import deviations
from fptkit.lab.studies.options import StudySettings

WITH_ALL = TWO_ARMS + "controls: [frozen_random]\ndata_fractions: [0.5, 1.0]\nmargin: 2\n"


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = plan_of(load(tmp_path, WITH_ALL))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_a_plan_holds_the_question_arms_tests_and_digests(tmp_path: Path) -> None:
    study = load(tmp_path, WITH_ALL)
    plan = plan_of(study)
    assert plan.settings["question"] == "Does language help?"
    assert list(plan.arms) == ["language", "random", "frozen_random"]
    assert plan.tests.compared == (("random", "language"), ("frozen_random", "language"))
    assert plan.tests.lifts == (("language", "frozen_random"),)
    assert (plan.tests.level, plan.tests.margin) == (0.05, 2)
    assert (plan.fptkit, plan.code) == (fptkit.__version__, study.code_version)
    assert len(plan.weights["builtin:gpt2_nano"]) == 64


def test_without_a_margin_the_default_is_said_in_words(tmp_path: Path) -> None:
    assert plan_of(load(tmp_path)).tests.margin == "1 point for metrics between 0 and 1, none for others"


def test_recipes_are_resolved_and_leave_out_what_differs_between_runs(tmp_path: Path) -> None:
    plan = plan_of(load(tmp_path, WITH_ALL))
    assert [(one.task, one.arm) for one in plan.recipes] == [
        ("bit_xor", arm) for arm in ("language", "random", "frozen_random")
    ]
    train = plan.recipes[0].recipe["train"]
    assert train["max_steps"] == 100
    assert train["batch_size"] > 0, "a default is written out"
    assert not train.keys() & {"seed", "learning_rate", "data_fraction", "log_every"}


def test_without_a_grid_the_recipes_own_rate_is_part_of_the_plan(tmp_path: Path) -> None:
    text = TWO_ARMS.replace("learning_rates: [1e-3, 1e-2]", "")
    assert "learning_rate" in plan_of(load(tmp_path, text)).recipes[0].recipe["train"]


@pytest.mark.parametrize("text", [TWO_ARMS, WITH_ALL, TWO_ARMS.replace("learning_rates: [1e-3, 1e-2]", "")])
def test_the_facts_of_a_plan_are_those_of_the_study(tmp_path: Path, text: str) -> None:
    study = load(tmp_path, text)
    ours, theirs = facts_of(plan_of(study)), study.facts
    assert [cell.name for cell in ours.cells] == [cell.name for cell in theirs.cells]
    for one, other in zip(ours.cells, theirs.cells, strict=True):
        assert one.freezing == other.freezing
        wanted = ("max_steps", "validate_every", *(() if study.settings.learning_rates else ("learning_rate",)))
        assert [getattr(one.train, key) for key in wanted] == [getattr(other.train, key) for key in wanted]
    assert dataclasses.replace(ours, cells=()) == dataclasses.replace(theirs, cells=())


def test_exclusions_follow_the_choice_of_rates() -> None:
    own, common = exclusion_rules(StudySettings()), exclusion_rules(StudySettings(choose="common"))
    assert "excluded for its seed" in own[0]
    assert "excluded for all seeds" in common[0]
    assert own[1:] == common[1:]


def test_a_plan_holds_the_rule_by_which_seeds_are_added(tmp_path: Path) -> None:
    fixed = plan_of(load(tmp_path))
    assert fixed.tests.stopping == ""
    added = plan_of(load(tmp_path, TWO_ARMS, "seeds={until: decided, at_most: 12}"))
    assert added.settings["seeds"] == {"until": "decided", "at_least": 3, "at_most": 12}
    assert added.tests.stopping == (
        "3 seeds, then more where a comparison is undecided, at most 12; p-values and intervals are those of "
        "e-processes, valid at any time"
    )
    assert "its seed counts as used" in added.exclusions[1]
    assert "not replaced by another seed" in fixed.exclusions[1]
    more = plan_of(load(tmp_path, TWO_ARMS, "seeds={until: decided, at_most: 30}"))
    assert deviations(added, more) == ("seeds.at_most: 30 (plan: 12)",)
    assert deviations(fixed, added)[0].startswith("seeds: until: decided")
