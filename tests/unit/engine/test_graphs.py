"""Which steps are recorded and repeated, apart from any run; what makes a step unfit for it."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fptkit.engine import graphs as module
from fptkit.engine.graphs import StepGraphs, host_generators, waits_among
from fptkit.engine.optimizer import make_recordable
from fptkit.interfaces import Batch

CPU = torch.device("cpu")


class Fake:
    """Notes in which order things happen; a replay computes the step again, as a graph does."""

    def __init__(self, *reasons: str) -> None:
        self.log: list[str] = []
        self._reasons = list(reasons)  # of the first trials; an empty one is none

    @contextlib.contextmanager
    def trial(self) -> Iterator[list[str]]:
        self.log.append("trial")
        found: list[str] = []
        yield found
        found += filter(None, self._reasons[:1])
        del self._reasons[:1]

    def record(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Any, Sequence[Tensor]]:
        self.log.append("record")
        results = [torch.zeros_like(result) for result in work()]  # recording computes nothing
        log = self.log

        class Graph:
            def replay(self) -> None:
                log.append("replay")
                for result, new in zip(results, work(), strict=True):
                    result.copy_(new)

        return Graph(), results


def batch_of(tokens: int, *numbers: float, lengths: list[int] | None = None) -> Batch:
    inputs = torch.tensor(numbers)[:, None, None].expand(-1, tokens, 1).clone()
    return Batch(inputs, torch.arange(len(numbers)), None if lengths is None else torch.tensor(lengths))


def total(batch: Batch) -> Sequence[Tensor]:
    return [batch.inputs.sum(), batch.targets.sum()]


def take(graphs: StepGraphs, batch: Batch, count: int = 1) -> list[float]:
    found = graphs.repeat(batch, count, total)
    if found is None:
        with graphs.watching(batch, count):
            found = list(total(batch))
    return [float(number) for number in found]


def made(recorder: Any) -> tuple[StepGraphs, list[str]]:
    notes: list[str] = []
    return StepGraphs(recorder, CPU, notes.append, lambda: notes.append("undone")), notes


def test_a_shape_is_watched_then_recorded_then_repeated() -> None:
    fake = Fake()
    graphs, notes = made(fake)
    given = [batch_of(3, 1.0, 2.0), batch_of(3, 5.0, 7.0), batch_of(3, 0.5, 0.25)]
    kept = [batch.inputs.clone() for batch in given]
    assert [take(graphs, batch) for batch in given] == [[9, 1], [36, 1], [2.25, 1]]
    assert fake.log == ["trial", "record", "replay", "replay"]
    assert all(torch.equal(batch.inputs, own) for batch, own in zip(given, kept, strict=True)), "not written to"
    assert (graphs.count, notes) == (1, [])


def test_a_first_step_may_wait_where_later_ones_do_not() -> None:
    fake = Fake("x.py:1 waits")
    graphs, notes = made(fake)
    for _ in range(3):
        take(graphs, batch_of(1, 1.0))
    assert fake.log == ["trial", "trial", "record", "replay"]
    assert notes == []


def test_a_shape_that_waits_twice_ends_all_recordings() -> None:
    fake = Fake("", "x.py:1 waits", "x.py:1 waits")
    graphs, notes = made(fake)
    for tokens in (1, 1, 2, 2, 1):
        assert take(graphs, batch_of(tokens, 1.0)) == [tokens, 0]
    assert fake.log == ["trial", "record", "replay", "trial", "trial"]
    assert notes == ["training steps are not recorded as CUDA graphs: x.py:1 waits"]
    assert (graphs.count, graphs.active) == (0, False)


def test_results_of_a_step_stay_when_the_next_is_repeated() -> None:
    graphs, _ = made(Fake())
    take(graphs, batch_of(1, 1.0))
    first, second = (graphs.repeat(batch_of(1, number), 1, total) for number in (2.0, 3.0))
    assert first is not None
    assert second is not None
    assert (float(first[0]), float(second[0])) == (2, 3)


OTHER_SHAPES = [
    (batch_of(4, 1.0, 2.0), 1),
    (batch_of(3, 1.0), 1),
    (batch_of(3, 1.0, 2.0, lengths=[3, 2]), 1),
    (batch_of(3, 1.0, 2.0), 2),
    (Batch(batch_of(3, 1.0, 2.0).inputs.double(), torch.arange(2)), 1),
    (Batch({"a": torch.ones(2, 3, 1)}, torch.arange(2)), 1),
]


@pytest.mark.parametrize(("other", "count"), OTHER_SHAPES)
def test_another_shape_is_another_recording(other: Batch, count: int) -> None:
    fake = Fake()
    graphs, _ = made(fake)
    graphs.repeat(batch_of(3, 1.0, 2.0), 1, total)
    take(graphs, batch_of(3, 1.0, 2.0))
    before = len(fake.log)
    with graphs.watching(other, count):
        pass
    assert graphs.count == 0
    assert graphs.repeat(other, count, lambda batch: [batch.targets.sum()]) is not None
    assert fake.log[before:] == ["trial", "record", "replay"]
    take(graphs, batch_of(3, 1.0, 2.0))
    assert graphs.count == 2


def test_lengths_without_padding_are_no_other_shape() -> None:
    fake = Fake()
    graphs, _ = made(fake)
    for batch in (batch_of(3, 1.0, 2.0), batch_of(3, 1.0, 2.0, lengths=[3, 3]), batch_of(3, 4.0, 4.0)):
        take(graphs, batch)
    assert fake.log == ["trial", "record", "replay", "replay"]


def test_only_so_many_shapes_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    fake = Fake()
    graphs, notes = made(fake)
    for _ in range(3):
        for tokens in range(1, 5):
            take(graphs, batch_of(tokens, 1.0))
    assert (graphs.count, fake.log.count("record"), notes) == (2, 2, [])


def test_what_is_forgotten_is_watched_again() -> None:
    fake = Fake()
    graphs, _ = made(fake)
    take(graphs, batch_of(1, 1.0)), take(graphs, batch_of(1, 1.0))
    graphs.forget()
    take(graphs, batch_of(1, 1.0)), take(graphs, batch_of(1, 1.0))
    assert fake.log == ["trial", "record", "replay"] * 2


def test_pausing_lets_steps_run_as_usual() -> None:
    fake = Fake()
    graphs, _ = made(fake)
    take(graphs, batch_of(1, 1.0))
    with graphs.paused():
        assert not graphs.active
    assert graphs.active
    assert take(graphs, batch_of(1, 1.0)) == [1, 0]
    assert fake.log == ["trial", "record", "replay"]


def test_waits_are_named_and_other_warnings_are_shown() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warnings.warn_explicit("called a synchronizing CUDA operation", UserWarning, "model.py", 7)
        warnings.warn_explicit("called a synchronizing CUDA operation", UserWarning, "model.py", 9)
        warnings.warn_explicit("Synchronization debug mode is a prototype feature", UserWarning, "torch.py", 1)
        warnings.warn_explicit("lower your rate", RuntimeWarning, "theirs.py", 3)
    with pytest.warns(RuntimeWarning, match="lower your rate"):
        assert waits_among(seen) == ["model.py:7 waits for the GPU in every step"]


@pytest.mark.parametrize("draw", [lambda: torch.rand(()), random.random, np.random.random])
def test_draws_on_the_host_are_noticed(draw: Callable[[], Any]) -> None:
    before = host_generators()
    torch.rand(2, generator=torch.Generator())  # one of its own
    assert host_generators() == before
    draw()
    assert host_generators() != before


class Optimizer:
    """As far as it is looked at; torch's own import a compiler."""

    def __init__(self, **settings: Any) -> None:
        self.param_groups = [{"lr": 0.5, **settings}]


def test_an_optimizer_is_made_recordable_or_left_alone() -> None:
    fit: Any = Optimizer(capturable=False)
    assert make_recordable(fit, CPU) == ""
    (group,) = fit.param_groups
    assert group["capturable"]
    assert (group["lr"].dtype, float(group["lr"])) == (torch.float32, 0.5)
    unfit: Any = Optimizer()
    assert make_recordable(unfit, CPU).startswith("the optimizer Optimizer has no setting for it")
    assert unfit.param_groups == [{"lr": 0.5}]
