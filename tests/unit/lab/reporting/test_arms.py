"""What each arm is: facts of its cells, the same on all tasks or listed."""

from __future__ import annotations

from typing import Any

import study_results as made

from fptkit.lab.reporting.arms import arms
from fptkit.lab.reporting.document import Table
from fptkit.lab.studies.results import CellResult, StudyResults


def changed(results: StudyResults, arm: str, task: str = "", **more: Any) -> StudyResults:
    cells = (one.model_copy(update=more) if one.arm == arm and task in ("", one.task) else one for one in results.cells)
    return results.model_copy(update={"cells": tuple(cells)})


def row(results: StudyResults, arm: str) -> dict[str, tuple[str, str]]:
    (table,) = arms(results).tables
    entries = next(entries for entries in table.rows if entries[0].text == arm)
    return {head.text: (entry.text, entry.detail) for head, entry in zip(table.header, entries, strict=True)}


def table(results: StudyResults) -> Table:
    (found,) = arms(results).tables
    return found


def test_an_arm_is_described_by_its_facts() -> None:
    results = changed(made.study(), "pretrained", parameters={"total": 3_180_000, "trained": 31_200})
    assert row(results, "pretrained") == {
        "arm": ("pretrained", "GPT-2 pretrained on English\nreference"),
        "backbone": ("gpt2", "4 blocks, width 256"),
        "weights": ("builtin:gpt2_nano", ""),
        "what trains": ("fpt", ""),
        "parameters": ("3.18 M", ""),
        "trained": ("31.2 k", ""),
    }
    assert table(results).notes == (
        "fpt: input, output, norms and positions train; attention, feed-forward and recurrent stay frozen.",
    )


def test_the_way_weights_are_set_is_said() -> None:
    def weights(**more: Any) -> tuple[str, str]:
        return row(changed(made.study(), "random", **more), "random")["weights"]

    assert weights(init="pretrained") == ("builtin:gpt2_nano", "as loaded")
    assert weights(init="random") == ("builtin:gpt2_nano", "random values, same sizes")
    assert weights(init="statistics") == ("builtin:gpt2_nano", "random values, same mean and deviation")
    assert weights(weights="random", init="random") == ("random", "")
    assert weights(init="flat_0.02") == ("builtin:gpt2_nano", "init flat_0.02")


def test_stand_ins_are_marked_where_they_are_used() -> None:
    results = changed(made.study(), "pretrained", task="bit_xor", weights_stand_in=True)
    assert row(results, "pretrained")["weights"][0] == "builtin:gpt2_nano or builtin:gpt2_nano ‡"
    assert table(results).notes[-1].startswith("‡ fallback (stand-in)")
    assert row(results, "random")["weights"][0] == "builtin:gpt2_nano"


def test_facts_that_differ_between_tasks_are_listed() -> None:
    results = changed(made.study(), "random", task="bit_xor", freezing="full", parameters={"total": 5, "trained": 5})
    found = row(results, "random")
    assert found["what trains"][0] == "fpt or full"
    assert found["parameters"][0] == "5 to 86 M"
    assert [note.split(":")[0] for note in table(results).notes] == ["fpt", "full"]


def test_changes_to_a_policy_are_listed() -> None:
    options = {"train": [{"role": "attention", "blocks": "-2:"}, {"role": "norm"}], "freeze": ["position"]}
    found = row(changed(made.study(), "random", freezing_options=options), "random")
    assert found["what trains"] == ("fpt", "train attention in blocks -2:, norm; freeze position")


def test_other_settings_are_shown_if_arms_differ_in_them() -> None:
    assert "also" not in row(made.study(), "random")
    found = changed(made.study(), "random", shuffle_tokens=True)
    assert row(found, "random")["also"] == ("tokens shuffled", "")
    assert row(found, "pretrained")["also"] == ("–", "")
    pooled = changed(changed(made.study(), "random", readout="mean"), "pretrained", readout="last")
    assert row(pooled, "random")["also"] == ("pooling mean", "")
    parts = {"optimizer": {"name": "sgd", "momentum": 0.5}, "metrics": [{"name": "mcc", "chance": 0.0}, {"name": "f1"}]}
    assert row(changed(made.study(), "random", training_parts=parts), "random")["also"] == (
        "optimizer sgd (momentum 0.5); metrics mcc, f1",
        "",
    )
    by_task = made.study()
    for task in by_task.tasks:  # a setting of the task is no difference between arms
        for arm in by_task.arms:
            by_task = changed(by_task, arm, task=task, encoder=f"of {task}")
    assert "also" not in row(by_task, "random")


def test_a_random_backbone_says_what_it_is_like() -> None:
    found = changed(made.study(), "random", backbone="random", backbone_options={"like": "vit"}, blocks=None)
    assert row(found, "random")["backbone"] == ("random, like vit", "width 256")


def test_an_arm_without_a_finished_run_is_a_row_without_facts() -> None:
    results = made.study(("t",), ("a", "b"))
    bare = CellResult(task="t", arm="b", complete=False)
    found = row(results.model_copy(update={"cells": (results.cells[0], bare)}), "b")
    assert {text for text, _ in found.values()} == {"b", "–"}
