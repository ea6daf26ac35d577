"""The training loop.

One step is: batch by step number, forward, loss and backward for each part of it, clip, Adam at the schedule's rate.
Losses stay on the device and are fetched every ``log_every`` steps. Validation, patience and checkpoints happen between
steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fptkit.build import Built
from fptkit.engine.batches import TrainingBatches, parts_of
from fptkit.engine.checkpoint import (
    checkpoint_of,
    latest_checkpoint,
    load_checkpoint,
    pack_optimizer,
    restore_trained,
    save_checkpoint,
    trained_tensors,
    unpack_optimizer,
)
from fptkit.engine.evaluate import EvaluationStopped, evaluate
from fptkit.engine.events import Event, Saving, StepsDone, Validated
from fptkit.errors import CheckpointError, TrainingError
from fptkit.freezing import FreezeProof
from fptkit.interfaces import Split
from fptkit.recipe.models import ScheduleOptions, TrainOptions
from fptkit.seeds import derive_seed
from fptkit.signals import StopRequest

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class Progress:
    """What the loop remembers between steps; saved with each checkpoint.

    Args:
        step: training steps done.
        validated_step: step of the last validation, -1 before the first.
        best_step: step with the best validation metric.
        best_metrics: validation metrics at that step.
        stale_validations: validations since then.
        examples: training examples seen.
        seconds: time spent in training steps, evaluation and checkpoints left out.
        loss_sum: sum of the losses not yet reported.
        loss_count: how many they are.
        events: events told so far; a resumed run goes on behind the one this counts.
        plateau_validations: validations without improvement since the last one with, or since the rate last fell.
        plateau_factor: what the schedule ``plateau`` has made of the learning rate so far.
    """

    step: int = 0
    validated_step: int = -1
    best_step: int = 0
    best_metrics: dict[str, float] | None = None
    stale_validations: int = 0
    examples: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    events: int = 0
    plateau_validations: int = 0
    plateau_factor: float = 1.0

    @property
    def examples_per_second(self) -> float:
        """Training speed so far."""
        return self.examples / self.seconds if self.seconds else 0.0


def learning_rate_factor(options: TrainOptions, progress: Progress) -> float:
    """Factor on every learning rate at the coming step; see `ScheduleOptions`.

    Args:
        options: give the schedule and the last step.
        progress: its ``step`` and ``plateau_factor`` count, nothing else, so that a resumed run sees the same.
    """
    schedule, step = options.schedule, progress.step
    if step < schedule.warmup_steps:
        return (step + 1) / (schedule.warmup_steps + 1) * progress.plateau_factor
    if schedule.name != "cosine":
        return progress.plateau_factor
    done = (step - schedule.warmup_steps) / (options.max_steps - schedule.warmup_steps)
    return schedule.final_share + (1 - schedule.final_share) * (1 + math.cos(math.pi * done)) / 2


def note_validation(progress: Progress, schedule: ScheduleOptions, *, improved: bool) -> None:
    """Keep the plateau schedule's account of one validation, and lower its factor when patience ends."""
    if schedule.name != "plateau":
        return
    progress.plateau_validations = 0 if improved else progress.plateau_validations + 1
    if progress.plateau_validations >= schedule.patience:
        progress.plateau_factor *= schedule.factor
        progress.plateau_validations = 0


