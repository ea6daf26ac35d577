"""A recipe built up to its first training step, by the engine's own parts and without a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fptkit.build import Built, build, check_encoder_width
from fptkit.engine.accelerator import make_accelerator
from fptkit.engine.batches import TrainingBatches, parts_of
from fptkit.engine.fraction import training_share
from fptkit.engine.loop import Trainer
from fptkit.engine.memory import MemoryRanOut
from fptkit.engine.signals import StopRequest
from fptkit.errors import TrainingError
from fptkit.freezing import FreezeProof
from fptkit.interfaces import Batch, Split, Task
from fptkit.numerics.precision import choose_device
from fptkit.recipe.load import LoadedRecipe
from fptkit.recipe.models import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Prepared:
    """A run before its first step.

    Args:
        built: its parts.
        trainer: takes the steps.
        batches: those the trainer takes.
        accelerator: the one the trainer runs backward with.
        accumulate: parts of a step's batch.
    """

    built: Built
    trainer: Trainer
    batches: TrainingBatches
    accelerator: Accelerator
    accumulate: int

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.accelerator.device
        return device

    def step(self, number: int) -> None:
        """Take training step ``number`` as a run does: batch, forward, backward, clipping, optimiser.

        Raises:
            TrainingError: memory does not suffice. A run would cut its batches finer and go on.
        """
        try:
            self.trainer.step(number, 1.0)
        except MemoryRanOut as err:
            raise TrainingError(
                f"{err}. A run goes on with smaller parts of a batch; measure that with a higher train.accumulate "
                f"(now {self.accumulate})"
            ) from None

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """The parts of a batch that go through the model one after the other, on the device."""
        for part in parts_of(batch, self.accumulate):
            yield part.to(self.device)


def training_batches(recipe: Recipe, task: Task) -> tuple[TrainingBatches, Split]:
    """The training batches of a run, and the share of the training split that they are cut from.

    Raises:
        FptkitError: the split is empty, or does not fit the recipe's ``train`` section.
    """
    train = recipe.train
    share = training_share(task, task.split("train"), train.data_fraction, train.seed, recipe.task.options)
    return TrainingBatches(task, share, train.batch_size, train.seed, batch_tokens=train.batch_tokens), share


def prepare(loaded: LoadedRecipe) -> Prepared:
    """Build what a run builds before it trains.

    Raises:
        FptkitError: building failed, or the task gives batches that are not as it declares.
    """
    recipe = loaded.recipe
    device = choose_device(recipe.device)
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    accelerator = make_accelerator(device)
    train = recipe.train
    built = build(recipe, loaded.registry, accelerator.device)
    batches, share = training_batches(recipe, built.task)
    check_encoder_width(built, parts_of(batches.batch(0), train.accumulate)[0].to(accelerator.device))
    trainer = Trainer(
        built,
        train,
        train=share,
        validation=built.task.split("validation"),
        accelerator=accelerator,
        checkpoints=Path("none"),  # nothing is saved: that happens between steps
        proof=FreezeProof(built.model),
        frozen={},
        emit=lambda event: None,
        stop=StopRequest(),
    )
    built.model.train()
    return Prepared(built, trainer, batches, accelerator, train.accumulate)
