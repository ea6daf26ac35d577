"""What surrounds a GPU's evaluation without waiting for it.

A thread makes the next batches, and answers are copied to the host while the next batch is computed.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Generator, Iterable
from queue import Full, Queue
from typing import TypeVar

import torch
from torch import Tensor

from fptkit.interfaces import Batch

Thing = TypeVar("Thing")

AHEAD = 2
"""Batches that wait at most: one while the GPU computes, and one more in case the next takes longer to make."""

_PATIENCE_S = 0.1
"""How long the thread waits for room before it looks whether anybody still wants batches."""


def for_device(batches: Iterable[Batch | None], device: torch.device) -> Generator[Batch | None, None, None]:
    """The same batches, on the CPU; for a GPU made ahead and in pinned memory.

    Close it to end the thread early.

    Args:
        batches: on the CPU; a GPU's are made in another thread, in order and one at a time.
        device: of the model.
    """
    if device.type != "cuda":
        yield from batches
        return
    with_pins = (None if batch is None else batch.pinned() for batch in batches)
    yield from made_ahead(with_pins)


def made_ahead(things: Iterable[Thing], most: int = AHEAD) -> Generator[Thing, None, None]:
    """The same things in the same order, made by a thread; an error of theirs is raised where its thing would come.

    Args:
        things: are not asked for more than ``most`` and one ahead.
        most: how many wait to be taken.
    """
    made: Queue[tuple[str, object]] = Queue(most)
    ended = threading.Event()

    def put(kind: str, thing: object = None) -> bool:
        while not ended.is_set():
            try:
                made.put((kind, thing), timeout=_PATIENCE_S)
                return True
            except Full:
                continue
        return False

    def work() -> None:
        try:
            if all(put("thing", thing) for thing in things):
                put("end")
        except BaseException as err:
            put("error", err)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="batches ahead", daemon=True)
    thread.start()
    try:
        while (found := made.get())[0] == "thing":
            yield found[1]  # type: ignore[misc]  # what the thread put there
        if found[0] == "error":
            assert isinstance(found[1], BaseException)
            raise found[1]
    finally:
        ended.set()
        thread.join()


def to_host(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to copy a tensor to the host; the result waits for this copy, not for later work, and returns it."""
    if tensor.device.type != "cuda":
        return tensor.detach().cpu
    copy = tensor.detach().to("cpu", non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def wait() -> Tensor:
        arrived.synchronize()
        return copy

    return wait
