"""One training on arrays in memory: the engine's parts and loop, without files that stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fptkit.api.display import Lines, quiet_libraries
from fptkit.api.estimators.inputs import InputPlan, Prepared
from fptkit.api.training import ONE_AT_A_TIME
from fptkit.engine.events import Event, Validated
from fptkit.engine.loop import Trainer
from fptkit.engine.progress import ended_by
from fptkit.engine.setup import prepare
from fptkit.engine.signals import stop_on_signals
from fptkit.interfaces import Batch, Classes, Task, Values
from fptkit.model import CrossModalModel
from fptkit.numerics.precision import choose_device
from fptkit.options import Options
from fptkit.recipe.load import LoadedRecipe, load_recipe
from fptkit.recipe.models import Component

TASK = "arrays in memory"
"""Name of the task of an estimator, in messages."""


class MemorySplit:
    """A split of examples in memory.

    Args:
        examples: all examples.
        targets: their targets.
        rows: those of the split.
    """

    def __init__(self, examples: Prepared, targets: Tensor, rows: NDArray[np.int64]) -> None:
        self._examples, self._targets, self._rows = examples, targets, torch.from_numpy(rows)
        self.size: int | None = len(rows)
        lengths = examples.lengths
        self.token_counts: NDArray[np.int64] | None = None if lengths is None else lengths.numpy()[rows]

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """See `fptkit.Split.batch`."""
        rows = self._rows[torch.as_tensor(indices)]
        return self._examples.batch(rows, self._targets[rows])


class MemoryTask(Task):
    """Classification or regression of examples in memory. The validation loss chooses the best step.

    Args:
        plan: how the examples were prepared.
        output: kind of the answers.
        splits: ``train`` and ``validation``.
    """

    source = "memory"
    best_metric = "loss"
    test_splits = ()

    def __init__(self, plan: InputPlan, output: Classes | Values, splits: Mapping[str, MemorySplit]) -> None:
        self.input, self.output, self.max_tokens = plan.kind, output, plan.max_tokens
        self.default_encoder = "features" if plan.kind.name == "grid" else ""
        self._splits = splits

    def split(self, name: str) -> MemorySplit:
        """See `fptkit.Task.split`."""
        return self._splits[name]


@dataclass(frozen=True)
class Fitted:
    """A finished training.

    Args:
        model: with the tensors of the best step, in evaluation mode.
        best_step: the step with the best validation loss.
        steps: steps done.
        ended_by: what ended training: ``steps`` or ``patience``.
        history: a row for each validation.
    """

    model: CrossModalModel
    best_step: int
    steps: int
    ended_by: str
    history: list[dict[str, float]]


def load_settings(content: Mapping[str, Any]) -> LoadedRecipe:
    """The checked recipe of an estimator.

    Args:
        content: sections of a recipe, without a task.

    Raises:
        RecipeError: there are faults; the error holds all of them.
    """
    quiet_libraries()
    # The loader needs some task; the task of the arrays takes its place.
    loaded = load_recipe({**content, "task": {"name": "bit_xor"}})
    recipe = loaded.recipe.model_copy(update={"task": Component(name=TASK, options=Options())})
    return LoadedRecipe(recipe, loaded.path, None, loaded.registry)


def fit(loaded: LoadedRecipe, task: MemoryTask, *, verbose: bool) -> Fitted:
    """Train on arrays. torch's global generator is left as it was.

    Args:
        loaded: the recipe, see `load_settings`.
        task: the examples.
        verbose: whether to print a line on stderr for each validation.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM.
        FptkitError: building or training failed.
    """
    history: list[dict[str, float]] = []
    lines = Lines(loaded.recipe.train.max_steps) if verbose else None

    def emit(event: Event) -> None:
        if isinstance(event, Validated):
            history.append({"step": event.step, **event.metrics})
        if lines is not None:
            lines.handle(event)

    with ONE_AT_A_TIME, stop_on_signals() as stop, torch.random.fork_rng():
        prepared = prepare(loaded.recipe, loaded.registry, choose_device(loaded.recipe.device), task=task)
        trainer = Trainer(prepared, None, emit=emit, stop=stop)
        if trainer.fit() == "stopped":
            raise KeyboardInterrupt(f"training was stopped at step {trainer.progress.step}")
        trainer.restore_best()
    prepared.proof.check_unchanged()
    progress = trainer.progress
    end = str(ended_by(prepared.options, progress))
    return Fitted(prepared.built.model.eval(), progress.best_step, progress.step, end, history)


def divide(
    groups: NDArray[np.int64], fraction: float, chance: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of training and validation: of every group the same fraction, rounded down, is for validation.

    If that leaves nothing for validation, both are all rows.

    Args:
        groups: (N,) number of each row's class; zeros without classes.
        fraction: in [0, 1).
        chance: draws the rows.
    """
    validation = [
        chance.permutation(rows)[: int(fraction * len(rows))]
        for group in np.unique(groups)
        for rows in [np.flatnonzero(groups == group)]
    ]
    chosen = np.sort(np.concatenate(validation))
    everything = np.arange(len(groups))
    return (np.setdiff1d(everything, chosen), chosen) if len(chosen) else (everything, everything)


def through(model: CrossModalModel, examples: Prepared, size: int, *, embed: bool) -> NDArray[np.float32]:
    """What the head gives or reads for each example.

    Examples pass in batches of one size, the last filled up, so that an example's result does not depend on how many
    others there are.

    Shapes: (N, K) logits, or (N, D) token vectors.

    Args:
        model: in evaluation mode.
        examples: the examples.
        size: examples of a batch.
        embed: whether to return what the head reads.
    """
    device = next(model.parameters()).device
    found = []
    with torch.inference_mode():
        for start in range(0, len(examples), size):
            rows = torch.arange(start, start + size).clamp(max=len(examples) - 1)
            batch = examples.batch(rows, torch.zeros(size)).to(device)
            hidden, lengths = model.hidden(batch.inputs, batch.lengths)
            read = model.head.read(hidden, lengths)
            result = read[:, 0] if embed else model.head.answer(read)
            found.append(result.float().cpu()[: len(examples) - start])
    joined: NDArray[np.float32] = torch.cat(found).numpy()
    return joined
