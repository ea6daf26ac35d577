"""Runs that stop on purpose: before the test, at a pause, after so many seconds or operations; and how they go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from whole_runs import Recorder, assert_same, start

from fptkit.engine.events import RunEnded, SplitTested, StepsDone, Validated
from fptkit.errors import FreezingError, Interrupted, RecipeError, UsageError
from fptkit.freezing import FreezeProof
from fptkit.recipe.load import load_recipe
from fptkit.tasks.generated import GeneratedTask

STOPS_EARLY = ("train.learning_rate=1e-12", "train.patience=1")
"""At a rate of nearly nothing no validation improves on the first, at step 10, so that patience ends at step 20."""


@pytest.fixture
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> Any:
    """From the call on, building a model is an error."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was built")

    return lambda: monkeypatch.setattr("fptkit.engine.setup.build", refuse)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "end", "steps"),
    [
        ((), "steps", 30),
        (STOPS_EARLY, "patience", 20),
        (("train.max_seconds=1e-9",), "seconds", 1),
        (("train.max_flops=1",), "steps", 1),
    ],
)
def test_the_test_stays_shut_until_it_is_asked_for(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], end: str, steps: int
) -> None:
    opened: list[str] = []
    original = GeneratedTask.split
    monkeypatch.setattr(GeneratedTask, "split", lambda self, name: (opened.append(name), original(self, name))[1])
    recorder = Recorder()
    first = start(recipe, tmp_path / "run", *overrides, open_test=False, listener=recorder)
    assert "test" not in opened
    assert (first["status"], first["ended_by"], first["steps"], first["times_tested"]) == ("validated", end, steps, 0)
    assert first["metrics"]["test"] == {}
    assert recorder.events[-1] == RunEnded(first)
    tensors = (tmp_path / "run" / "model.safetensors").read_bytes()

    recorder = Recorder()
    second = start(recipe, tmp_path / "run", *overrides, resume=True, listener=recorder)
    assert opened.count("test") == 1
    assert recorder.steps(StepsDone) == recorder.steps(Validated) == []
    assert recorder.steps(SplitTested) == [first["best_step"]]
    assert (second["status"], second["ended_by"], second["steps"], second["times_tested"]) == (
        "finished",
        end,
        steps,
        1,
    )
    assert second["metrics"]["validation"] == first["metrics"]["validation"]
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == tensors

    at_once = start(recipe, tmp_path / "once", *overrides)
    assert at_once["metrics"] == second["metrics"]
    assert_same(tmp_path / "run", tmp_path / "once")


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [(), STOPS_EARLY, ("train.max_seconds=1e-9",), ("train.max_flops=1",)])
def test_what_is_done_is_not_built_again(
    recipe: Path, tmp_path: Path, nothing_is_built: Any, overrides: tuple[str, ...]
) -> None:
    validated = start(recipe, tmp_path / "validated", *overrides, open_test=False)
    finished = start(recipe, tmp_path / "finished", *overrides)
    nothing_is_built()
    assert start(recipe, tmp_path / "validated", *overrides, resume=True, open_test=False) == validated
    assert start(recipe, tmp_path / "validated", *overrides, resume=True, open_test=False, pause_at=5) == validated
    assert start(recipe, tmp_path / "finished", *overrides, resume=True) == finished
    assert start(recipe, tmp_path / "finished", *overrides, resume=True, open_test=False) == finished
    with pytest.raises(AssertionError, match="a model was built"):
        start(recipe, tmp_path / "validated", *overrides, resume=True)


