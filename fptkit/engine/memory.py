"""Going on where memory runs out: what is known as running out, and what is put back before the work is done in parts.

A step that does not fit leaves no trace: its gradients are dropped, and the buffers it changed are put back. So the
same step in more parts is the one that so many parts from the start would have taken.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fptkit.engine.batches import parts_of
from fptkit.errors import TrainingError
from fptkit.interfaces import Batch

_TEXTS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What torch says, in a plain RuntimeError, where a processor's memory or a GPU library's own runs out.

Source: pytorch/pytorch, ``c10/core/impl/alloc_cpu.cpp`` (on Linux, and on Windows) and ``aten/src/ATen/cuda``.
"""


class MemoryRanOut(Exception):
    """A step did not fit into the memory of some process. Nothing of it is left.

    Args:
        examples: of the batch that the process with most of them had.
        reason: what the allocator said; empty where that was in another process.
    """

    def __init__(self, examples: int, reason: str) -> None:
        self.examples = examples
        self.reason = reason
        super().__init__(f"memory ran out: {reason or 'in another process'}")


def is_out_of_memory(err: BaseException) -> bool:
    """Whether an error says that memory ran out, and not that something else went wrong."""
    if isinstance(err, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(err, RuntimeError) and any(text in str(err) for text in _TEXTS)


def first_line(err: BaseException) -> str:
    """What an allocator said, without the stack it may print behind."""
    return str(err).partition("\n")[0] or type(err).__name__


def settle() -> None:
    """Have the C library give free memory back to the system, where it can (glibc). To be called after the first step.

    That step allocates around what is made along with it and stays, such as the optimiser's means; later steps find
    other gaps. Without this the gaps of both would stay with the process, some 2 % of GPT-2 base's memory.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def release(device: torch.device) -> None:
    """Give back what a failed pass held. To be called outside the ``except`` that caught it: the error's traceback
    holds the pass's tensors."""
    gc.collect()  # an error that a frame kept hold of is a cycle
    if device.type == "cuda":
        torch.cuda.empty_cache()


def finer(parts: int, batch_size: int) -> int:
    """More parts to cut a batch into: at least twice as many, and as ``train.accumulate`` may be, a divisor of
    ``batch_size``."""
    return next(count for count in range(min(2 * parts, batch_size), batch_size + 1) if batch_size % count == 0)


class KeptBuffers:
    """What a model keeps besides its parameters, such as a batch norm's running statistics, as it was before a step.

    Args:
        model: its buffers that a checkpoint would hold.
    """

    def __init__(self, model: nn.Module) -> None:
        self._places = [
            (module, name)
            for module in model.modules()
            for name, buffer in module.named_buffers(recurse=False)
            if buffer is not None and name not in module._non_persistent_buffers_set
        ]
        self._kept: list[tuple[nn.Module, str, Tensor, Tensor]] = []

    def note(self) -> None:
        """Remember them as they are now."""
        # torch's batch norm does not count its changes in Tensor._version, so that all are copied each time: they are
        # few and small.
        self._kept = [
            (module, name, buffer, buffer.clone())
            for module, name in self._places
            for buffer in [module._buffers[name]]
            if buffer is not None
        ]

    def put_back(self) -> None:
        """Make them what they were, also where a module has put another tensor in a buffer's place."""
        for module, name, buffer, content in self._kept:
            buffer.copy_(content)
            module._buffers[name] = buffer


class Pieces:
    """In how many pieces a batch passes the model where no gradient is needed; more once memory has run out.

    Padding stays, and each example's prediction is its own, so that only rounding may differ.

    Args:
        count: pieces to begin with.
        may_grow: whether there may be more of them; not where other processes pass as many at the same time.
    """

    def __init__(self, count: int = 1, *, may_grow: bool = True) -> None:
        self.count = count
        self._may_grow = may_grow

    def through(self, forward: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """What ``forward`` makes of a batch, put together from pieces.

        Raises:
            TrainingError: memory runs out with a single example.
        """
        while True:
            found, reason = self._attempt(forward, batch)
            if found is not None:
                return found
            release(batch.targets.device)
            if self.count >= len(batch):
                raise TrainingError(f"{cannot_go_on('evaluating a single example')} The allocator says: {reason}")
            self.count = min(2 * self.count, len(batch))

    def _attempt(self, forward: Callable[[Batch], Tensor], batch: Batch) -> tuple[Tensor | None, str]:
        try:
            pieces = [forward(piece) for piece in parts_of(batch, self.count)]
            return pieces[0] if len(pieces) == 1 else torch.cat(pieces), ""
        except (RuntimeError, MemoryError) as err:
            if not is_out_of_memory(err):
                raise
            if not self._may_grow:
                raise TrainingError(
                    "memory ran out while evaluating, and where frozen weights are sharded no batch is cut by itself; "
                    f"lower train.evaluation_batch_size. The allocator says: {first_line(err)}"
                ) from None
            return None, first_line(err)


def cannot_go_on(what: str) -> str:
    """Why a run ends, and what helps."""
    return (
        f"memory ran out with {what}: there is nothing left to cut. Lower what an example takes: its tokens (options "
        "of the task, larger patches or strides of the encoder) or the backbone (backbone.blocks, other weights)."
    )


def smaller(batch: Batch, work: Callable[[Batch], Any]) -> tuple[Batch, Any]:
    """Do something with a batch, or with as many of its first examples as memory suffices for.

    Returns:
        The examples, and what ``work`` made of them.

    Raises:
        TrainingError: memory runs out with a single example.
    """
    while True:
        reason = ""
        try:
            return batch, work(batch)
        except (RuntimeError, MemoryError) as err:
            if not is_out_of_memory(err):
                raise
            reason = first_line(err)
        release(batch.targets.device)
        if len(batch) == 1:
            raise TrainingError(f"{cannot_go_on('a single example')} The allocator says: {reason}")
        batch = parts_of(batch, 2)[0]
