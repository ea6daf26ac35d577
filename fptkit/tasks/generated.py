"""Tasks with generated examples: endless training data, fixed validation and test splits from seeds of their own.

Under the protocol ``fpt2021`` validation and test are endless too: each evaluation generates new batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fptkit.errors import UnknownNameError
from fptkit.interfaces import Batch, SampledEvaluation, Task
from fptkit.options import Options
from fptkit.seeds import generator_for


class ArraySplit:
    """A split held in memory.

    Args:
        inputs: (N, T, F) vectors or (N, T) symbols of any dtype; a batch converts them to float32 or int64.
        targets: (N, ...) targets.
        vectors: true if tokens are vectors, false if they are symbols.

    Example:
        >>> import fptkit, torch
        >>> split = fptkit.ArraySplit(torch.rand(10, 4, 2), torch.arange(10) % 2, vectors=True)
        >>> batch = split.batch([0, 3], torch.Generator())
        >>> tuple(batch.inputs.shape), batch.targets.tolist()
        ((2, 4, 2), [0, 1])
    """

    token_counts: np.ndarray | None = None

    def __init__(self, inputs: Tensor, targets: Tensor, *, vectors: bool) -> None:
        self.size: int | None = len(targets)
        self._inputs, self._targets = inputs, targets
        self._dtype = torch.float32 if vectors else torch.int64

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """See `fptkit.Split.batch`."""
        rows = torch.as_tensor(indices)
        targets = self._targets[rows]
        return Batch(self._inputs[rows].to(self._dtype), targets if targets.is_floating_point() else targets.long())


class EndlessSplit:
    """An endless split: every batch has new examples. ``size`` is None."""

    size: int | None = None
    token_counts: np.ndarray | None = None

    def __init__(self, task: GeneratedTask) -> None:
        self._task = task

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """See `fptkit.Split.batch`."""
        inputs, targets = self._task.draw(len(indices), generator)
        return Batch(inputs, targets)


class GeneratedTask(Task):
    """Base class of tasks that generate examples. Subclasses set ``input``, ``output``, ``max_tokens`` and `draw`.

    Args:
        options: recipe options of the subclass; not used here.
        seed: the run's seed; not used, so that runs with different seeds share validation and test.
        pinned: not used, since a generated task has one source.
        validation_size: examples of the validation split.
        test_size: examples of the test split.
        protocol: ``clean``, or ``fpt2021``: every evaluation generates 25 new batches, and the two sizes are ignored
            (fault D6; kzl/universal-computation, trainer.py); float32 unless the recipe names a precision (D21).

    Example:
        >>> import fptkit, torch
        >>> class Parity(fptkit.GeneratedTask):
        ...     input, output, max_tokens = fptkit.Vectors(1), fptkit.Classes(2), 5
        ...     def draw(self, count, generator):
        ...         bits = torch.randint(2, (count, 5, 1), generator=generator)
        ...         return bits.float(), bits.sum((1, 2)) % 2
        >>> Parity(fptkit.Options(), seed=0).split("validation").size
        1024
    """

    def __init__(
        self,
        options: Options,
        *,
        seed: int,
        pinned: str | None = None,
        validation_size: int = 1024,
        test_size: int = 1024,
        protocol: str = "clean",
    ) -> None:
        self._sizes = {"validation": validation_size, "test": test_size}
        self.protocol = protocol
        if protocol == "fpt2021":
            self.sampled_evaluation = SampledEvaluation(batches=25)
            self.precision = "float32"
            self.notes = (
                "fpt2021: every evaluation draws 25 new batches (D6); there is no fixed test split; float32 unless the "
                "recipe names a precision (D21)",
            )

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Generate ``count`` examples.

        Shapes: -> inputs (count, T, F) float or (count, T) int64, targets as ``output`` says.

        Args:
            count: number of examples.
            generator: source of all randomness.

        Raises:
            NotImplementedError: the subclass does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement draw")

    def split(self, name: str) -> EndlessSplit | ArraySplit:
        """See `fptkit.Task.split`.

        Raises:
            UnknownNameError: the task has no split of this name.
        """
        if name not in ("train", *self._sizes):
            raise UnknownNameError(f"split of task {type(self).__name__}", name, ("train", *self._sizes))
        if name == "train" or self.protocol == "fpt2021":
            return EndlessSplit(self)
        inputs, targets = self.draw(self._sizes[name], generator_for(0, type(self).__name__, name))
        vectors = inputs.is_floating_point()
        # Symbols and bits fit into int8, which takes an eighth of the memory of int64.
        small = inputs.to(torch.int8)
        return ArraySplit(small if torch.equal(small.to(inputs.dtype), inputs) else inputs, targets, vectors=vectors)
