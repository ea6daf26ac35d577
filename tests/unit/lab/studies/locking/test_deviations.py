"""Deviations from a plan, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from finished_studies import TWO_ARMS, load

from fptkit.lab.studies.locking.content import Plan, plan_of
from fptkit.lab.studies.locking.deviations import deviations


def found(folder: Path, text: str, *overrides: str) -> list[str]:
    """Deviations of a study of this text from `TWO_ARMS`."""
    return list(deviations(plan_of(load(folder, TWO_ARMS)), plan_of(load(folder, text, *overrides))))


def test_the_same_study_does_not_deviate(tmp_path: Path) -> None:
    assert found(tmp_path, TWO_ARMS) == []


def test_what_does_not_decide_results_is_no_deviation(tmp_path: Path) -> None:
    changed = TWO_ARMS.replace("tasks:", "tasks: &t", 1).replace(
        "freezing: {name: fpt}}", "freezing: {name: fpt}, threads: 2, train: {log_every: 7}}"
    )
    assert found(tmp_path, changed.replace(" &t", "")) == []


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("learning_rates=[1e-3, 3e-3]", "learning_rates: 1e-3, 3e-3 (plan: 1e-3, 1e-2)"),
        ("learning_rates=[0.123456789, 2.5e-7]", "learning_rates: 0.123456789, 2.5e-7 (plan: 1e-3, 1e-2)"),
        ("learning_rates=[]", "learning_rates: none (plan: 1e-3, 1e-2)"),
        ("seeds=4", "seeds: 0, 1, 2, 3 (plan: 0, 1, 2)"),
        ("choose=common", "choose: common (plan: per_seed)"),
        ("search.name=halving", "search.name: halving (plan: grid)"),
        ("margin=2", "margin: 2 (plan: null)"),
        ("budget.steps=200", "budget.steps: 200 (plan: 100)"),
        ("question=Another one", "question: Another one (plan: Does language help?)"),
        ("reference=random", "reference: random (plan: null)"),
        ("comparisons=[[random, language]]", "comparisons: [random, language] (plan: none)"),
        ("data_fractions=[0.5]", "data_fractions: 0.5 (plan: 1)"),
        ("targets.bit_xor=0.9", "targets.bit_xor: 0.9 (plan: absent)"),
    ],
)
def test_a_changed_setting_is_one_deviation(tmp_path: Path, override: str, said: str) -> None:
    first, *others = found(tmp_path, TWO_ARMS, override)
    assert first == said
    # Only the recipes may have more to say, such as the rate that a grid no longer sets.
    assert all(" of language on bit_xor; random on bit_xor: " in other for other in others), others


def test_seeds_until_decided_are_written_out(tmp_path: Path) -> None:
    (said,) = found(tmp_path, TWO_ARMS, "seeds={until: decided}")
    assert said == "seeds: until: decided, at_least: 3, at_most: 20 (plan: 0, 1, 2)"


def test_equal_differences_of_several_cells_are_one_deviation(tmp_path: Path) -> None:
    changed = TWO_ARMS.replace("freezing: {name: fpt}}", "freezing: {name: fpt}, train: {batch_size: 7}}")
    assert found(tmp_path, changed) == ["train.batch_size of language on bit_xor; random on bit_xor: 7 (plan: 16)"]
    one = TWO_ARMS.replace("size: nano}", "size: nano, dropout: 0.25}")
    assert found(tmp_path, one) == ["backbone.dropout of random on bit_xor: 0.25 (plan: 0.1)"]


def test_many_cells_are_counted(tmp_path: Path) -> None:
    arms = "".join(
        f"  a{number}: {{backbone: {{name: gpt2, weights: random, size: nano}}, freezing: {{name: fpt}}}}\n"
        for number in range(6)
    )
    text = f"tasks:\n  bit_xor: {{task: {{name: bit_xor}}}}\narms:\n{arms}"
    changed = text.replace("name: fpt}}", "name: fpt}, train: {batch_size: 7}}")
    (said,) = deviations(plan_of(load(tmp_path, text)), plan_of(load(tmp_path, changed)))
    assert said == "train.batch_size of a0 on bit_xor; a1 on bit_xor; a2 on bit_xor; and 3 more: 7 (plan: 16)"


def test_another_summary_of_an_arm_is_a_deviation_beside_others(tmp_path: Path) -> None:
    said = "arms.random.summary: pretrained (plan: empty)"
    assert found(tmp_path, TWO_ARMS, "arms.random.summary=pretrained") == [said]
    assert found(tmp_path, TWO_ARMS, "arms.random.summary=pretrained", "margin=2") == ["margin: 2 (plan: null)", said]


def test_another_arm_is_said_once(tmp_path: Path) -> None:
    assert found(tmp_path, TWO_ARMS, "controls=[one_block]") == [
        "controls: one_block (plan: none)",
        "arms: language, random, one_block (plan: language, random)",
    ]


def test_another_task_is_said_once(tmp_path: Path) -> None:
    more = TWO_ARMS.replace("arms:", "  bit_memory: {task: {name: bit_memory}}\narms:")
    assert found(tmp_path, more) == ["tasks: bit_xor, bit_memory (plan: bit_xor)"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "b" * 64}, "code of fptkit: bbbbbbbbbbbb (plan: CODE)"),
        ({"fptkit": "9.9.9"}, "fptkit: 9.9.9 (plan: VERSION)"),
        ({"weights": {"builtin:gpt2_nano": "c" * 64}}, "weights builtin:gpt2_nano: cccccccccccc (plan: WEIGHTS)"),
        ({"data": {"bit_xor": "d" * 64}}, None),
        ({"skipped": {"random on bit_xor": "no reason"}}, "random on bit_xor: skipped, no reason (plan: made)"),
        ({"exclusions": ()}, "exclusions: none (plan: RULES)"),
    ],
)
def test_other_code_weights_and_rules_are_deviations(tmp_path: Path, change: dict[str, Any], said: str | None) -> None:
    plan = plan_of(load(tmp_path))
    found = deviations(plan, plan.model_copy(update=change))
    if said is None:  # the plan could not know the digest of these data
        assert found == ()
        return
    for word, value in (
        ("CODE", plan.code[:12]),
        ("VERSION", plan.fptkit),
        ("WEIGHTS", plan.weights["builtin:gpt2_nano"][:12]),
        ("RULES", ", ".join(plan.exclusions)),
    ):
        said = said.replace(word, value)
    assert found == (said,)


def test_known_data_that_change_are_a_deviation(tmp_path: Path) -> None:
    plan = plan_of(load(tmp_path))
    known = plan.model_copy(update={"data": {"bit_xor": "a" * 64}})
    other = plan.model_copy(update={"data": {"bit_xor": "b" * 64}})
    assert deviations(known, other) == ("data of bit_xor: bbbbbbbbbbbb (plan: aaaaaaaaaaaa)",)
    assert deviations(known, plan) == (), "they are not here now: nothing can be compared"


def test_every_field_of_a_plan_is_compared(tmp_path: Path) -> None:
    plan = plan_of(load(tmp_path))
    changes: dict[str, Any] = {
        "study": "other",
        "profile": "smoke",
        "tasks": ("other",),
        "arms": {"other": ""},
        "reference": "random",
        "settings": {**plan.settings, "choose": "common"},
        "tests": plan.tests.model_copy(update={"level": 0.1}),
        "exclusions": ("other",),
        "recipes": (plan.recipes[0].model_copy(update={"recipe": {"train": {"batch_size": 3}}}),),
        "skipped": {"random on bit_xor": "other"},
        "fptkit": "other",
        "code": "other",
        "plugins": {},
        "weights": {"builtin:gpt2_nano": "other"},
        "data": {"bit_xor": "other"},
    }
    assert changes.keys() == Plan.model_fields.keys()
    with_plugin = plan.model_copy(update={"plugins": {"p": "a"}, "data": {"bit_xor": "a"}})
    changes["plugins"] = {"p": "b"}
    for field, value in changes.items():
        assert deviations(with_plugin, with_plugin.model_copy(update={field: value})), field