@pytest.mark.slow
def test_a_validated_run_trains_on_with_more_steps(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "run", "train.max_steps=20", open_test=False)
    assert start(recipe, tmp_path / "run", resume=True, open_test=False)["steps"] == 30
    start(recipe, tmp_path / "run", resume=True)
    start(recipe, tmp_path / "whole")
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_a_frozen_tensor_that_changed_is_found_without_the_test(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(self: FreezeProof) -> None:
        raise FreezingError("a frozen tensor changed")

    monkeypatch.setattr(FreezeProof, "check_unchanged", changed)
    with pytest.raises(FreezingError):
        start(recipe, tmp_path / "run", "train.max_steps=2", open_test=False)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_process_killed_while_testing_has_opened_the_test(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The summary on the disk counts it before the first test example is read."""
    seen: list[int] = []
    original = GeneratedTask.split

    class Watched:
        def __init__(self, split: Any) -> None:
            self._split = split

        def __getattr__(self, name: str) -> Any:
            return getattr(self._split, name)

        def batch(self, *arguments: Any) -> Any:
            seen.append(json.loads((tmp_path / "run" / "summary.json").read_text())["times_tested"])
            return self._split.batch(*arguments)

    def split(self: GeneratedTask, name: str) -> Any:
        found = original(self, name)
        return Watched(found) if name == "test" else found

    monkeypatch.setattr(GeneratedTask, "split", split)
    start(recipe, tmp_path / "run", "train.max_steps=2")
    assert set(seen) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [(), ("train.schedule={name: cosine, warmup_steps: 7}",)])
@pytest.mark.parametrize(("pause_at", "paused"), [(1, 10), (10, 10), (11, 20)])
def test_a_paused_run_resumes_exactly(
    recipe: Path, tmp_path: Path, nothing_is_built: Any, overrides: tuple[str, ...], pause_at: int, paused: int
) -> None:
    start(recipe, tmp_path / "whole", *overrides)
    first = start(recipe, tmp_path / "parts", *overrides, pause_at=pause_at)
    assert (first["status"], first["steps"], first["times_tested"]) == ("paused", paused, 0)
    assert "ended_by" not in first
    assert first["metrics"]["validation"]["accuracy"] >= 0
    assert first["metrics"]["test"] == {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fptkit.engine.setup.build", None)  # calling it would be an error
        assert start(recipe, tmp_path / "parts", *overrides, pause_at=pause_at, resume=True) == first
    finished = start(recipe, tmp_path / "parts", *overrides, resume=True)
    assert (finished["status"], finished["steps"]) == ("finished", 30)
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_a_pause_after_the_end_is_ignored(recipe: Path, tmp_path: Path) -> None:
    summary = start(recipe, tmp_path / "steps", pause_at=31, open_test=False)
    assert (summary["status"], summary["ended_by"]) == ("validated", "steps")
    summary = start(recipe, tmp_path / "patience", *STOPS_EARLY, pause_at=20, open_test=False)
    assert (summary["status"], summary["ended_by"], summary["steps"]) == ("validated", "patience", 20)


@pytest.mark.slow
def test_several_pauses(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "whole")
    for pause, steps in ((5, 10), (15, 20)):
        assert start(recipe, tmp_path / "parts", resume=True, pause_at=pause)["steps"] == steps
    start(recipe, tmp_path / "parts", resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_there_is_no_pause_before_the_first_step(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pause_at is 0; the first step is 1"):
        start(recipe, tmp_path / "run", pause_at=0)
    assert not (tmp_path / "run").exists()


class Clock:
    """Each look at it takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1
        return self.now


def test_seconds_end_a_run_between_two_validations(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fptkit.engine.loop.time", Clock())
    recorder = Recorder()
    overrides = ("train.max_seconds=7", "train.log_every=100", "train.validate_every=100", "train.max_steps=100")
    summary = start(recipe, tmp_path / "run", *overrides, listener=recorder)
    # A look before the first step and one after each: the seventh ends it.
    assert (summary["ended_by"], summary["steps"], summary["best_step"]) == ("seconds", 7, 7)
    assert recorder.steps(Validated) == recorder.steps(StepsDone) == [7]
    assert summary["status"] == "finished"


def test_seconds_are_summed_over_the_parts_of_a_run(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fptkit.engine.loop.time", Clock())
    with pytest.raises(Interrupted):
        start(recipe, tmp_path / "run", "train.max_seconds=8", listener=Recorder(4))
    before = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (before["steps"], before["seconds"]) == (4, 5.0)  # one look at each end, and one after each of 4 steps
    summary = start(recipe, tmp_path / "run", "train.max_seconds=8", resume=True)
    assert (summary["ended_by"], summary["steps"]) == ("seconds", 7)


def test_seconds_that_are_enough_change_nothing(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "limited", "train.max_seconds=1e6")
    start(recipe, tmp_path / "free")
    assert_same(tmp_path / "limited", tmp_path / "free")


def test_a_limit_of_seconds_does_not_go_with_cosine(recipe: Path) -> None:
    with pytest.raises(RecipeError, match=r"train\.schedule: the cosine schedule needs a known last step"):
        load_recipe(str(recipe), overrides=["train.max_seconds=10", "train.schedule={name: cosine}"])


@pytest.mark.parametrize(
    "override", ["train.max_seconds=0", "train.max_flops=0", "train.max_flops=.inf", "train.max_seconds=.nan"]
)
def test_limits_are_numbers_above_zero(recipe: Path, override: str) -> None:
    with pytest.raises(RecipeError, match=override.split("=")[0]):
        load_recipe(str(recipe), overrides=[override])


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_operations_are_a_number_of_steps(recipe: Path, tmp_path: Path, nothing_is_built: Any, schedule: str) -> None:
    overrides = (f"train.schedule.name={schedule}", "train.validate_every=5")
    whole = start(recipe, tmp_path / "whole", "train.max_steps=17", *overrides)
    limit = f"train.max_flops={17.9 * whole['flops_per_step']}"
    limited = start(recipe, tmp_path / "limited", limit, *overrides)
    assert (limited["steps"], limited["max_steps"], limited["ended_by"]) == (17, 30, "steps")
    assert_same(tmp_path / "limited", tmp_path / "whole")

    enough = f"train.max_flops={31 * whole['flops_per_step']}"
    assert start(recipe, tmp_path / "enough", enough, *overrides)["steps"] == 30
    nothing_is_built()
    assert start(recipe, tmp_path / "limited", limit, *overrides, resume=True) == limited


@pytest.mark.slow
def test_a_run_limited_by_operations_resumes_exactly(recipe: Path, tmp_path: Path) -> None:
    cost = start(recipe, tmp_path / "one", "train.max_steps=1")["flops_per_step"]
    overrides = ("train.schedule.name=cosine", f"train.max_flops={15 * cost}")
    assert start(recipe, tmp_path / "whole", *overrides)["steps"] == 15
    with pytest.raises(Interrupted):
        start(recipe, tmp_path / "parts", *overrides, listener=Recorder(8))
    start(recipe, tmp_path / "parts", *overrides, resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_operations_that_end_before_the_warm_up_are_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"warmup_steps is 5, but train\.max_flops ends training at step 1"):
        start(recipe, tmp_path / "run", "train.max_flops=1", "train.schedule.warmup_steps=5")


def test_a_summary_says_how_a_run_is_chosen_and_what_it_costs(recipe: Path, tmp_path: Path) -> None:
    summary = start(recipe, tmp_path / "run", "train.max_steps=1", open_test=False)
    assert summary["selection"] == {"metric": "accuracy", "higher_is_better": True}
    assert (summary["backbone"]["blocks"], summary["backbone"]["width"]) == (2, 32)
    assert isinstance(summary["flops_per_step"], int)
    assert "train" not in summary["metrics"]
    halves = start(recipe, tmp_path / "halves", "train.max_steps=1", "train.accumulate=4", open_test=False)
    assert halves["flops_per_step"] == summary["flops_per_step"]
    assert (summary["data_fraction"], summary["max_seconds"], summary["max_flops"]) == (1.0, None, None)


def test_a_backbone_that_does_not_tell_its_blocks(recipe: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "short.py"
    plugin.write_text(
        "import fptkit\n"
        "class Short(fptkit.Backbone):\n"
        "    def __init__(self, options, *, positions, seed, pinned=None):\n"
        "        super().__init__(); self.width = 8\n"
        "    def forward(self, tokens, lengths=None, keep=None): return fptkit.keep_tokens(tokens, keep)\n"
        "    def parameter_roles(self): return {}\n"
        "@fptkit.hookimpl\n"
        "def fptkit_backbones():\n"
        "    return [fptkit.BackboneSpec(name='short', summary='nothing', target=Short)]\n"
    )
    path = tmp_path / "short.yaml"
    path.write_text(
        "plugins: [short.py]\ntask: {name: bit_xor, bits: 3}\nbackbone: {name: short}\n"
        "freezing: {name: full}\ntrain: {max_steps: 1}\n"
    )
    summary = start(path, tmp_path / "run", open_test=False)
    assert (summary["backbone"]["blocks"], summary["backbone"]["width"]) == (None, 8)
