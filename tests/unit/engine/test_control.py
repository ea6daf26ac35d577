"""Listeners act through a documented object, within what their record allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fptkit.engine.control import RunActions, RunControl
from fptkit.engine.events import StepsDone
from fptkit.engine.records import MetricsFile
from fptkit.errors import PluginError


def test_the_first_reason_counts_and_is_one_line() -> None:
    run = RunControl("mine")
    run.request_stop("enough\nof it")
    run.request_stop("again")
    assert run.stop_reason == "listener 'mine': enough of it"


def test_metrics_have_the_step_of_the_event_and_their_own_place() -> None:
    actions = RunActions()
    one, other = RunControl("one", actions=actions), RunControl("other", actions=actions)
    actions.at(StepsDone(step=5, loss=1.0, examples_per_second=1.0))
    one.add_metrics({"loss": 2, "tensor": torch.tensor(0.5)})  # type: ignore[dict-item]
    other.add_metrics({"loss": 3.0})
    one.add_metrics({})
    assert actions.lines == [("one", 5, {"loss": 2.0, "tensor": 0.5}), ("other", 5, {"loss": 3.0})]
    assert actions.facts() == {
        "one": {"metrics": {"loss": 2.0, "tensor": 0.5}},
        "other": {"metrics": {"loss": 3.0}},
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", True, None, [1, 2]])
def test_only_finite_numbers_are_metrics(value: Any) -> None:
    with pytest.raises(PluginError, match=r"metric 'x' is .*, not a finite number"):
        RunControl("mine").add_metrics({"x": value})


@pytest.mark.parametrize("name", ["step", "split", "", 3])
def test_names_of_lines_are_taken(name: Any) -> None:
    with pytest.raises(PluginError, match="cannot be the name of a metric"):
        RunControl("mine").add_metrics({name: 1.0})


def test_what_the_record_does_not_allow() -> None:
    with pytest.raises(PluginError, match=r"request_stop needs may=\(\"stop\",\)"):
        RunControl("mine", ("metrics",)).request_stop("enough")
    with pytest.raises(PluginError, match=r"add_metrics needs may=\(\"metrics\",\)"):
        RunControl("mine", ("stop",)).add_metrics({"x": 1})
    with pytest.raises(PluginError, match="expected the reason as text"):
        RunControl("mine").request_stop(" ")


def test_added_lines_are_counted_and_restored(tmp_path: Path) -> None:
    """A resumed run keeps as many lines as its checkpoint counted, with those of listeners."""
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.handle(StepsDone(step=1, loss=0.5, examples_per_second=1.0))
    file.add("mine", 1, {"x": 2.0})
    facts = file.facts()
    file.add("mine", 2, {"x": 3.0})
    file.close()
    again = MetricsFile(tmp_path / "metrics.jsonl", keep_lines=facts["lines"], digest=facts["digest"])
    again.close()
    actions = RunActions()
    actions.restore(again.kept)
    assert actions.metrics == {"mine": {"x": 2.0}}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["split"] for line in lines] == ["train", "listener.mine"]
