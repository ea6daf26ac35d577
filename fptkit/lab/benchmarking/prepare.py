"""Prepares a recipe for its first training step with the engine's own code, without a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from fptkit.engine import setup
from fptkit.engine.batches import TrainingBatches, micro_batches
from fptkit.engine.build import Built
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
        built: task, model and the other components.
        trainer: does the steps.
        batches: the batches of the trainer.
        accumulate: micro-batches per step (gradient accumulation).
    """

    built: Built
    trainer: Trainer
    batches: TrainingBatches
    accumulate: int

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(self.built.model.parameters()).device

    def step(self, number: int) -> None:
        """Do training step ``number`` as a run does: batch, forward, backward, clipping, optimizer.

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
    """Build everything that a run builds before it trains.

    Args:
        loaded: the recipe.

    Raises:
        FptkitError: building failed, or the task's batches do not match its declaration.
    """
    # With cached features a step would run only the head, but the model is to be measured.
    train = loaded.recipe.train.model_copy(update={"feature_cache": "never"})
    recipe = loaded.recipe.model_copy(update={"train": train})
    prepared = setup.prepare(recipe, loaded.registry, choose_device(recipe.device))
    batches, _ = setup.training_batches(recipe, prepared.built.task, prepared.built.task.split("train"))
    # Checkpoints are written between steps, so this folder is never created.
    trainer = Trainer(prepared, Path("none"), emit=lambda event: None, stop=StopRequest())
    prepared.built.model.train()
    return Prepared(prepared.built, trainer, batches, train.accumulate)
