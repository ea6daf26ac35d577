"""One training step: a batch in micro-batches, their gradients, clipping, the optimizer.

Several processes share the batch, and sum their gradients before clipping. A step that runs out of memory changes
nothing, so that it can be taken again in more micro-batches. A model that does not compile runs uncompiled. On a GPU,
steps are repeated as recorded operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fptkit.engine.batches import BatchesAhead, TrainingBatches, micro_batches, most_micro_batches
from fptkit.engine.checkpoint import Checkpoint
from fptkit.engine.diverged import Fault, Observer
from fptkit.engine.graphs import CudaRecorder, Recorder, StepGraphs
from fptkit.engine.memory import KeptBuffers, MemoryRanOut, finer, first_line, is_out_of_memory, release, settle
from fptkit.engine.optimizer import make_recordable
from fptkit.engine.optimizer_state import unpack_optimizer
from fptkit.engine.setup import Prepared
from fptkit.engine.team.processes import add_up_step, batch_norms
from fptkit.errors import PeerError, TrainingError
from fptkit.interfaces import Batch
from fptkit.model import CrossModalModel, batch_for
from fptkit.numerics.eight_bit import leave_uncompiled
from fptkit.seeds import derive_seed
from fptkit.specs.frames import add_context


class Taken(NamedTuple):
    """The result of a training step.

    Args:
        loss: mean over the examples of the batch, on the device.
        norm: of the gradient before clipping, on the device; 0 without clipping.
        examples: of the batch, over all processes.
        ending: whether some process wants training to pause or end after this step.
    """

    loss: Tensor
    norm: Tensor | float
    examples: int
    ending: bool = False


class TrainingStep:
    """Takes the training steps of a run.

    Args:
        prepared: the parts of the run.
        note: takes a line for the user.

    Attributes:
        optimizer: holds the trained parameters and nothing else.
        compiled: whether steps run compiled.
        graphs: the steps that are recorded as CUDA graphs.
    """

    def __init__(self, prepared: Prepared, note: Callable[[str], None]) -> None:
        parts, options, team = prepared.features.built, prepared.options, prepared.team
        self._task, self._options, self._team, self._note = parts.task, options, team, note
        self._model = parts.model
        self._device = next(parts.model.parameters()).device
        self.optimizer = prepared.make_optimizer(parts)
        prepared.proof.check_optimizer(self.optimizer)
        self._base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self._trained = [parameter for group in parts.groups for parameter in group.parameters.values()]
        batches = prepared.batches or TrainingBatches(
            parts.task,
            prepared.features.training,
            options.batch_size,
            options.seed_of("order"),
            batch_tokens=options.batch_tokens,
        )
        self._batches = BatchesAhead(
            batches,
            rank=team.processes.rank,
            count=team.processes.count,
            pin=Batch.pinned if self._device.type == "cuda" else None,
        )
        # Compiled for the first shape of batches; if a second one comes, torch compiles for any shape.
        if options.compile:
            leave_uncompiled(parts.model)
        self._forward: Any = torch.compile(parts.model, dynamic=None) if options.compile else parts.model
        self.compiled = options.compile
        self._batch_norms = batch_norms(parts.model) if team.processes.count > 1 else []
        self._buffers = KeptBuffers(parts.model)
        self._settled = False
        self.graphs = StepGraphs(self._recorder(), self._device, note, self._undo)
        self._why_unrecorded = self._prepare_recording()

    def take(self, step: int, factor: float, count: int, ending: Callable[[], bool] = lambda: False) -> Taken:
        """Take one step.

        Args:
            step: its number, from 0; decides its batch and all random draws.
            factor: multiplies the learning rates.
            count: micro-batches of each process's part of the batch.
            ending: whether this process wants training to pause or end after this step.

        Raises:
            MemoryRanOut: in some process, and so in all of them; nothing has changed.
            TrainingError: out of memory, or compiled code failed, and frozen weights are sharded.
        """
        processes = self._team.processes
        own, size = self._batches.take(step)
        self._buffers.note()
        self._set_rates(factor)
        if (taken := self._take_recorded(step, own, count)) is not None:
            return taken._replace(ending=ending())
        self._seed(step)
        with self.graphs.watching(own, count):
            loss, reason = self._try_gradients(step, own, size, count)
            fraction = 0.0 if own is None else len(own) / size
            total, last = add_up_step(processes, self._trained, self._batch_norms, loss, fraction, ending)
            if total is None:
                self._undo()
                raise MemoryRanOut(-(-size // processes.count), reason)
            norm = self._update()
        if not self._settled:
            settle()
            self._settled = True
        return Taken(total, norm, size, last)

    def restore(self, saved: Checkpoint, names: Mapping[int, str]) -> None:
        """Restore the optimizer of a checkpoint.

        Args:
            saved: the checkpoint.
            names: id of a parameter -> its name.

        Raises:
            CheckpointError: it is that of another model.
        """
        unpack_optimizer(self.optimizer, saved, names)
        self.graphs.forget()  # they write to the optimizer's tensors of before

    def observed(self, step: int, factor: float, count: int) -> tuple[Taken, Fault | None]:
        """Take a step, and find the first tensor in it that is not finite. Arguments and errors as for `take`."""
        # Neither compiled code nor a recording has modules to look at.
        self._forward, self.compiled = self._model, False
        with self.graphs.paused(), Observer(self._model) as observer:
            taken = self.take(step, factor, count)
        return taken, observer.fault(step, float(taken.loss), float(taken.norm))

    def prepare(self, step: int) -> None:
        """Make the batch of a coming step while a GPU computes the present one."""
        self._batches.prepare(step)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch's loss to those of the trained parameters."""
        loss.backward()

    def _take_recorded(self, step: int, own: Batch | None, count: int) -> Taken | None:
        """Take the step by a recording; None if there is none."""
        if self._why_unrecorded:
            self.graphs.drop(self._why_unrecorded)
        if own is None or not self.graphs.active:
            return None
        self._seed(step)

        def work(batch: Batch) -> Sequence[Tensor]:
            loss, norm = self._gradients(batch, len(batch), count), self._update()
            return loss, norm if isinstance(norm, Tensor) else torch.zeros((), device=self._device)

        found = self.graphs.repeat(own, count, work)
        return None if found is None else Taken(found[0], found[1], len(own))

    def _recorder(self) -> Recorder | None:
        """What records the steps; None if they run as usual.

        A user's own module may change anything in Python from step to step, which a recording would not repeat.
        """
        ours = isinstance(self._model, CrossModalModel)
        if self._device.type != "cuda" or self._options.cuda_graphs == "never" or not ours:
            return None
        return CudaRecorder(self._device)

    def _prepare_recording(self) -> str:
        """Prepare the optimizer for recordings, if there may be any; why there are none, if that is known already."""
        if not self.graphs.active:
            return ""
        if self._team.processes.count > 1:
            return "several processes share each batch"
        if self._options.activation_checkpointing:
            return "with train.activation_checkpointing, the backward pass sets the state of the random generator"
        return make_recordable(self.optimizer, self._device)

    def _set_rates(self, factor: float) -> None:
        """Set the learning rates of the step; tensors in place, since recorded steps read them."""
        for group, rate in zip(self.optimizer.param_groups, self._base_rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor

    def _update(self) -> Tensor | float:
        """Clip the gradients, let the optimizer use them, and drop them; returns their norm before clipping."""
        norm = self._clip()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _clip(self) -> Tensor | float:
        if self._options.clip_norm is None:
            return 0.0
        return torch.nn.utils.clip_grad_norm_(self._trained, self._options.clip_norm)

    def _gradients(self, own: Batch | None, size: int, count: int) -> Tensor:
        """Forward and backward of this process's part of a batch of ``size`` examples, if it has one; returns its part
        of the loss."""
        total = torch.zeros((), device=self._device)
        parts = [] if own is None else micro_batches(own, count)
        self._idle_passes(most_micro_batches(size, self._team.processes.count, count) - len(parts))
        for part in parts:
            part = batch_for(self._model, part, self._device)
            # Losses are means over examples: weighted by their number, the gradients of all micro-batches of all
            # processes sum to that of the batch.
            loss = self._task.loss(self._forward(part.inputs, part.lengths), part) * (len(part) / size)
            self.backward(loss)
            total += loss.detach()
        return total

    def _seed(self, step: int) -> None:
        """Dropout draws from the global generator: seeded by the step, its state needs no saving. Each process draws
        for its own part of the batch."""
        rank = self._team.processes.rank
        process = ("process", rank) if rank else ()
        torch.manual_seed(derive_seed(self._options.seed_of("order"), "step", step, *process))

    def _idle_passes(self, count: int) -> None:
        """Passes without a result, while other processes have more micro-batches than this one."""
        if self._team.idle is not None:
            for _ in range(count):
                self._team.idle.forward_and_backward()

    def _try_gradients(self, step: int, own: Batch | None, size: int, count: int) -> tuple[Tensor | None, str]:
        """`_gradients`, and an empty text; or None and what the allocator said, if memory ran out.

        The error is dropped here, and with its traceback the tensors of the pass.
        """
        try:
            return self._gradients(own, size, count), ""
        except BaseException as err:
            add_context(err, split="train", step=step)
            if not isinstance(err, Exception):
                raise
            if is_out_of_memory(err):
                self._refuse_if_sharded(
                    "out of memory, and with sharded frozen weights the number of micro-batches does not grow by "
                    f"itself; use --set train.accumulate={finer(count, self._options.batch_size)}. The allocator says: "
                    f"{first_line(err)}"
                )
                return None, first_line(err)
            if not self.compiled or isinstance(err, PeerError):
                raise
            reason = " ".join(str(err).partition("\n\n")[0].split())
            self._refuse_if_sharded(
                "a compiled step failed, and with sharded frozen weights it cannot be taken again uncompiled; use "
                f"--set train.compile=false. The error is: {reason}"
            )
        # Compilers fail in many ways, in forward and in backward. An error of the model itself comes up again here.
        self._undo()
        self._forward, self.compiled = self._model, False
        self._seed(step)
        found = self._try_gradients(step, own, size, count)
        self._note(f"torch.compile failed; the model runs uncompiled: {reason}")
        return found

    def _refuse_if_sharded(self, reason: str) -> None:
        """Raise if other processes wait for this one in the middle of the pass."""
        if self._team.idle is not None:
            raise TrainingError(reason) from None

    def _undo(self) -> None:
        """Drop the gradients of a step that failed, and what it changed in the buffers."""
        self.optimizer.zero_grad(set_to_none=True)
        self._buffers.put_back()
        release(self._device)
