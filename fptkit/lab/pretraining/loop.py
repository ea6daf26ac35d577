"""A resumable training loop with schedules and checkpoints, for any model and any data.

Each kind of pretraining that uses it passes an `Objective`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fptkit.engine.signals import stop_on_signals
from fptkit.errors import CheckpointError, Interrupted, TrainingError, UsageError
from fptkit.files import replacing, write_text
from fptkit.lab.pretraining.options import PretrainTrain
from fptkit.sources.decoding import decoding

Log = Callable[[str], None]
CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.jsonl"


def log_to_stderr(line: str) -> None:
    """Print one line of progress to stderr."""
    print(line, file=sys.stderr, flush=True)


class Objective(Protocol):
    """What to train: the model, its optimizers, and the loss of one step."""

    @property
    def model(self) -> nn.Module:
        """The model whose parameters are trained and saved."""

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Optimizers by name, without dots in the names; each parameter belongs to exactly one."""

    @property
    def resume_command(self) -> str:
        """Command line that resumes the training, shown when a signal stops it."""

    def loss(self, step: int, *, cooling: bool) -> Tensor:
        """Loss of the batch of ``step``: a pure function of the weights, the step and ``cooling`` (in the cooldown)."""

    def validate(self, tokens: int | None) -> dict[str, float]:
        """Metrics on the first ``tokens`` held-out tokens, or on all of them for None."""


@dataclass
class Progress:
    """Progress of a training; saved in each checkpoint.

    Args:
        step: steps done.
        tokens: tokens seen.
        seconds: wall-clock seconds over all sessions, validation included.
        cooldown_from: first step of the cooldown; None until it is decided.
        end: total number of steps; None until it is decided.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cooldown_from: int | None = None
    end: int | None = None


def settle_schedule(progress: Progress, train: PretrainTrain) -> None:
    """Decide the start and the end of the cooldown as early as possible, in place.

    With ``max_steps`` they are known at once. With ``max_seconds`` the cooldown starts at the first step at which only
    its fraction of the time is left, and lasts for its fraction of all steps. Both are fixed once the cooldown has
    started, so that the rest of the training depends only on its steps.

    Args:
        progress: of the training; its ``cooldown_from`` and ``end`` are set.
        train: schedule.
    """
    if progress.cooldown_from is not None and progress.step >= progress.cooldown_from:
        return
    keep = 1 - train.cooldown_share
    if train.max_seconds is not None and progress.seconds >= keep * train.max_seconds:
        cooldown = max(1, math.ceil(progress.step * train.cooldown_share / keep)) if keep else train.max_steps or 1
        progress.cooldown_from = progress.step
        progress.end = min(progress.step + cooldown, train.max_steps or sys.maxsize)
    elif train.max_steps is not None:
        progress.cooldown_from, progress.end = round(train.max_steps * keep), train.max_steps


def learning_rate_factor(progress: Progress, train: PretrainTrain) -> float:
    """Factor on the learning rates at the next step: linear warm-up, then 1, then a linear cooldown to just above 0.

    Source: "warmup-stable-decay", Hu et al. 2024 (MiniCPM), with the linear decay of Hägele et al. 2024.
    """
    warm = min(1.0, (progress.step + 1) / (train.warmup_steps + 1))
    if progress.cooldown_from is None or progress.end is None or progress.step < progress.cooldown_from:
        return warm
    return warm * (progress.end - progress.step) / (progress.end - progress.cooldown_from + 1)


def _names(model: nn.Module) -> dict[Tensor, str]:
    return {parameter: name for name, parameter in model.named_parameters()}


def save_checkpoint(path: Path, objective: Objective, progress: Progress, identity: Mapping[str, Any]) -> None:
    """Write weights, optimizer state and progress to one file, atomically.

    Args:
        path: the file.
        objective: holds model and optimizers.
        progress: of the training.
        identity: facts that must be the same when the training is resumed.
    """
    names = _names(objective.model)
    tensors = {f"model.{name}": parameter.detach() for parameter, name in names.items()}
    for label, optimizer in objective.optimizers.items():
        for parameter, state in optimizer.state.items():
            tensors |= {f"{label}.{names[parameter]}.{key}": value for key, value in state.items()}
    metadata = {"progress": json.dumps(asdict(progress)), "identity": json.dumps(identity, sort_keys=True)}
    with replacing(path, flush=True) as partial:
        save_file({name: value.contiguous() for name, value in tensors.items()}, partial, metadata)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], Progress, dict[str, Any]]:
    """Read tensors, progress and identity from a checkpoint.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint '{path}' does not exist. Start the training first.")
    with decoding(path, "a checkpoint", CheckpointError, advice="choose another output folder"):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        return tensors, Progress(**json.loads(metadata["progress"])), json.loads(metadata["identity"])


