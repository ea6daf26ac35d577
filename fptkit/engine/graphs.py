"""Training steps as CUDA graphs, one for each shape of batch.

A step of a small model launches hundreds of kernels, which takes the host longer than the GPU takes to compute them.
Recorded, the whole step (forward, backward, clipping, optimizer) is one launch. A shape's first step runs as usual and
is watched, its second is recorded, and from then on it is repeated. What cannot be recorded runs as usual, and a note
says why. A graph repeats operations, not Python: whatever differs from step to step must be a tensor that it reads.
"""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fptkit.engine.memory import first_line
from fptkit.interfaces import Batch

MOST = 64
"""Shapes that are recorded; steps of further shapes run as usual."""

Work: TypeAlias = Callable[[Batch], Sequence[Tensor]]
"""A step of a batch on the device, from which only the returned tensors are used."""


class Recording(Protocol):
    """Operations that were recorded."""

    def replay(self) -> None:
        """Launch them all, on the tensors that they were recorded with."""


class Recorder(Protocol):
    """Records the operations of a device; `CudaRecorder`, or a stand-in for tests."""

    def trial(self) -> contextlib.AbstractContextManager[list[str]]:
        """Watch operations that run as usual; afterwards the list has the reasons why they cannot be recorded."""
        ...

    def record(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Recording, Sequence[Tensor]]:
        """Record operations without computing anything; the tensors have their results after each replay."""
        ...


@dataclass(frozen=True)
class _Recorded:
    """A recorded step.

    Args:
        batch: on the device; the step reads it.
        recording: the operations.
        results: the tensors that they write.
    """

    batch: Batch
    recording: Recording
    results: Sequence[Tensor]

    def repeat(self, batch: Batch) -> list[Tensor]:
        for static, new in zip(_tensors(self.batch).values(), _tensors(batch).values(), strict=True):
            static.copy_(new, non_blocking=True)
        self.recording.replay()
        return [result.clone() for result in self.results]  # the next replay overwrites them


