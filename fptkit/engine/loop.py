"""The training loop.

One step is: batch by step number, forward, loss and backward for each part of it, clip, Adam at the schedule's rate.
Several processes share the batch, and add their gradients up before they clip. A step that memory does not suffice for
changes nothing, and is taken again in more parts.
Losses stay on the device and are fetched every ``log_every`` steps. Validation, patience and checkpoints happen between
steps.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from fptkit.build import Built
from fptkit.engine.batches import BatchesAhead, TrainingBatches, most_parts, parts_of
from fptkit.engine.checkpoint import (
    Checkpoint,
    checkpoint_of,
    latest_checkpoint,
    load_checkpoint,
    pack_optimizer,
    restore_trained,
    save_checkpoint,
    trained_tensors,
    unpack_optimizer,
)
from fptkit.engine.compiled import TrainingForward
from fptkit.engine.evaluate import EvaluationStopped, evaluate
from fptkit.engine.events import Event, Noted, Saving, StepsDone, Validated
from fptkit.engine.memory import (
    KeptBuffers,
    MemoryRanOut,
    Pieces,
    cannot_go_on,
    finer,
    first_line,
    is_out_of_memory,
    release,
    settle,
)
from fptkit.engine.optimizer import make_optimizer
from fptkit.engine.progress import Progress, ended_by, learning_rate_factor, note_validation, pause_step
from fptkit.engine.signals import StopRequest
from fptkit.engine.team.processes import ALONE, Processes, add_up_step, batch_norms, share_other_buffers
from fptkit.engine.team.sharding import IdlePass
from fptkit.errors import CheckpointError, DivergedError, TrainingError
from fptkit.freezing import FreezeProof
from fptkit.interfaces import Batch, Split, check_selected
from fptkit.recipe.models import TrainOptions
from fptkit.seeds import derive_seed

if TYPE_CHECKING:
    from accelerate import Accelerator


Outcome = Literal["ended", "paused", "stopped"]
"""How a call of `Trainer.fit` ends."""


class Trainer:
    """Trains the built model of one run.

    Args:
        built: the parts.
        options: the recipe's ``train`` section, with the last step in ``max_steps``.
        train: training split.
        validation: validation split.
        accelerator: gives the device and runs backward.
        checkpoints: folder of the checkpoints.
        proof: checks that the optimiser holds the trained parameters only.
        frozen: identity of the frozen part, for checkpoints; holds ``digest``.
        emit: takes events.
        stop: asked between steps.
        processes: train together; all have the same arguments.
        idle: made where another process passes examples and this one has none left, if weights are sharded.
    """

    def __init__(
        self,
        built: Built,
        options: TrainOptions,
        *,
        train: Split,
        validation: Split,
        accelerator: Accelerator,
        checkpoints: Path,
        proof: FreezeProof,
        frozen: dict[str, Any],
        emit: Callable[[Event], None],
        stop: StopRequest,
        processes: Processes = ALONE,
        idle: IdlePass | None = None,
    ) -> None:
        self.options = options
        self.task = built.task
        self.progress = Progress(parts=options.accumulate)
        self._accelerator = accelerator
        self._checkpoints = checkpoints
        self._frozen = frozen
        self._emit = emit
        self._stop = stop
        self._processes = processes
        self._idle = idle
        optimizer = make_optimizer(built.groups, options)
        proof.check_optimizer(optimizer)
        self.model = built.model
        self._plain_optimizer = optimizer
        self._own_rates = [group["lr"] for group in optimizer.param_groups]
        self._trained = [parameter for group in built.groups for parameter in group.parameters.values()]
        self._names = {id(parameter): name for name, parameter in built.model.named_parameters()}
        self._batches = BatchesAhead(
            TrainingBatches(built.task, train, options.batch_size, options.seed, batch_tokens=options.batch_tokens),
            rank=processes.rank,
            count=processes.count,
            pin=Batch.pinned if accelerator.device.type == "cuda" else None,
        )
        self._forward = TrainingForward(built.model, compiled=options.compile)
        self._validation = validation
        self._batch_norms = batch_norms(built.model) if processes.count > 1 else []
        self._buffers = KeptBuffers(built.model)
        self._settled = False

    @property
    def compiled(self) -> bool:
        """Whether training steps run compiled."""
        return self._forward.compiled

    def restore(self) -> bool:
        """Go back to the newest checkpoint.

        Returns:
            Whether there was one.

        Raises:
            CheckpointError: it is broken, or of another frozen part.
        """
        saved = self._processes.from_main(self._latest)
        if saved is None:
            return False
        folder = saved.folder
        if saved.frozen["digest"] != self._frozen["digest"]:
            raise CheckpointError(
                f"{folder}: its frozen part is {saved.frozen['weights']} with digest {saved.frozen['digest'][:12]}, "
                f"but here it is {self._frozen['weights']} with {self._frozen['digest'][:12]}; it cannot go on"
            )
        restore_trained(self.model, saved.trained, origin=folder)
        unpack_optimizer(self._plain_optimizer, saved.optimizer, self._names)
        try:
            self.progress = Progress(**{"parts": self.options.accumulate, **saved.state})
        except TypeError as err:
            raise CheckpointError(f"{folder / 'state.json'} is of another version of fptkit: {err}") from err
        return True

    def _latest(self) -> Checkpoint | None:
        folder = latest_checkpoint(self._checkpoints)
        return None if folder is None else load_checkpoint(folder)

    def goes_on(self) -> bool:
        """Whether `fit` has a step or a validation to make."""
        progress = self.progress
        return ended_by(self.options, progress) is None or progress.validated_step != progress.step

    def fit(self, pause_at: int | None = None) -> Outcome:
        """Train until a limit, the end of patience, a pause, or a stop request. The state is saved in every case.

        Args:
            pause_at: step to pause at, rounded up to the next validation; None for none.

        Returns:
            ``ended`` when training is complete, ``paused`` at ``pause_at``, ``stopped`` when it was asked to stop.

        Raises:
            DivergedError: the loss or the gradient is no longer a number.
            TrainingError: memory does not suffice for a single example.
        """
        options, progress = self.options, self.progress
        pause = math.inf if pause_at is None else pause_step(options, pause_at)
        while True:
            end = ended_by(options, progress)
            due = end is not None or (progress.step and progress.step % options.validate_every == 0)
            try:
                if due and progress.validated_step != progress.step:
                    self._validate()
            except EvaluationStopped:
                self._save()
                return "stopped"
            if due or progress.step % (options.checkpoint_every or options.validate_every) == 0:
                self._save()
            if ended_by(options, progress):
                return "ended"
            if progress.step >= pause:
                return "paused"
            if any(self._processes.any_of(self._stop.requested())):
                self._save()
                return "stopped"
            self._train_until_pause()

    def restore_best(self) -> None:
        """Put the tensors of the best validation step back."""
        if self.progress.best_step != self.progress.step:
            folder = checkpoint_of(self._checkpoints, self.progress.best_step)
            trained = self._processes.from_main(lambda: load_checkpoint(folder).trained)
            restore_trained(self.model, trained, origin=folder)

    def step(self, step: int, factor: float) -> tuple[torch.Tensor, torch.Tensor | float]:
        """Take one step.

        Args:
            step: its number, from 0, which says its batch and what is drawn.
            factor: by which the learning rates are multiplied.

        Returns:
            The loss and the gradient's norm (0 where nothing is clipped), still on the device.

        Raises:
            MemoryRanOut: in some process, and so in all of them; nothing has changed.
        """
        own, whole = self._batches.take(step)
        self._buffers.note()
        loss, reason = self._add_gradients_or_say_why(step, own, whole)
        share = 0.0 if own is None else len(own) / whole
        total = add_up_step(self._processes, self._trained, self._batch_norms, loss, share)
        if total is None:
            self._undo()
            raise MemoryRanOut(-(-whole // self._processes.count), reason)
        for group, own_rate in zip(self._plain_optimizer.param_groups, self._own_rates, strict=True):
            group["lr"] = own_rate * factor
        norm: torch.Tensor | float = 0.0
        if self.options.clip_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(self._trained, self.options.clip_norm)
        self._plain_optimizer.step()
        self._plain_optimizer.zero_grad(set_to_none=True)
        self.progress.examples += whole
        if not self._settled:
            settle()
            self._settled = True
        return total, norm

    def _train_until_pause(self) -> None:
        """Train up to the next step at which something else is due, or for which memory does not suffice."""
        options, progress = self.options, self.progress
        device = self._accelerator.device
        every = (options.log_every, options.validate_every, options.checkpoint_every or options.validate_every)
        pause = min(options.max_steps, *(progress.step + n - progress.step % n for n in every))
        allowed = math.inf if options.max_seconds is None else options.max_seconds - progress.seconds
        started, examples_before = time.perf_counter(), progress.examples
        loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=device)
        norm_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.model.train()
        factor, ending = 1.0, False
        too_large: MemoryRanOut | None = None
        while progress.step < pause and not ending:
            coming = learning_rate_factor(options, progress)
            try:
                loss, norm = self.step(progress.step, coming)
            except MemoryRanOut as err:  # in all processes
                too_large = err.with_traceback(None)  # it would hold the batch
                break
            factor = coming
            loss_sum += loss
            norm_sum += norm
            progress.step += 1
            progress.loss_count += 1
            if progress.step < pause:
                self._batches.prepare(progress.step)
            over = time.perf_counter() - started >= allowed
            ending = any(self._processes.any_of(over or self._stop.requested()))
        progress.loss_sum, norms = torch.stack((loss_sum, norm_sum)).tolist()  # the only wait for the device
        own_seconds = time.perf_counter() - started
        seconds = self._processes.from_main(lambda: own_seconds)
        share_other_buffers(self._processes, self.model)
        progress.seconds += seconds
        self._check_finite(progress.loss_sum, f"training loss of the {progress.loss_count} steps before")
        self._check_finite(norms, "norm of the gradient in the steps before")
        # A stop request may have come before the first of these steps: then there is nothing to report.
        if progress.loss_count and (progress.step % options.log_every == 0 or ended_by(options, progress)):
            speed = (progress.examples - examples_before) / seconds if seconds else 0.0
            mean_loss = progress.loss_sum / progress.loss_count
            self._tell(StepsDone(progress.step, mean_loss, speed, options.learning_rate * factor))
            progress.loss_sum, progress.loss_count = 0.0, 0
        if too_large is not None:
            self._cut_finer(too_large)

    def _cut_finer(self, too_large: MemoryRanOut) -> None:
        """Cut batches into more parts from here on. Saved at once, so that a run that is killed later goes on alike.

        Raises:
            TrainingError: the parts are single examples already.
        """
        progress, options = self.progress, self.options
        if progress.parts >= too_large.examples:
            raise TrainingError(
                f"step {progress.step}: {cannot_go_on('one example at a time')} Or keep less of it: --resume with "
                "--set train.activation_checkpointing=true. The allocator says: "
                f"{too_large.reason or 'nothing here; it was in another process'}"
            )
        progress.parts = finer(progress.parts, options.batch_size)
        self._save()
        self._note(
            f"memory ran out; from here on each batch goes through in {progress.parts} parts, one after the other. "
            f"From the start of a new run: --set train.accumulate={progress.parts}"
        )

    def _undo(self) -> None:
        """Leave nothing of a step whose gradients cannot be taken."""
        self._plain_optimizer.zero_grad(set_to_none=True)
        self._buffers.put_back()
        release(self._accelerator.device)

    def _add_gradients_or_say_why(self, step: int, own: Batch | None, whole: int) -> tuple[torch.Tensor | None, str]:
        """`_add_gradients`; None where memory ran out, and what the allocator said.

        The error itself ends here, and with its traceback the tensors of the pass.
        """
        try:
            return self._add_gradients(step, own, whole), ""
        except Exception as err:
            if is_out_of_memory(err):
                if self._idle is None:
                    return None, first_line(err)
                # The others wait for this process in the middle of the pass.
                raise TrainingError(
                    "memory ran out, and where frozen weights are sharded no batch is cut finer by itself; --set "
                    f"train.accumulate={finer(self.progress.parts, self.options.batch_size)}. The allocator says: "
                    f"{first_line(err)}"
                ) from None
            if not self._forward.compiled:
                raise
            reason = " ".join(str(err).partition("\n\n")[0].split())
        # Compilers fail in many ways, in forward and in backward. An error of the model itself comes up once more here.
        self._undo()
        self._forward.give_up()
        found = self._add_gradients_or_say_why(step, own, whole)
        self._note(f"the model could not be compiled and runs as it is: {reason}")
        return found

    def _add_gradients(self, step: int, own: Batch | None, whole: int) -> torch.Tensor:
        """Forward and backward of this process's part of a batch of ``whole`` examples, if it has one; returns its part
        of the loss."""
        # Dropout draws from the global generator: named by the step, it needs no saving. Each process draws for its own
        # part of the batch.
        further = ("process", self._processes.rank) if self._processes.rank else ()
        torch.manual_seed(derive_seed(self.options.seed, "step", step, *further))
        total = torch.zeros((), device=self._accelerator.device)
        parts = [] if own is None else parts_of(own, self.progress.parts)
        if self._idle is not None:
            for _ in range(most_parts(whole, self._processes.count, self.progress.parts) - len(parts)):
                self._idle.forward_and_backward()
        for part in parts:
            part = part.to(self._accelerator.device)
            # Losses are means over examples: weighted by them, the parts' gradients add up to the whole batch's, of
            # all processes together.
            loss = self.task.loss(self._forward(part.inputs, part.lengths), part) * (len(part) / whole)
            self._accelerator.backward(loss)
            total += loss.detach()
        return total

    @contextlib.contextmanager
    def evaluation_pieces(self) -> Iterator[Pieces]:
        """In how many pieces to evaluate batches. Where they became more, that is remembered and told."""
        before = self.progress.evaluation_parts
        pieces = Pieces(before, may_grow=self._idle is None)
        yield pieces
        # Which process ran out does not matter: all go on alike.
        (self.progress.evaluation_parts,) = self._processes.most(pieces.count)
        if self.progress.evaluation_parts > before:
            self._note(
                f"memory ran out while evaluating; batches pass the model in {self.progress.evaluation_parts} pieces, "
                "put together before they are scored. A smaller train.evaluation_batch_size has the same effect"
            )

    def _validate(self) -> None:
        progress = self.progress
        with self.evaluation_pieces() as pieces:
            metrics = evaluate(
                self.model,
                self.task,
                "validation",
                self._validation,
                options=self.options,
                step=self.progress.step,
                device=self._accelerator.device,
                stop_requested=self._stop.requested,
                processes=self._processes,
                pieces=pieces,
                idle=self._idle,
            )
        self._check_finite(metrics["loss"], "validation loss at")
        progress.validated_step = progress.step
        name, higher_is_better = self.task.selection()
        check_selected(self.task, metrics, f"at step {progress.step}")
        sign = 1 if higher_is_better else -1
        best = progress.best_metrics is None or sign * metrics[name] > sign * progress.best_metrics[name]
        if best:
            progress.best_step, progress.best_metrics, progress.stale_validations = progress.step, metrics, 0
        else:
            progress.stale_validations += 1
        note_validation(progress, self.options.schedule, improved=best)
        self._tell(Validated(progress.step, metrics, best))

    def _check_finite(self, value: float, which: str) -> None:
        if not math.isfinite(value):
            options = self.options
            raise DivergedError(
                f"the {which} step {self.progress.step} is {value}. Lower train.learning_rate (now "
                f"{options.learning_rate:g}) or train.clip_norm (now {options.clip_norm}); with bfloat16, try "
                f"precision: float32. The best step so far is {self.progress.best_step}; its checkpoint is kept."
            )

    def _note(self, text: str) -> None:
        """Tell the user something that changes no figure, and so is none of the events a resumed run counts."""
        self._emit(Noted(self.progress.step, text))

    def _tell(self, event: Event) -> None:
        self.progress.events += 1
        self._emit(event)

    def _save(self) -> None:
        self._processes.from_main(self._write_checkpoint)

    def _write_checkpoint(self) -> None:
        self._emit(Saving(self.progress.step))
        save_checkpoint(
            self._checkpoints,
            step=self.progress.step,
            trained=trained_tensors(self.model),
            optimizer=pack_optimizer(self._plain_optimizer, self._names),
            state=asdict(self.progress),
            frozen=self._frozen,
            keep_steps={self.progress.best_step},
        )