def read_own_checkpoint(path: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], Progress]:
    """Read tensors and progress from a checkpoint, if a training with this identity may resume from it.

    Fields that are missing in the checkpoint are not compared, so that older checkpoints stay usable.

    Args:
        path: the file.
        identity: facts that must be the same in the checkpoint.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or of a training with another identity.
    """
    tensors, progress, found = read_checkpoint(path)
    ours = json.loads(json.dumps(identity))
    differing = [key for key in ours if ours[key] != found.get(key, ours[key])]
    if differing:
        raise CheckpointError(
            f"checkpoint '{path}' belongs to another training; it differs in: {', '.join(differing)}. "
            "Choose another output folder, or use the recipe and the text that the checkpoint was made with."
        )
    return tensors, progress


def load_checkpoint(path: Path, objective: Objective, identity: Mapping[str, Any]) -> Progress:
    """Load a checkpoint into model and optimizers.

    Returns:
        The progress of the training.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or of a training with another identity.
    """
    tensors, progress = read_own_checkpoint(path, identity)
    with torch.no_grad():
        for name, parameter in objective.model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
            for label, optimizer in objective.optimizers.items():
                if any(parameter is member for group in optimizer.param_groups for member in group["params"]):
                    start = f"{label}.{name}."
                    state = {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}
                    if state:
                        optimizer.state[parameter] = state
    return progress


