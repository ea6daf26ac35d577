"""Which examples form which batch. Every batch is a function of seed and step, so a resumed run sees the same ones."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar, overload

import numpy as np

from fptkit.engine.fraction import skips
from fptkit.engine.opening import draw_batch
from fptkit.errors import ShapeError
from fptkit.interfaces import Batch, Inputs, Split, Task
from fptkit.recipe.models import TrainOptions
from fptkit.seeds import derive_seed, generator_for

Thing = TypeVar("Thing")

POOL_BATCHES = 50
"""Batches are cut from pools of this many, sorted by length: large enough to waste little padding, small enough that
the batches of two epochs differ."""


class BatchSource(Protocol):
    """Makes the batches of a run in place of a task's splits."""

    def batch(self, step: int) -> Batch:
        """The training batch of a step (from 0), on the CPU; the same whenever it is asked for."""
        ...

    def validation(self) -> Iterable[Batch]:
        """The validation batches, on the CPU; the same at every step."""
        ...


class TrainingBatches:
    """Training batches by step number, each checked against what the task declares.

    Args:
        task: the task.
        split: its training split.
        batch_size: examples of a batch; the last one of an epoch may be smaller, unless the task's protocol leaves it
            out (``Task.complete_batches``). With ``batch_tokens``, the largest number.
        seed: decides order and examples of the batches.
        batch_tokens: largest number of tokens of a batch, padding included, or None for no limit. With a limit, as
            with skipped batches, epochs differ in their number of batches.

    Raises:
        ShapeError: the split is empty; or the protocol leaves out incomplete batches and there is no other; or
            ``batch_tokens`` is given and its examples do not differ in length, or the longest one alone is above it.
    """

    def __init__(
        self, task: Task, split: Split, batch_size: int, seed: int, *, batch_tokens: int | None = None
    ) -> None:
        where = f"{type(task).__name__}, split train"
        if split.size == 0:
            raise ShapeError(f"{where}: it holds no example")
        if batch_tokens is not None:
            _check_budget(split, batch_tokens, where)
        elif task.complete_batches:
            _check_complete_batch(task, split, batch_size, where)
        self._task, self._split, self._batch_size, self._seed = task, split, batch_size, seed
        self._batch_tokens = batch_tokens
        self._epoch = -1
        self._order: list[np.ndarray] = []
        self._first_steps = [0]  # of the epochs, as far as they were needed; read if they differ

    def batch(self, step: int) -> Batch:
        """The batch of a step (from 0), on the CPU.

        Raises:
            ShapeError: it does not match what the task declares.
        """
        indices: Sequence[int] = range(self._batch_size)
        if self._split.size is not None:
            epoch, position = self._place(step, self._split.size)
            indices = self._order_of(epoch)[position].tolist()
        return draw_batch(
            self._task, "train", self._split, indices, generator_for(self._seed, "batch", step), step=step
        )

    def step_cost(self) -> float:
        """Average cost of a step of the first epoch, as a multiple of the cost of step 0; 1 for an endless split.

        In tokens with padding if the examples differ in length, else in examples.
        """
        if self._split.size is None:
            return 1.0
        counts, order = self._split.token_counts, self._order_of(0)
        costs = [len(batch) * (1 if counts is None else int(counts[batch].max())) for batch in order]
        return float(np.mean(costs)) / costs[0]

    def _place(self, step: int, size: int) -> tuple[int, int]:
        """Epoch of a step, and which of its batches; ``size`` is the split's."""
        if self._batch_tokens is None and type(self._task).skips is Task.skips:  # all epochs have as many batches
            whole, incomplete = divmod(size, self._batch_size)
            return divmod(step, whole + (incomplete > 0 and not self._task.complete_batches))
        while step >= self._first_steps[-1]:
            epoch = len(self._first_steps) - 1
            self._first_steps.append(self._first_steps[-1] + len(self._order_of(epoch)))
        epoch = bisect.bisect_right(self._first_steps, step) - 1
        return epoch, step - self._first_steps[epoch]

    def _order_of(self, epoch: int) -> list[np.ndarray]:
        """`_epoch_order`, made once for the epoch in progress."""
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._epoch_order(epoch)
        return self._order

    def _epoch_order(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch, without those the task's protocol skips."""
        chance = np.random.Generator(np.random.PCG64(derive_seed(self._seed, "order", epoch)))
        if self._batch_tokens is None:
            batches = _shuffled_batches(self._split, self._batch_size, chance)
            if self._task.complete_batches:
                batches = [batch for batch in batches if len(batch) == self._batch_size]
        else:
            batches = _budgeted_batches(self._split, self._batch_size, self._batch_tokens, chance)
        usable = [batch for batch in batches if not skips(self._task, self._split, batch.tolist())]
        if not usable:
            raise ShapeError(
                f"{type(self._task).__name__}, split train: the protocol {self._task.protocol} skips every batch"
            )
        return usable


def micro_batches(batch: Batch, count: int) -> list[Batch]:
    """Split a batch into ``count`` micro-batches, in order, whose sizes differ by at most one; fewer if it is smaller.

    Padding is kept, so that the micro-batches hold the same numbers as the batch.
    """
    count = min(count, len(batch))
    if count == 1:
        return [batch]
    ends = [len(batch) * number // count for number in range(count + 1)]
    return [rows_of(batch, slice(start, end)) for start, end in itertools.pairwise(ends)]


def part_of_process(batch: Batch, rank: int, count: int) -> Batch | None:
    """The part of a batch that one of ``count`` processes takes; None if there are fewer examples than processes."""
    parts = micro_batches(batch, count)
    return parts[rank] if rank < len(parts) else None


def most_micro_batches(size: int, count: int, accumulate: int) -> int:
    """Micro-batches of the largest part that one of ``count`` processes takes of a batch of ``size`` examples.

    Args:
        size: examples of the batch.
        count: processes.
        accumulate: micro-batches asked for.
    """
    return min(accumulate, -(-size // min(count, size)))


def rows_of(batch: Batch, rows: slice) -> Batch:
    """Some examples of a batch, with the same padding."""
    if isinstance(batch.inputs, Mapping):
        inputs: Inputs = {name: part[rows] for name, part in batch.inputs.items()}
    else:
        inputs = batch.inputs[rows]
    lengths = None if batch.lengths is None else batch.lengths[rows]
    numbers = None if batch.rows is None else batch.rows[rows]
    return replace(batch, inputs=inputs, targets=batch.targets[rows], lengths=lengths, rows=numbers)


@overload
def evaluation_batches(
    task: Task, name: str, split: Split, options: TrainOptions, step: int
) -> Iterator[Batch]: ...  # of one process
@overload
def evaluation_batches(
    task: Task, name: str, split: Split, options: TrainOptions, step: int, *, rank: int, count: int
) -> Iterator[Batch | None]: ...
def evaluation_batches(
    task: Task, name: str, split: Split, options: TrainOptions, step: int, *, rank: int = 0, count: int = 1
) -> Iterator[Batch | None]:
    """The batches of one evaluation: the complete split, or a sample if the task's protocol prescribes one.

    Args:
        task: the task; every batch is checked against what it declares.
        name: of the split, for errors.
        split: the split.
        options: batch sizes, and the seed of a sample.
        step: training step of the evaluation; a sample differs from step to step.
        rank: of this process. Of every ``count`` batches, each process makes one.
        count: number of processes. All get the same number of items; the last one is None if there is no batch left.

    Raises:
        ShapeError: the split is empty, endless although all of it is needed, or too small for one batch of a sample, or
            a batch does not match what the task declares.
    """
    if task.sampled_evaluation is None:
        return whole_split(task, name, split, options.evaluation_batch_size, rank=rank, count=count)
    return _sample_of(task, name, split, options, step, rank=rank, count=count)


def _turns(things: Iterable[Thing], rank: int, count: int) -> Iterator[tuple[int, Thing] | None]:
    """Of ``count`` things in a row the one of process ``rank``, with its number; None if the last row has none."""
    numbered = enumerate(things)
    while row := list(itertools.islice(numbered, count)):
        yield row[rank] if rank < len(row) else None


def _sample_of(
    task: Task, name: str, split: Split, options: TrainOptions, step: int, *, rank: int, count: int
) -> Iterator[Batch | None]:
    """Batches in random order, as many as the task's protocol says; see `evaluation_batches`."""
    sample = task.sampled_evaluation
    assert sample is not None
    where = f"{type(task).__name__}, split {name}"
    size = sample.size_factor * options.batch_size
    # Batches that continue are those of one endless row, of which each evaluation takes the next ones.
    before = sample.batches * _evaluations_before(step, options) if sample.continued else 0
    seed = derive_seed(options.seed_of("order"), "sampled evaluation", name, *([] if sample.continued else [step]))
    row = _endless_batches(task, split, size, seed, where)
    chosen = itertools.islice(row, before, before + sample.batches)
    for turn in _turns(chosen, rank, count):
        if turn is None:
            yield None
            continue
        number, indices = turn
        batch = draw_batch(task, name, split, indices, generator_for(seed, "batch", before + number))
        yield batch if split.size is None else replace(batch, rows=tuple(indices))


def _evaluations_before(step: int, options: TrainOptions) -> int:
    """How many evaluations a run makes before that of ``step``: one every ``validate_every`` steps, one at the end."""
    return max(0, -(-step // options.validate_every) - 1)


def _endless_batches(task: Task, split: Split, size: int, seed: int, where: str) -> Iterator[Sequence[int]]:
    """Indices of endless batches: round after round through the split, each in a new order."""
    if split.size is None:
        yield from itertools.repeat(range(size))
        return
    assert task.sampled_evaluation is not None
    incomplete = task.sampled_evaluation.incomplete and split.size > 0
    if not incomplete:
        _check_complete_batch(task, split, size, where)
    for round_number in itertools.count():
        chance = np.random.Generator(np.random.PCG64(derive_seed(seed, "order", round_number)))
        usable = [
            batch.tolist()
            for batch in _shuffled_batches(split, size, chance)
            if (incomplete or len(batch) == size) and not skips(task, split, batch.tolist())
        ]
        if not usable:
            raise ShapeError(f"{where}: the protocol {task.protocol} skips every batch")
        yield from usable


def _shuffled_batches(split: Split, size: int, chance: np.random.Generator) -> list[np.ndarray]:
    """All examples in a new order, grouped by length if lengths differ; the last batch may be smaller."""
    assert split.size is not None
    order = chance.permutation(split.size)
    counts = split.token_counts
    if counts is not None:
        pool = POOL_BATCHES * size
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        order = np.concatenate([members[np.argsort(counts[members], kind="stable")] for members in pools])
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return [batches[position] for position in chance.permutation(len(batches))]


def _check_complete_batch(task: Task, split: Split, size: int, where: str) -> None:
    """Raise for a split of which the protocol can take no complete batch."""
    if split.size is not None and split.size < size:
        fault = f"protocol {task.protocol} needs a batch of {size}, but it holds {split.size} examples"
        raise ShapeError(f"{where}: {fault}; lower train.batch_size, or use protocol clean")


def _check_budget(split: Split, batch_tokens: int, where: str) -> None:
    """Raise for a token budget that has no effect, or that some example exceeds."""
    if split.token_counts is None:
        raise ShapeError(
            f"{where}: its examples do not differ in length, so train.batch_tokens has nothing to group; set it to "
            "null and train.batch_size to the examples of a batch"
        )
    if (longest := int(split.token_counts.max())) > batch_tokens:
        raise ShapeError(
            f"{where}: train.batch_tokens is {batch_tokens:,}, but its longest example alone has {longest:,} tokens"
        )


def _budgeted_batches(
    split: Split, batch_size: int, batch_tokens: int, chance: np.random.Generator
) -> list[np.ndarray]:
    """All examples in a new order, in batches of at most ``batch_tokens`` tokens with padding, in a new order too.

    Each pool of about `POOL_BATCHES` batches is cut from its longest example down, so the length of a batch's first
    example decides its size. Only the last batch of a pool may be smaller.
    """
    counts = split.token_counts
    assert split.size is not None
    assert counts is not None
    order = chance.permutation(split.size)
    usual = min(batch_size, max(1, int(batch_tokens / counts.mean())))
    batches = []
    for pool in range(0, len(order), POOL_BATCHES * usual):
        members = order[pool : pool + POOL_BATCHES * usual]
        members = members[np.argsort(-counts[members], kind="stable")]
        while len(members):
            taken = min(batch_size, batch_tokens // int(counts[members[0]]))
            batches.append(members[:taken])
            members = members[taken:]
    return [batches[position] for position in chance.permutation(len(batches))]


@overload
def whole_split(task: Task, name: str, split: Split, batch_size: int) -> Iterator[Batch]: ...  # of one process
@overload
def whole_split(
    task: Task, name: str, split: Split, batch_size: int, *, rank: int, count: int
) -> Iterator[Batch | None]: ...
def whole_split(
    task: Task, name: str, split: Split, batch_size: int, *, rank: int = 0, count: int = 1
) -> Iterator[Batch | None]:
    """All examples of a split once, the longest first, so that out of memory shows at once.

    Args:
        task: the task; every batch is checked against what it declares.
        name: of the split, for errors.
        split: a split of finite size.
        batch_size: examples of a batch.
        rank: which of the processes this is, see `evaluation_batches`.
        count: processes.

    Raises:
        ShapeError: the split is empty or endless, or a batch does not match what the task declares.
    """
    where = f"{type(task).__name__}, split {name}"
    if not split.size:
        fault = "it holds no example" if split.size == 0 else "split is endless; it cannot be evaluated in full"
        raise ShapeError(f"{where}: {fault}")
    order = np.arange(split.size)
    if split.token_counts is not None:
        order = np.argsort(-split.token_counts, kind="stable")
    for turn in _turns(range(0, split.size, batch_size), rank, count):
        if turn is None:
            yield None
            continue
        _, start = turn
        indices = order[start : start + batch_size].tolist()
        batch = draw_batch(task, name, split, indices, generator_for(0, "evaluation", start))
        yield replace(batch, rows=tuple(indices))


class BatchesAhead:
    """Each process's part of the training batches; on GPUs prepared one step ahead.

    A GPU works asynchronously once a step is launched, so the CPU can make the next batch meanwhile. A batch is a
    function of its step alone, so making it earlier changes nothing.

    Args:
        batches: makes the complete batches.
        rank: of this process.
        count: processes.
        pin: copies a batch to pinned memory, see `fptkit.Batch.pinned`; None: nothing is prepared ahead, since a CPU
            has no idle time.
    """

    def __init__(
        self,
        batches: TrainingBatches | BatchSource,
        *,
        rank: int = 0,
        count: int = 1,
        pin: Callable[[Batch], Batch] | None = None,
    ) -> None:
        self._batches, self._rank, self._count, self._pin = batches, rank, count, pin
        self._ready: tuple[int, Batch | None, int] | None = None

    def take(self, step: int) -> tuple[Batch | None, int]:
        """This process's part of a step's batch, None if it has none, and the number of examples of the batch.

        Raises:
            ShapeError: the batch does not match what the task declares.
        """
        ready, self._ready = self._ready, None
        if ready is not None and ready[0] == step:
            return ready[1:]
        return self._make(step)

    def prepare(self, step: int) -> None:
        """Make a step's batch now, if that saves time: call it after the step before was launched."""
        if self._pin is not None:
            self._ready = (step, *self._make(step))

    def _make(self, step: int) -> tuple[Batch | None, int]:
        batch = self._batches.batch(step)
        own = part_of_process(batch, self._rank, self._count)
        return (own if own is None or self._pin is None else self._pin(own)), len(batch)
