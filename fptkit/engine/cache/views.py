"""Model, task and splits as the training loop sees them if features are cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fptkit.engine.batches import rows_of
from fptkit.engine.build import Built
from fptkit.engine.cache.store import FeatureStore, Rows, cache_folder
from fptkit.engine.fraction import skips
from fptkit.engine.memory import Pieces
from fptkit.interfaces import Batch, GivenMetrics, Inputs, Split, Task, Vectors
from fptkit.model import CrossModalModel
from fptkit.seeds import generator_for

CHECKED_EXAMPLES = 2
"""Number of examples for which cached features are compared with features computed now."""

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "int8": 0.1, "int8_storage": 0.1}
"""Largest difference allowed, as a fraction of their root mean square: rounding depends on the size of a batch."""


class ModelOnFeatures(CrossModalModel):
    """A model that takes features as its inputs: only the layers of the head run.

    Args:
        whole: the complete model; parameters are shared with it.
    """

    def __init__(self, whole: CrossModalModel) -> None:
        super().__init__(
            whole.encoder,
            whole.backbone,
            whole.head,
            mixed=whole.mixed,
            shuffle_seed=whole.shuffle_seed,
            front=whole.front,
        )

    def forward(self, inputs: Inputs, lengths: Tensor | None = None) -> Tensor:
        """Shapes: inputs (B, R, D) -> logits."""
        features: Tensor = inputs
        return self.head.answer(features)


class TaskOnFeatures(Task):
    """A task with features as its inputs; output, loss, metrics and protocol do not change.

    Args:
        task: the task.
        tokens: R, feature vectors per example.
        width: D.
    """

    def __init__(self, task: Task, tokens: int, width: int) -> None:
        for name in Task.__annotations__:
            setattr(self, name, getattr(task, name))
        self.input, self.max_tokens = Vectors(width), tokens
        self._task = task
        if "loss" in vars(task):  # that of the recipe, which needs predictions and targets only
            vars(self)["loss"] = vars(task)["loss"]

    def skips(self, split: Split, indices: Sequence[int]) -> bool:
        """See `Task.skips`."""
        return skips(self._task, split.whole if isinstance(split, CachedSplit) else split, indices)

    def selection(self) -> tuple[str, bool]:
        """See `Task.selection`."""
        return self._task.selection()

    def metrics(self) -> GivenMetrics:
        """See `Task.metrics`."""
        return self._task.metrics()


@dataclass(frozen=True)
class ReadSplit:
    """What is known about a split after reading it once.

    Args:
        order: (N,) indices of the examples in the order of the file, the longest first.
        ends: number of examples after each batch.
        targets: of all examples, in that order.
        digest: of all inputs, in that order.
    """

    order: np.ndarray
    ends: list[int]
    targets: Tensor
    digest: str


class CachedSplit:
    """A split with features from a file as its inputs."""

    def __init__(
        self,
        built: Built,
        name: str,
        whole: Split,
        read: ReadSplit,
        shape: tuple[int, int],
        identity: Mapping[str, str],
    ) -> None:
        self.whole = whole
        self.order = read.order
        self.size: int | None = whole.size
        self.token_counts = whole.token_counts  # the same examples form the same batches as without a cache
        self._built, self._name, self._ends, self._targets = built, name, read.ends, read.targets
        self._row_of = np.argsort(read.order)
        key = json.dumps({**identity, "inputs": read.digest}, sort_keys=True)
        folder = cache_folder() / hashlib.sha256(key.encode()).hexdigest()[:32]
        self.store = FeatureStore(folder, (len(read.order), *shape), read.ends)
        self._features: Rows | None = None
        self._pieces = Pieces()

    def read(self, stop_requested: Callable[[], bool], computed: Callable[[int], None]) -> bool:
        """Read or compute the features; see `FeatureStore.read`."""
        if self._features is None:
            self._features = self.store.read(
                self._compute, self._is_right, stop_requested=stop_requested, computed=computed
            )
        return self._features is not None

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """See `fptkit.Split.batch`. Shapes: inputs (B, R, D)."""
        assert self._features is not None, "features are read before they are computed"
        rows = self._row_of[np.asarray(indices, np.int64)]
        return Batch(torch.from_numpy(self._features[rows]), self._targets[torch.from_numpy(rows)])

    def _compute(self, number: int, count: int | None = None) -> Rows:
        """Features of a batch, or of its first examples."""
        start = self._ends[number - 1] if number else 0
        indices = self.order[start : self._ends[number]].tolist()
        batch = self.whole.batch(indices, generator_for(0, "features", number))
        return features_of(self._built.model, rows_of(batch, slice(count)), self._pieces)

    def _is_right(self, rows: Rows) -> bool:
        """Whether the first rows are the features of the first examples, up to rounding."""
        count = min(CHECKED_EXAMPLES, len(rows), self._ends[0])
        now, kept = self._compute(0, count), rows[:count]
        size = float(np.sqrt(np.mean(np.square(now, dtype=np.float64))))
        return bool(np.abs(now - kept).max() <= TOLERANCE[self._built.precision] * size)


@torch.no_grad()
def features_of(model: CrossModalModel, batch: Batch, pieces: Pieces) -> Rows:
    """The inputs of the head's layers for a batch, padding included.

    Shapes: -> (B, R, D) float32, on the CPU.
    """
    batch = batch.to(next(model.parameters()).device)
    was_training = model.training
    model.eval()
    try:
        read = pieces.through(lambda piece: model.head.read(*model.hidden(piece.inputs, piece.lengths)), batch)
        rows: Rows = read.cpu().numpy()
        return rows
    finally:
        model.train(was_training)