class Trainer:
    """Trains the built model of one run.

    Args:
        built: the parts.
        options: the recipe's ``train`` section.
        train: training split.
        validation: validation split.
        accelerator: gives the device and runs backward.
        checkpoints: folder of the checkpoints.
        proof: checks that the optimiser holds the trained parameters only.
        frozen: identity of the frozen part, for checkpoints; holds ``digest``.
        emit: takes events.
        stop: asked between steps.
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
    ) -> None:
        self.options = options
        self.task = built.task
        self.progress = Progress()
        self._accelerator = accelerator
        self._checkpoints = checkpoints
        self._frozen = frozen
        self._emit = emit
        self._stop = stop
        optimizer = torch.optim.AdamW(
            [
                {
                    "params": list(group.parameters.values()),
                    "lr": options.learning_rate * group.learning_rate_multiplier,
                }
                for group in built.groups
            ],
            betas=options.adam_betas,
            eps=options.adam_epsilon,
            weight_decay=options.weight_decay,  # at the default of 0 this is the paper's Adam
            fused=True,
        )
        proof.check_optimizer(optimizer)
        self.model = built.model
        self._plain_optimizer = optimizer
        self._own_rates = [group["lr"] for group in optimizer.param_groups]
        self._trained = [parameter for group in built.groups for parameter in group.parameters.values()]
        self._names = {id(parameter): name for name, parameter in built.model.named_parameters()}
        self._batches = TrainingBatches(
            built.task, train, options.batch_size, options.seed, batch_tokens=options.batch_tokens
        )
        self._validation = validation

    def restore(self) -> bool:
        """Go back to the newest checkpoint.

        Returns:
            Whether there was one.

        Raises:
            CheckpointError: it is broken, or of another frozen part.
        """
        folder = latest_checkpoint(self._checkpoints)
        if folder is None:
            return False
        saved = load_checkpoint(folder)
        if saved.frozen["digest"] != self._frozen["digest"]:
            raise CheckpointError(
                f"{folder}: its frozen part is {saved.frozen['weights']} with digest {saved.frozen['digest'][:12]}, "
                f"but here it is {self._frozen['weights']} with {self._frozen['digest'][:12]}; it cannot go on"
            )
        restore_trained(self.model, saved.trained, origin=folder)
        unpack_optimizer(self._plain_optimizer, saved.optimizer, self._names)
        try:
            self.progress = Progress(**saved.state)
        except TypeError as err:
            raise CheckpointError(f"{folder / 'state.json'} is of another version of fptkit: {err}") from err
        return True

    def fit(self) -> bool:
        """Train until the last step, the end of patience, or a stop request.

        Returns:
            True when training is complete, False when it was asked to stop; the state is saved in both cases.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        options, progress = self.options, self.progress
        while True:
            due = progress.step == options.max_steps or (progress.step and progress.step % options.validate_every == 0)
            try:
                if due and progress.validated_step != progress.step:
                    self._validate()
            except EvaluationStopped:
                self._save()
                return False
            patience_ended = options.patience is not None and progress.stale_validations >= options.patience
            if due or progress.step % (options.checkpoint_every or options.validate_every) == 0:
                self._save()
            if progress.step >= options.max_steps or patience_ended:
                return True
            if self._stop.requested():
                self._save()
                return False
            self._train_until_pause()

    def restore_best(self) -> None:
        """Put the tensors of the best validation step back."""
        if self.progress.best_step != self.progress.step:
            folder = checkpoint_of(self._checkpoints, self.progress.best_step)
            restore_trained(self.model, load_checkpoint(folder).trained, origin=folder)

    def _train_until_pause(self) -> None:
        """Train up to the next step at which something else is due."""
        options, progress = self.options, self.progress
        device = self._accelerator.device
        every = (options.log_every, options.validate_every, options.checkpoint_every or options.validate_every)
        pause = min(options.max_steps, *(progress.step + n - progress.step % n for n in every))
        started, examples_before = time.perf_counter(), progress.examples
        loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=device)
        norm_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.model.train()
        factor = 1.0
        while progress.step < pause and not self._stop.requested():
            # Dropout draws from the global generator: named by the step, it needs no saving.
            torch.manual_seed(derive_seed(options.seed, "step", progress.step))
            factor = learning_rate_factor(options, progress)
            loss, norm = self._step(progress.step, factor)
            loss_sum += loss
            norm_sum += norm
            progress.step += 1
            progress.loss_count += 1
        progress.loss_sum, norms = torch.stack((loss_sum, norm_sum)).tolist()  # the only wait for the device
        seconds = time.perf_counter() - started
        progress.seconds += seconds
        self._check_finite(progress.loss_sum, f"training loss of the {progress.loss_count} steps before")
        self._check_finite(norms, "norm of the gradient in the steps before")
        if progress.step % options.log_every == 0 or progress.step == options.max_steps:
            speed = (progress.examples - examples_before) / seconds if seconds else 0.0
            mean_loss = progress.loss_sum / progress.loss_count
            self._tell(StepsDone(progress.step, mean_loss, speed, options.learning_rate * factor))
            progress.loss_sum, progress.loss_count = 0.0, 0

    def _step(self, step: int, factor: float) -> tuple[torch.Tensor, torch.Tensor | float]:
        """One step; returns the loss and the gradient's norm (0 where nothing is clipped), still on the device."""
        batch = self._batches.batch(step)
        total = torch.zeros((), device=self._accelerator.device)
        for part in parts_of(batch, self.options.accumulate):
            part = part.to(self._accelerator.device)
            # Losses are means over examples: weighted by them, the parts' gradients add up to the whole batch's.
            loss = self.task.loss(self.model(part.inputs, part.lengths), part) * (len(part) / len(batch))
            self._accelerator.backward(loss)
            total += loss.detach()
        for group, own_rate in zip(self._plain_optimizer.param_groups, self._own_rates, strict=True):
            group["lr"] = own_rate * factor
        norm: torch.Tensor | float = 0.0
        if self.options.clip_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(self._trained, self.options.clip_norm)
        self._plain_optimizer.step()
        self._plain_optimizer.zero_grad(set_to_none=True)
        self.progress.examples += len(batch)
        return total, norm

    def _validate(self) -> None:
        progress = self.progress
        metrics = evaluate(
            self.model,
            self.task,
            "validation",
            self._validation,
            options=self.options,
            step=self.progress.step,
            device=self._accelerator.device,
            stop_requested=self._stop.requested,
        )
        self._check_finite(metrics["loss"], "validation loss at")
        progress.validated_step = progress.step
        name, higher_is_better = self.task.selection()
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
            raise TrainingError(
                f"the {which} step {self.progress.step} is {value}. Lower train.learning_rate (now "
                f"{options.learning_rate:g}) or train.clip_norm (now {options.clip_norm}); with bfloat16, try "
                f"precision: float32. The best step so far is {self.progress.best_step}; its checkpoint is kept."
            )

    def _tell(self, event: Event) -> None:
        self.progress.events += 1
        self._emit(event)

    def _save(self) -> None:
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