def check_folder(output: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
    """Refuse a folder with a checkpoint that this training must not overwrite. Writes nothing.

    Args:
        output: folder of the training, with or without a checkpoint.
        identity: facts that must be the same in the checkpoint.
        resume: whether the training resumes from the checkpoint.

    Raises:
        UsageError: the folder holds a checkpoint and ``resume`` is false.
        CheckpointError: the checkpoint is damaged or of another training.
    """
    path = output / CHECKPOINT
    if resume and path.exists():
        read_own_checkpoint(path, identity)
    elif path.exists():
        raise UsageError(f"{output} holds a pretraining already. Resume it with --resume, or choose another --output")


def _step_of(row: str) -> int | None:
    """The step of a row of metrics; None for an incomplete row, which an interrupted write leaves."""
    try:
        step = json.loads(row)["step"]
    except (ValueError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None


class TrainingLoop:
    """Trains an objective until the end or a signal.

    Args:
        objective: what to train.
        train: schedule and intervals.
        output: folder of checkpoint and metrics.
        identity: facts that must be the same when the training is resumed.
        log: receives lines of progress.
    """

    def __init__(
        self, objective: Objective, train: PretrainTrain, output: Path, *, identity: Mapping[str, Any], log: Log
    ) -> None:
        self._objective, self._train, self._output = objective, train, output
        self._identity, self._log = identity, log
        self._rates = {label: [g["lr"] for g in o.param_groups] for label, o in objective.optimizers.items()}
        self._parameters = list(objective.model.parameters())
        self.progress = Progress()

    def run(self, *, resume: bool) -> Progress:
        """Train and return the final progress; call `check_folder` first.

        Args:
            resume: resume from the checkpoint in the folder, or start at step 0 if there is none.

        Raises:
            CheckpointError: the checkpoint to resume from is damaged or of another training.
            TrainingError: the loss is not finite.
            Interrupted: SIGINT or SIGTERM; the state is saved.
            KeyboardInterrupt: a second Ctrl-C before the state was saved; the previous checkpoint stays.
        """
        path = self._output / CHECKPOINT
        if resume and path.exists():
            self.progress = load_checkpoint(path, self._objective, self._identity)
            self._log(f"resuming from step {self.progress.step}")
        elif resume:
            self._log(f"no checkpoint in {self._output}: starting at step 0")
        else:
            assert not path.exists(), "check_folder comes first"
        self._keep_metrics()
        progress, train, began = self.progress, self._train, time.monotonic() - self.progress.seconds
        mark, total = (progress.step, progress.tokens, progress.seconds), torch.zeros(())
        with stop_on_signals() as stop:
            settle_schedule(progress, train)
            while progress.end is None or progress.step < progress.end:
                total = total + self._step()
                progress.seconds = time.monotonic() - began
                settle_schedule(progress, train)
                last = progress.step == progress.end
                if progress.step % train.log_every == 0 or progress.step % train.validate_every == 0 or last:
                    self._report(total, mark, final=last)
                    progress.seconds = time.monotonic() - began
                    mark, total = (progress.step, progress.tokens, progress.seconds), torch.zeros(())
                if progress.step % train.checkpoint_every == 0 or last or stop.requested():
                    save_checkpoint(self._output / CHECKPOINT, self._objective, progress, self._identity)
                if stop.requested() and not last:
                    raise Interrupted(stop.signal_number, progress.step, self._objective.resume_command)
        return progress

    def _step(self) -> Tensor:
        progress, train, objective = self.progress, self._train, self._objective
        cooling = progress.cooldown_from is not None and progress.step >= progress.cooldown_from
        factor = learning_rate_factor(progress, train)
        loss = objective.loss(progress.step, cooling=cooling)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"the training loss is {loss.item()} at step {progress.step}. Resume from the last checkpoint with "
                "smaller learning rates (train.muon_learning_rate, train.adamw_learning_rate)."
            )
        loss.backward()
        if train.gradient_clip:
            nn.utils.clip_grad_norm_(self._parameters, train.gradient_clip)
        for label, optimizer in objective.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self._rates[label], strict=True):
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad()
        progress.step += 1
        progress.tokens += train.batch_tokens
        return loss.detach()

    def _report(self, total: Tensor, mark: tuple[int, int, float], *, final: bool) -> None:
        progress, train = self.progress, self._train
        step, tokens, seconds = mark
        loss = float(total) / (progress.step - step)
        row: dict[str, float | str | None] = {
            "step": progress.step,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 1),
            "train_loss_nats_per_token": round(loss, 5),
            "learning_rate_factor": round(learning_rate_factor(progress, train), 5),
            "tokens_per_second": round((progress.tokens - tokens) / max(progress.seconds - seconds, 1e-9), 1),
        }
        if progress.step % train.validate_every == 0 or final:
            row |= self._objective.validate(train.validation_tokens)
        with (self._output / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        line = f"step {progress.step}" + (f"/{progress.end}" if progress.end else "")
        line += f"  {progress.tokens / 1e6:.2f} M tokens  {progress.seconds:.0f} s  train {loss:.4f}"
        line += f"  {row['tokens_per_second']:.0f} tokens/s"
        if "validation_loss_nats_per_token" in row:
            line += f"  validation {row['validation_loss_nats_per_token']:.4f} nats/token"
        self._log(line)

    def _keep_metrics(self) -> None:
        """Drop incomplete rows, and rows of steps after the checkpoint, which will be repeated."""
        path = self._output / METRICS
        rows = path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []
        steps = [(_step_of(row), row) for row in rows]
        kept = [row for step, row in steps if step is not None and step <= self.progress.step]
        write_text(path, "".join(row + "\n" for row in kept))
