"""Out of memory: how it is recognised, and how work is undone before it is repeated in smaller micro-batches.

A step that does not fit leaves no trace: its gradients are dropped, and the buffers it changed are restored. So the
repeated step is the one that as many micro-batches from the start would have taken.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fptkit.engine.batches import micro_batches
from fptkit.errors import TrainingError
from fptkit.interfaces import Batch
from fptkit.specs.guard import author_line

_TEXTS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What torch says, in a plain RuntimeError, if CPU memory or the memory of a GPU library runs out.

Source: pytorch/pytorch, ``c10/core/impl/alloc_cpu.cpp`` (on Linux, and on Windows) and ``aten/src/ATen/cuda``.
"""


class MemoryRanOut(Exception):
    """A step did not fit into the memory of some process. It left no trace.

    Args:
        examples: largest number of examples that one process had of the batch.
        reason: what the allocator said; empty if it was in another process.
    """

    def __init__(self, examples: int, reason: str) -> None:
        self.examples = examples
        self.reason = reason
        super().__init__(f"out of memory: {reason or 'in another process'}")


def is_out_of_memory(err: BaseException) -> bool:
    """Whether an error means out of memory."""
    if isinstance(err, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(err, RuntimeError) and any(text in str(err) for text in _TEXTS)


def first_line(err: BaseException) -> str:
    """What an allocator said, without the stack trace that may follow; and the line of the plugin that asked it."""
    place = author_line(err)
    return (str(err).partition("\n")[0] or type(err).__name__) + (f" (at {place})" if place else "")


def settle() -> None:
    """Make the C library return free memory to the system, if it can (glibc). Call it after the first step.

    The first step also allocates what stays, such as the optimizer's running means, and leaves gaps between them that
    later steps do not use. Without this call the gaps stay with the process: some 2 % of the memory of GPT-2 base.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def release(device: torch.device) -> None:
    """Free the memory of a failed pass. Call it outside the ``except`` that caught the error: its traceback holds the
    tensors of the pass."""
    gc.collect()  # an error that a frame refers to is a reference cycle
    if device.type == "cuda":
        torch.cuda.empty_cache()


def finer(parts: int, batch_size: int) -> int:
    """More micro-batches: at least twice as many, and a divisor of ``batch_size``, as for ``train.accumulate``."""
    return next(count for count in range(min(2 * parts, batch_size), batch_size + 1) if batch_size % count == 0)


class KeptBuffers:
    """A copy of a model's buffers from before a step, such as the running statistics of a batch norm.

    Args:
        model: the model. Buffers that checkpoints leave out are not copied.
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
        """Copy their present values."""
        # torch's batch norm does not count its changes in Tensor._version, so all are copied each time: they are few
        # and small.
        self._kept = [
            (module, name, buffer, buffer.clone())
            for module, name in self._places
            for buffer in [module._buffers[name]]
            if buffer is not None
        ]

    def put_back(self) -> None:
        """Restore them, even if a module has replaced a buffer by another tensor."""
        for module, name, buffer, content in self._kept:
            buffer.copy_(content)
            module._buffers[name] = buffer


class Pieces:
    """How many micro-batches a batch passes the model in when no gradient is needed; more after memory ran out.

    Padding stays, and an example's prediction does not depend on the others, so only rounding may differ.

    Args:
        count: micro-batches to begin with.
        may_grow: whether the number may grow; not if other processes must make as many passes at the same time.
    """

    def __init__(self, count: int = 1, *, may_grow: bool = True) -> None:
        self.count = count
        self._may_grow = may_grow

    def through(self, forward: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """Apply ``forward`` to a batch in micro-batches, and join the results.

        Raises:
            TrainingError: out of memory with a single example.
        """
        while True:
            found, reason = self._attempt(forward, batch)
            if found is not None:
                return found
            release(batch.targets.device)
            if self.count >= len(batch):
                raise TrainingError(f"{cannot_go_on('a single example in an evaluation')} The allocator says: {reason}")
            self.count = min(2 * self.count, len(batch))

    def _attempt(self, forward: Callable[[Batch], Tensor], batch: Batch) -> tuple[Tensor | None, str]:
        try:
            pieces = [forward(piece) for piece in micro_batches(batch, self.count)]
            return pieces[0] if len(pieces) == 1 else torch.cat(pieces), ""
        except (RuntimeError, MemoryError) as err:
            if not is_out_of_memory(err):
                raise
            if not self._may_grow:
                raise TrainingError(
                    "out of memory in an evaluation, and with sharded frozen weights the number of micro-batches does "
                    f"not grow by itself; lower train.evaluation_batch_size. The allocator says: {first_line(err)}"
                ) from None
            return None, first_line(err)


def cannot_go_on(what: str) -> str:
    """Why a run ends, and what to do."""
    return (
        f"out of memory with {what}; reduce the example size: its tokens (options of the task, larger patches or "
        "strides of the encoder) or the backbone (backbone.blocks, other weights)."
    )


def smaller(batch: Batch, work: Callable[[Batch], Any]) -> tuple[Batch, Any]:
    """Do something with a batch, or with as many of its first examples as memory allows.

    Returns:
        The examples, and the result of ``work``.

    Raises:
        TrainingError: out of memory with a single example.
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
        batch = micro_batches(batch, 2)[0]