class StepGraphs:
    """Repeats the training steps that can be recorded.

    Args:
        recorder: of the device; None: nothing is recorded.
        device: of the model.
        note: takes a line for the user.
        undo: drops what a failed recording left behind.
    """

    def __init__(
        self, recorder: Recorder | None, device: torch.device, note: Callable[[str], None], undo: Callable[[], None]
    ) -> None:
        self._recorder, self._device, self._note, self._undo = recorder, device, note, undo
        self._watched: set[tuple[Any, ...]] = set()
        self._doubted: set[tuple[Any, ...]] = set()  # a first step may wait where later ones do not
        self._recorded: dict[tuple[Any, ...], _Recorded] = {}

    @property
    def count(self) -> int:
        """Shapes that are recorded."""
        return len(self._recorded)

    @property
    def active(self) -> bool:
        """Whether steps may be recorded."""
        return self._recorder is not None

    def repeat(self, batch: Batch, count: int, work: Work) -> list[Tensor] | None:
        """Take a step by its recording, which is made now if its shape was watched before.

        Args:
            batch: on the CPU.
            count: micro-batches, which ``work`` makes of it.
            work: the step.

        Returns:
            The results of ``work``; None: it is not recorded, and nothing was computed.
        """
        batch = batch.without_idle_lengths()
        key = _shape_of(batch, count)
        if key in self._watched and len(self._recorded) < MOST:
            self._watched.remove(key)
            self._record(key, batch, work)
        found = self._recorded.get(key)
        return None if found is None else found.repeat(batch)

    @contextlib.contextmanager
    def watching(self, batch: Batch | None, count: int) -> Iterator[None]:
        """Watch a step that runs as usual, to find out whether its shape can be recorded next time."""
        if self._recorder is None or batch is None or len(self._recorded) >= MOST:
            yield
            return
        with self._recorder.trial() as reasons:
            yield
        key = _shape_of(batch.without_idle_lengths(), count)
        if not reasons:
            self._watched.add(key)
        elif key in self._doubted:
            self.drop(reasons[0])
        else:
            self._doubted.add(key)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let steps run as usual meanwhile, so that hooks and profilers see each operation."""
        recorder, self._recorder = self._recorder, None
        try:
            yield
        finally:
            self._recorder = recorder

    def drop(self, why: str) -> None:
        """Record no more steps, and forget those that are."""
        self.forget()
        if self._recorder is not None:
            self._recorder = None
            self._note(f"training steps are not recorded as CUDA graphs: {why}")

    def forget(self) -> None:
        """Forget all recordings: tensors that they read or write were replaced."""
        self._watched.clear()
        self._recorded.clear()

    def _record(self, key: tuple[Any, ...], batch: Batch, work: Work) -> None:
        assert self._recorder is not None
        static = _copied(batch.to(self._device))
        try:
            recording, results = self._recorder.record(lambda: work(static))
        except Exception as err:  # libraries refuse in many ways; an error of the model comes up again as usual
            why = first_line(err.__context__ if isinstance(err.__context__, Exception) else err)
        else:
            self._recorded[key] = _Recorded(static, recording, results)
            return
        self._undo()
        self.drop(why)


class CudaRecorder:
    """Records on a GPU. All recordings share memory, since they run one after the other.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None

    @contextlib.contextmanager
    def trial(self) -> Iterator[list[str]]:
        """See `Recorder`: a recording must neither make the host wait nor draw random numbers on it."""
        reasons: list[str] = []
        mode = torch.cuda.get_sync_debug_mode()
        before = host_generators()
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield reasons
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        reasons += waits_among(seen)
        if host_generators() != before:
            reasons.append("the step draws random numbers on the CPU")

    def record(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Recording, Sequence[Tensor]]:
        """See `Recorder`. Dropout follows torch's default generator: at each replay its masks are those of the seed
        that the generator has then."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        try:
            # Other threads may use the GPU meanwhile, such as one that pins memory.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                results = work()
        except BaseException:
            self._recover(stream)
            raise
        self._pool = graph.pool()
        return graph, results

    def _recover(self, stream: torch.cuda.Stream) -> None:
        """Continue on the stream of before, which torch leaves if a recording failed. The default generator gets a new
        state with the same seed: one that was part of a failed recording refuses to draw outside of it."""
        torch.cuda.set_stream(stream)
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        generator = torch.cuda.default_generators[index]
        generator.graphsafe_set_state(generator.clone_state())


def waits_among(seen: Sequence[warnings.WarningMessage]) -> list[str]:
    """The reason among the warnings of a step, if the host waited for the GPU; other warnings are shown as usual."""
    waits = []
    for one in seen:
        text = str(one.message)
        if "called a synchronizing CUDA operation" in text:
            waits.append(f"{one.filename}:{one.lineno} waits for the GPU in every step")
        elif "Synchronization debug mode" not in text:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return waits[:1]


def host_generators() -> tuple[Any, ...]:
    """The state of the generators on the host that models draw from without naming them."""
    kind, keys, *rest = np.random.get_state()
    assert isinstance(keys, np.ndarray)
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), kind, keys.tobytes(), *rest


def _tensors(batch: Batch) -> dict[str, Tensor]:
    """All tensors of a batch, by a name that is the same for batches of one shape."""
    beside = {"targets of the batch": batch.targets, "lengths of the batch": batch.lengths}
    return batch.tensors() | {name: tensor for name, tensor in beside.items() if tensor is not None}


def _shape_of(batch: Batch, count: int) -> tuple[Any, ...]:
    """What a recording holds for: names, shapes and dtypes of a batch, and its micro-batches."""
    return (count, *((name, tuple(tensor.shape), tensor.dtype) for name, tensor in _tensors(batch).items()))


def _copied(batch: Batch) -> Batch:
    """The same batch in memory of its own."""
    single = isinstance(batch.inputs, Tensor)
    inputs = batch.inputs.clone() if single else {name: part.clone() for name, part in batch.inputs.items()}
    lengths = None if batch.lengths is None else batch.lengths.clone()
    return replace(batch, inputs=inputs, targets=batch.targets.clone(), lengths=lengths)
