"""The batch of the next step, made while a GPU still computes this one.

A GPU is told what to do and does it by itself, so that the processor is free until it is told the next step. A batch is
a function of its step alone, so that making it earlier changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from fptkit.engine.batches import TrainingBatches, share_of
from fptkit.interfaces import Batch


class BatchesAhead:
    """Training batches by step, of several processes each its own part.

    Args:
        batches: the whole ones.
        rank: which process this is.
        count: processes.
        pin: puts a batch where a GPU fetches it by itself, see `fptkit.Batch.pinned`; None: on processors, which have
            no time to spare, nothing is made ahead.
    """

    def __init__(
        self, batches: TrainingBatches, *, rank: int = 0, count: int = 1, pin: Callable[[Batch], Batch] | None = None
    ) -> None:
        self._batches, self._rank, self._count, self._pin = batches, rank, count, pin
        self._ready: tuple[int, Batch | None, int] | None = None

    def take(self, step: int) -> tuple[Batch | None, int]:
        """This process's part of a step's batch, None where it has none, and the examples of the whole.

        Raises:
            ShapeError: the batch is not as the task declares.
        """
        ready, self._ready = self._ready, None
        if ready is not None and ready[0] == step:
            return ready[1:]
        return self._make(step)

    def prepare(self, step: int) -> None:
        """Make a step's batch now, if it is worth it: after the step before has been told to the GPU."""
        if self._pin is not None:
            self._ready = (step, *self._make(step))

    def _make(self, step: int) -> tuple[Batch | None, int]:
        batch = self._batches.batch(step)
        own = share_of(batch, self._rank, self._count)
        return (own if own is None or self._pin is None else self._pin(own)), len(batch)
