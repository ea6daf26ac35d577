"""The training loop: steps, and between them validation, early stopping and checkpoints.

Losses stay on the device and are fetched every ``log_every`` steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from fptkit.engine.assessment.assessor import SplitAssessor
from fptkit.engine.build import Built
from fptkit.engine.checkpoint import (
    STATE,
    Checkpoint,
    checkpoint_of,
    latest_checkpoint,
    load_checkpoint,
    restore_trained,
    save_checkpoint,
    trained_tensors,
)
from fptkit.engine.data import check_same_data
from fptkit.engine.diverged import Fault, Observer, advice, first_not_finite
from fptkit.engine.evaluate import EvaluationStopped, evaluate
from fptkit.engine.events import Emit, Event, Facts, Noted, Saving, StepsDone, Validated
from fptkit.engine.memory import MemoryRanOut, cannot_go_on, finer
from fptkit.engine.optimizer_state import pack_numbers, pack_optimizer
from fptkit.engine.progress import Progress, ended_by, pause_step, restored
from fptkit.engine.setup import Prepared
from fptkit.engine.signals import StopRequest
from fptkit.engine.step import Taken, TrainingStep
from fptkit.engine.team.processes import share_other_buffers
from fptkit.engine.training.schedules import checked_factor, schedule_of
from fptkit.errors import CheckpointError, DivergedError, TrainingError
from fptkit.interfaces import Batch, check_selected
from fptkit.specs.guard import during

Outcome = Literal["ended", "paused", "stopped"]
"""How a call of `Trainer.fit` ends."""


class Trainer:
    """Trains the model of one run.

    Args:
        prepared: the parts of the run. All processes of its team have the same.
        checkpoints: folder of the checkpoints; None: only the tensors of the best step are kept, in memory.
        emit: takes events.
        stop: asked between steps.
        records: facts of the metrics file, saved with each checkpoint.
        stop_reason: why a listener asks to end training; empty if none does. Asked in rank 0.

    Attributes:
        model: what is trained; the head alone, if features are cached.
        progress: what is saved with each checkpoint.
        restored_records: what ``records`` gave when the restored checkpoint was saved.
        training_step: takes the steps.
    """

    def __init__(
        self,
        prepared: Prepared,
        checkpoints: Path | None,
        *,
        emit: Emit,
        stop: StopRequest,
        records: Facts = dict,
        stop_reason: Callable[[], str] = str,
    ) -> None:
        self._prepared, self._checkpoints, self._emit, self._stop = prepared, checkpoints, emit, stop
        self._options, self._processes = prepared.options, prepared.team.processes
        self._parts = prepared.features.built
        self.model = self._parts.model
        self.progress = Progress(parts=self._options.accumulate)
        self.training_step = TrainingStep(prepared, self._note)
        self._schedule = prepared.schedule or schedule_of(prepared.options)
        self._best: dict[str, torch.Tensor] = {}
        self._records, self.restored_records = records, records()
        self._stop_reason = stop_reason
        self._names = {id(parameter): name for name, parameter in self.model.named_parameters()}

    @property
    def compiled(self) -> bool:
        """Whether training steps run compiled."""
        return self.training_step.compiled

    def restore(self) -> bool:
        """Restore the newest checkpoint.

        Returns:
            Whether there was one.

        Raises:
            CheckpointError: it is broken, or belongs to another frozen part.
            DataError: it was trained on other data.
        """
        saved = self._processes.from_main(self._latest)
        if saved is None:
            return False
        ours = self._prepared.frozen
        if not self._prepared.proof.matches(saved.frozen["digest"]):
            raise CheckpointError(
                f"{saved.folder}: its frozen part is {saved.frozen['weights']} with digest "
                f"{saved.frozen['digest'][:12]}, but this model's is {ours['weights']} with {ours['digest'][:12]}. "
                f"{self._prepared.proof.advice(saved.frozen['digest'])}, or choose another --output"
            )
        check_same_data(saved.data, self._prepared.data, saved.folder)
        restore_trained(self.model, saved.trained, origin=saved.folder)
        self.training_step.restore(saved, self._names)
        self.progress = restored(saved.state, self._options.accumulate, saved.folder / STATE)
        self._schedule.restore(self.progress.schedule)
        self.restored_records = saved.records
        return True

    def unfinished(self) -> bool:
        """Whether `fit` has a step or a validation to make."""
        progress = self.progress
        return ended_by(self._options, progress) is None or progress.validated_step != progress.step

    def fit(self, pause_at: int | None = None) -> Outcome:
        """Train until a limit, early stopping, a pause, or a stop request. The state is saved in every case.

        Args:
            pause_at: step to pause at, rounded up to the next validation; None for none.

        Returns:
            ``ended`` when training is complete, ``paused`` at ``pause_at``, ``stopped`` after a stop request.

        Raises:
            DivergedError: the loss or the gradient is no longer a finite number.
            TrainingError: out of memory with a single example per micro-batch.
        """
        options, progress = self._options, self.progress
        pause = math.inf if pause_at is None else pause_step(options, pause_at)
        while True:
            self._end_if_asked()
            due = ended_by(options, progress) or (progress.step and progress.step % options.validate_every == 0)
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
            self._train()

    def _end_if_asked(self) -> None:
        """End training if a listener asks for it; all processes alike."""
        if not self.progress.stopped and (reason := self._processes.from_main(self._stop_reason)):
            self.progress.stopped = reason
            self._note(f"{reason}; training ends")

    def step(self, step: int, factor: float, ending: Callable[[], bool] = lambda: False) -> Taken:
        """Take one step; see `TrainingStep.take`. Loss and norm are still on the device.

        Raises:
            MemoryRanOut: in some process, and so in all of them; nothing has changed.
        """
        taken = self.training_step.take(step, factor, self.progress.parts, ending)
        self.progress.examples += taken.examples
        return taken

    def evaluate(
        self, parts: Built, batches: Iterable[Batch | None], assessor: SplitAssessor | None = None
    ) -> dict[str, float]:
        """Metrics of the model as it is; the number of micro-batches that memory allows is remembered.

        Args:
            parts: the model and its task: those of the run, or those for cached features.
            batches: of this process, see `fptkit.engine.evaluate.evaluate`.
            assessor: looks at the answers, too.

        Raises:
            EvaluationStopped: a stop was requested.
        """
        progress, team = self.progress, self._prepared.team
        before = team.pieces.count = progress.evaluation_parts
        metrics = evaluate(parts.model, parts.task, batches, team, self._stop.requested, assessor)
        # Which process ran out of memory does not matter: all continue alike.
        (progress.evaluation_parts,) = self._processes.most(team.pieces.count)
        if progress.evaluation_parts > before:
            self._note(
                f"out of memory in an evaluation; batches pass the model in {progress.evaluation_parts} micro-batches, "
                "and are scored together. A smaller train.evaluation_batch_size has the same effect"
            )
        return metrics

    def restore_best(self) -> None:
        """Restore the tensors of the best validation step."""
        if self.progress.best_step == self.progress.step:
            return
        if self._checkpoints is None:
            restore_trained(self.model, self._best, origin=Path("the best step"))
        else:
            folder = checkpoint_of(self._checkpoints, self.progress.best_step)
            trained = self._processes.from_main(lambda: load_checkpoint(folder).trained)
            restore_trained(self.model, trained, origin=folder)

    def _train(self) -> None:
        """Train up to the next step at which something else is due, or that runs out of memory."""
        options, progress = self._options, self.progress
        pause = self._next_pause()
        allowed = math.inf if options.max_seconds is None else options.max_seconds - progress.seconds
        started, examples_before = time.perf_counter(), progress.examples
        device = next(self.model.parameters()).device
        loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=device)
        norm_sum = torch.zeros((), dtype=torch.float64, device=device)
        taken: list[tuple[torch.Tensor, torch.Tensor | float]] = []
        self.model.train()
        factor, ending = 1.0, False

        def over() -> bool:
            return time.perf_counter() - started >= allowed or self._stop.requested()

        too_large: MemoryRanOut | None = None
        while progress.step < pause and not ending:
            coming = checked_factor(self._schedule, progress.step)
            try:
                loss, norm, _, ending = self.step(progress.step, coming, over)
            except MemoryRanOut as err:  # in all processes
                too_large = err.with_traceback(None)  # it would hold the batch
                break
            factor = coming
            loss_sum += loss
            norm_sum += norm
            taken.append((loss, norm))
            progress.step += 1
            progress.loss_count += 1
            if progress.step < pause:
                self.training_step.prepare(progress.step)
        progress.loss_sum, norms = torch.stack((loss_sum, norm_sum)).tolist()  # the only wait for the device
        own_seconds = time.perf_counter() - started
        seconds = self._processes.from_main(lambda: own_seconds)
        share_other_buffers(self._processes, self.model)
        progress.seconds += seconds
        if not math.isfinite(progress.loss_sum + norms):
            raise self._diverged(progress.step - len(taken) + first_not_finite(taken))
        self._report_steps((progress.examples - examples_before) / seconds if seconds else 0.0, factor)
        if too_large is not None:
            self._use_smaller_micro_batches(too_large)

    def _next_pause(self) -> int:
        """The next step at which something other than training is due."""
        options, step = self._options, self.progress.step
        every = (options.log_every, options.validate_every, options.checkpoint_every or options.validate_every)
        return min(options.max_steps, *(step + n - step % n for n in every))

    def _report_steps(self, examples_per_second: float, factor: float) -> None:
        """Emit the mean loss since the last report, if one is due."""
        options, progress = self._options, self.progress
        # A stop request may have come before the first of these steps: then there is nothing to report.
        if progress.loss_count and (progress.step % options.log_every == 0 or ended_by(options, progress)):
            mean_loss = progress.loss_sum / progress.loss_count
            self._report(StepsDone(progress.step, mean_loss, examples_per_second, options.learning_rate * factor))
            progress.loss_sum, progress.loss_count = 0.0, 0

    def _use_smaller_micro_batches(self, too_large: MemoryRanOut) -> None:
        """Use more and smaller micro-batches from the next step. Saved at once, so that a killed run resumes alike.

        Raises:
            TrainingError: micro-batches hold a single example already.
        """
        progress, options = self.progress, self._options
        if progress.parts >= too_large.examples:
            raise TrainingError(
                f"step {progress.step}: {cannot_go_on('a single example per micro-batch')} Or save memory: "
                "--resume with --set train.activation_checkpointing=true. The allocator says: "
                f"{too_large.reason or 'nothing here; it was in another process'}"
            )
        progress.parts = finer(progress.parts, options.batch_size)
        self._save()
        self._note(
            f"out of memory; from the next step each batch passes in {progress.parts} micro-batches (gradient "
            f"accumulation). From the start of a new run: --set train.accumulate={progress.parts}"
        )

    def _validate(self) -> None:
        parts, progress = self._parts, self.progress
        with during(split="validation", step=max(progress.step - 1, 0)):
            metrics = self.evaluate(parts, self._prepared.validation_batches(progress.step))
        if not math.isfinite(metrics["loss"]):
            what = f"the validation loss at step {progress.step} is {metrics['loss']}"
            raise DivergedError(self._explained(what, self._fault_of_validation()))
        progress.validated_step = progress.step
        name, higher_is_better = parts.task.selection()
        check_selected(parts.task, metrics, f"at step {progress.step}")
        sign = 1 if higher_is_better else -1
        best = progress.best_metrics is None or sign * metrics[name] > sign * progress.best_metrics[name]
        if best:
            progress.best_step, progress.best_metrics, progress.stale_validations = progress.step, metrics, 0
        else:
            progress.stale_validations += 1
        self._schedule.validated(improved=best)
        progress.schedule = self._schedule.state()
        self._report(Validated(progress.step, metrics, best))

    def _diverged(self, step: int) -> DivergedError:
        """The error of a training step whose loss or gradient is not finite, with its place and what can help.

        Args:
            step: number of the step, from 0.
        """
        own = self.progress
        self._note(f"step {step + 1} is not finite; the steps since the last checkpoint are taken again to find why")
        # Without clipping, a gradient is seen only by the next step's loss.
        fault = self._fault_of_training(step if self._options.clip_norm is not None else step - 1)
        self.progress = own
        failed = step + 1 if fault is None else fault.updates + 1
        return DivergedError(self._explained(f"the loss or gradient of step {failed} is not finite", fault))

    def _fault_of_training(self, start: int) -> Fault | None:
        """Take the steps since the last checkpoint again, and find the first tensor that is not finite.

        Args:
            start: the first step to look at, from 0.
        """
        end = self.progress.step
        if not self.restore():
            return None
        self.model.train()
        while self.progress.step < end:
            progress = self.progress
            factor = checked_factor(self._schedule, progress.step)
            try:
                if progress.step < start:
                    self.training_step.take(progress.step, factor, progress.parts)
                    own = None
                else:
                    _, own = self.training_step.observed(progress.step, factor, progress.parts)
            except MemoryRanOut:  # in all processes
                return None
            found = self._first_of_all(own)
            if found is not None:
                return found
            progress.step += 1
        return None

    def _fault_of_validation(self) -> Fault | None:
        """Validate again, and find the first tensor that is not finite."""
        with Observer(self.model) as observer:
            self.evaluate(self._parts, self._prepared.validation_batches(self.progress.step))
        return self._first_of_all(observer.fault(self.progress.step, math.nan, 0.0))

    def _first_of_all(self, own: Fault | None) -> Fault | None:
        """The fault of the first process that has one."""
        faults = self._processes.gather_on_main(own)
        return self._processes.from_main(lambda: next((fault for fault in faults if fault is not None), None))

    def _explained(self, what: str, fault: Fault | None) -> str:
        place = "" if fault is None else f": the first tensor that is not finite is {fault.place}"
        help_ = advice(fault, options=self._options, model=self.model)
        return f"{what}{place}. {help_}. The best step so far is {self.progress.best_step}; its checkpoint is kept."

    def _note(self, text: str) -> None:
        """Emit a line for the user; it does not count among the events of a resumed run."""
        self._emit(Noted(self.progress.step, text))

    def _report(self, event: Event) -> None:
        self.progress.events += 1
        self._emit(event)

    def _latest(self) -> Checkpoint | None:
        folder = self._checkpoints and latest_checkpoint(self._checkpoints)
        return load_checkpoint(folder) if folder else None

    def _save(self) -> None:
        if self._checkpoints is not None:
            self._processes.from_main(partial(self._write_checkpoint, self._checkpoints))
        elif self.progress.best_step == self.progress.step:
            self._best = {name: tensor.detach().clone() for name, tensor in trained_tensors(self.model).items()}

    def _write_checkpoint(self, root: Path) -> None:
        self._emit(Saving(self.progress.step))
        numbers = pack_numbers(self.training_step.optimizer, self._names)
        save_checkpoint(
            root,
            step=self.progress.step,
            trained=trained_tensors(self.model),
            optimizer=pack_optimizer(self.training_step.optimizer, self._names),
            state=asdict(self.progress),
            parts={**self._prepared.identity, "records": self._records(), "optimizer_numbers": numbers},
            keep_steps={self.progress.best_step},
        )
