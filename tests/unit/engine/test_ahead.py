"""Things made ahead by a thread: the same in the same order, errors in their place, and no thread left."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator

import pytest
import torch

from fptkit.engine.ahead import for_device, made_ahead, to_host
from fptkit.interfaces import Batch

BATCH = Batch(torch.zeros(2, 3, 1), torch.tensor([0, 1]))


def threads() -> int:
    return sum(thread.name == "batches ahead" for thread in threading.enumerate())


def test_things_come_in_order_from_one_thread() -> None:
    makers = set()

    def make() -> Iterator[int]:
        for number in range(50):
            makers.add(threading.current_thread())
            yield number

    assert list(made_ahead(make())) == list(range(50))
    assert len(makers) == 1
    assert threading.current_thread() not in makers
    assert threads() == 0
    assert list(made_ahead([])) == []


def test_no_more_is_made_than_may_wait() -> None:
    made: list[int] = []
    third = threading.Event()

    def make() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    coming = made_ahead(make(), most=2)
    assert next(coming) == 0
    third.wait(10)
    coming.close()
    assert len(made) <= 4, "one taken, two that wait, one in the hand"
    assert threads() == 0


def test_an_error_comes_where_its_thing_would() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise KeyError("broken")

    coming = made_ahead(make())
    assert next(coming) == 1
    with pytest.raises(KeyError, match="broken") as caught:
        next(coming)
    assert any(entry.name == "make" for entry in caught.traceback), "the place in the user's code is kept"
    assert threads() == 0


def test_the_thread_sees_the_context_of_its_caller() -> None:
    place = contextvars.ContextVar("place", default="nowhere")
    place.set("here")
    assert list(made_ahead(place.get() for _ in range(1))) == ["here"]


def test_a_cpu_gets_the_batches_themselves() -> None:
    given = [BATCH, None]
    assert [one is other for one, other in zip(for_device(given, torch.device("cpu")), given, strict=True)] == [
        True
    ] * 2
    assert threads() == 0
    assert to_host(torch.ones(2, requires_grad=True))().tolist() == [1, 1]


def test_a_gpu_gets_them_pinned_and_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batch, "pinned", lambda batch: ("pinned", len(batch)))
    assert list(for_device([BATCH, None], torch.device("cuda"))) == [("pinned", 2), None]
