"""Recorded training steps: what is recorded and when, that results stay the same, and what runs as usual instead."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from whole_runs import Recorder, assert_same, start

from fptkit.engine import step as step_module
from fptkit.engine.checkpoint import restore_trained, trained_tensors

RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, blocks: 2, width: 32, heads: 2, size: nano, dropout: 0.1}
train: {batch_size: 8, max_steps: 12, validate_every: 6, log_every: 1, patience: null, learning_rate: 0.0078125}
precision: float32
threads: 1
"""


class Replay:
    """A recorded step: takes the step again on the same tensors, as a graph does."""

    def __init__(self, work: Callable[[], Sequence[Tensor]], results: Sequence[Tensor]) -> None:
        self._work, self._results, self.count = work, results, 0

    def replay(self) -> None:
        self.count += 1
        for result, new in zip(self._results, self._work(), strict=True):
            result.detach().copy_(new.detach())


class Stand:
    """Records on a CPU: runs the step, and undoes what it changed. As on a GPU, recording itself computes nothing.

    Args:
        step: takes the steps.
        unfit: reasons that each trial gives.
        fails: recording raises this.
    """

    def __init__(self, step: Any, unfit: Sequence[str] = (), fails: Exception | None = None) -> None:
        self.step, self._unfit, self._fails = step, unfit, fails
        self.trials, self.replays = 0, list[Replay]()

    @contextlib.contextmanager
    def trial(self) -> Iterator[list[str]]:
        self.trials += 1
        reasons: list[str] = []
        yield reasons
        reasons += self._unfit

    def record(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Replay, Sequence[Tensor]]:
        model, optimizer = self.step._model, self.step.optimizer
        before = {name: tensor.detach().clone() for name, tensor in trained_tensors(model).items()}
        states = [(value, value.clone()) for state in optimizer.state.values() for value in state.values()]
        generator = torch.get_rng_state()
        results = work()
        torch.set_rng_state(generator)
        restore_trained(model, before, origin=Path("before"))
        for value, old in states:
            value.copy_(old)
        if self._fails is not None:
            raise self._fails
        self.replays.append(Replay(work, results))
        return self.replays[-1], results


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Stand]]:
    """Makes the steps of the following runs recorded by a stand-in; the list gets one for each run."""

    def record(**how: Any) -> list[Stand]:
        made: list[Stand] = []

        def recorder(step: Any) -> Stand:
            made.append(Stand(step, **how))
            return made[-1]

        monkeypatch.setattr(step_module.TrainingStep, "_recorder", recorder)
        return made

    return record


def test_a_recorded_run_is_the_run(recipe: Path, tmp_path: Path, recording: Callable[..., list[Stand]]) -> None:
    """With dropout, clipping and a changing learning rate: what a step draws or reads is that of its number."""
    # Learning rates are exact in float32, which a recorded step reads them in.
    schedule = ("train.schedule={name: constant, warmup_steps: 7}", "train.accumulate=2")
    start(recipe, tmp_path / "plain", *schedule)
    made = recording()
    recorder = Recorder()
    summary = start(recipe, tmp_path / "recorded", *schedule, listener=recorder)
    assert summary["recorded_shapes"] == 1
    assert_same(tmp_path / "recorded", tmp_path / "plain")
    assert [replay.count for stand in made for replay in stand.replays] == [11], "all steps but the first"
    assert made[0].trials == 1
    assert recorder.notes == []


def test_a_resumed_run_records_anew(recipe: Path, tmp_path: Path, recording: Callable[..., list[Stand]]) -> None:
    made = recording()
    start(recipe, tmp_path / "once")
    start(recipe, tmp_path / "twice", pause_at=6)
    start(recipe, tmp_path / "twice", resume=True)
    assert_same(tmp_path / "once", tmp_path / "twice")
    assert [[replay.count for replay in stand.replays] for stand in made] == [[11], [5], [5]]


REASONS = [
    ({"unfit": ("model.py:7 waits",)}, (), "model.py:7 waits", 2),  # the first step may be an exception
    ({"fails": RuntimeError("operation not permitted\nstack")}, (), "operation not permitted", 1),
    ({}, ("optimizer={name: sgd}",), "the optimizer SGD has no setting", 0),
]
"""What the stand-in is given, overrides, what the line says, and how many steps were watched."""


@pytest.mark.parametrize(("how", "overrides", "why", "trials"), REASONS)
def test_what_cannot_be_recorded_runs_as_usual_with_one_line(
    recipe: Path,
    tmp_path: Path,
    recording: Callable[..., list[Stand]],
    how: dict[str, Any],
    overrides: tuple[str, ...],
    why: str,
    trials: int,
) -> None:
    settings = ("train.max_steps=4", "train.validate_every=4", *overrides)
    start(recipe, tmp_path / "plain", *settings)
    made = recording(**how)
    recorder = Recorder()
    start(recipe, tmp_path / "run", *settings, listener=recorder)
    assert_same(tmp_path / "run", tmp_path / "plain")
    (note,) = recorder.notes
    assert note.text.startswith(f"training steps are not recorded as CUDA graphs: {why}")
    assert (made[0].trials, made[0].replays) == (trials, [])


@pytest.mark.parametrize(
    ("count", "again", "why"),
    [
        (2, False, "several processes share each batch"),
        (1, True, "with train.activation_checkpointing, the backward pass sets"),
    ],
)
def test_what_is_known_not_to_be_recordable_is_not_tried(count: int, again: bool, why: str) -> None:
    step: Any = SimpleNamespace(
        graphs=SimpleNamespace(active=True),
        _team=SimpleNamespace(processes=SimpleNamespace(count=count)),
        _options=SimpleNamespace(activation_checkpointing=again),
    )
    assert step_module.TrainingStep._prepare_recording(step).startswith(why)
    step.graphs.active = False
    assert step_module.TrainingStep._prepare_recording(step) == ""


def test_a_loss_that_is_not_finite_is_found_without_recordings(
    recipe: Path, tmp_path: Path, recording: Callable[..., list[Stand]]
) -> None:
    from fptkit.errors import DivergedError

    made = recording()
    with pytest.raises(DivergedError, match="the first tensor that is not finite is"):
        start(recipe, tmp_path / "run", "train.learning_rate=1e38", "train.log_every=4")
    assert made[0].replays
