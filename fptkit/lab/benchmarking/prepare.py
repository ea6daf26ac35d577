"""A recipe built up to its first training step, by the engine's own parts and without a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from fptkit.build import Built
from fptkit.engine import setup
from fptkit.engine.batches import TrainingBatches, micro_batches
from fptkit.engine.loop import Trainer
from fptkit.engine.memory import MemoryRanOut
from fptkit.engine.signals import StopRequest
from fptkit.errors import TrainingError
from fptkit.interfaces import Batch
from fptkit.numerics.precision import choose_device
from fptkit.recipe.load import LoadedRecipe


@dataclass(frozen=True)
class Prepared:
    """A run before its first step.

    Args:
        built: its parts.
        trainer: takes the steps.
        batches: those the trainer takes.
        accumulate: micro-batches of a step.
    """

    built: Built
    trainer: Trainer
    batches: TrainingBatches
    accumulate: int

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.built.model.parameters()).device

    def step(self, number: int) -> None:
        """Take training step ``number`` as a run does: batch, forward, backward, clipping, optimizer.

        Raises:
            TrainingError: out of memory. A run would continue with smaller micro-batches.
        """
        try:
            self.trainer.step(number, 1.0)
        except MemoryRanOut as err:
            raise TrainingError(
                f"{err}. A run continues with smaller micro-batches; measure that with a higher train.accumulate "
                f"(now {self.accumulate})"
            ) from None

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """The micro-batches of a batch, on the device."""
        for part in micro_batches(batch, self.accumulate):
            yield part.to(self.device)


def prepare(loaded: LoadedRecipe) -> Prepared:
    """Build what a run builds before it trains.

    Raises:
        FptkitError: building failed, or the task gives batches that are not as it declares.
    """
    # A step with cached features passes the head alone; what is measured is the model.
    train = loaded.recipe.train.model_copy(update={"feature_cache": "never"})
    recipe = loaded.recipe.model_copy(update={"train": train})
    prepared = setup.prepare(recipe, loaded.registry, choose_device(recipe.device))
    batches, _ = setup.training_batches(recipe, prepared.built.task, prepared.built.task.split("train"))
    # Checkpoints are written between steps: this folder is never made.
    trainer = Trainer(prepared, Path("none"), emit=lambda event: None, stop=StopRequest())
    prepared.built.model.train()
    return Prepared(prepared.built, trainer, batches, train.accumulate)
