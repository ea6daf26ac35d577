"""Splits and batches of a task: opened with the run's seed, checked, failures named with split, step and example."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fptkit.engine.fraction import SplitFraction
from fptkit.errors import PluginError, ShapeError
from fptkit.interfaces import Batch, Split, Task, check_batch
from fptkit.seeds import derive_seed, seeded
from fptkit.specs.guard import during, owner_of


def open_split(task: Task, name: str, seed: int) -> Split:
    """A split of a task. What the task draws from global generators then follows from the seed.

    Args:
        task: the task.
        name: name of the split.
        seed: the run's seed of data.

    Raises:
        PluginError: ``split`` returns something that is not a split.
    """
    with during(of=task, call="split", split=name), seeded(derive_seed(seed, "split", name)):
        split = task.split(name)
        where = f"{type(task).__name__}, split {name}"
        if not callable(getattr(split, "batch", None)) or not hasattr(split, "token_counts"):
            raise PluginError(
                f"{where}: split({name!r}) returned {_described(split)}, expected a fptkit.Split: an object with size, "
                "token_counts and batch(indices, generator)"
            )
        size = getattr(split, "size", "missing")
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
            raise PluginError(f"{where}: its size is {size!r}, expected a number of examples, or None for no end")
        return split


def open_test_splits(task: Task, seed: int) -> dict[str, Split]:
    """The test splits by name, opened before training, so that a missing or empty one costs no training.

    None of their examples is looked at.

    Args:
        task: the task.
        seed: the run's seed of data.

    Raises:
        PluginError: ``split`` returns something that is not a split.
        ShapeError: a split is empty, or endless although all of it is needed.
    """
    splits = {name: open_split(task, name, seed) for name in task.test_splits}
    for name, split in splits.items():
        where = f"{type(task).__name__}, split {name}"
        with during(of=task, call="split", split=name):
            if split.size == 0:
                raise ShapeError(f"{where}: it holds no example")
            if split.size is None and task.sampled_evaluation is None:
                raise ShapeError(f"{where}: split is endless; it cannot be evaluated in full")
    return splits


def draw_batch(
    task: Task, name: str, split: Split, indices: Sequence[int], generator: torch.Generator, *, step: int | None = None
) -> Batch:
    """A batch of a split, checked against what its task declares.

    Args:
        task: the task.
        name: name of the split, for errors.
        split: the split.
        indices: indices of the examples.
        generator: passed on.
        step: training step, from 0; None outside training.

    Raises:
        ShapeError: it does not match what the task declares.
    """
    where = f"{type(task).__name__}, split {name}" + ("" if step is None else f", step {step}")
    try:
        batch = split.batch(indices, generator)
        check_batch(task, batch, len(indices), where=where)
    except Exception as err:
        with during(of=task, split=name, step=step, example=_example_at_fault(task, split, indices, err)):
            raise
    except BaseException:
        with during(of=task, split=name, step=step):
            raise
    return batch


def _example_at_fault(task: Task, split: Split, indices: Sequence[int], err: Exception) -> int | None:
    """Index of the first example that fails alone, if another does not: then the fault is the example's."""
    if split.size is None or not (owner_of(task) or owner_of(split)):
        return None
    failed, passed = None, False
    for index in indices:
        if passed and failed is not None:
            break
        try:
            check_batch(task, split.batch([index], torch.Generator().manual_seed(0)), 1, where="")
            passed = True
        except type(err):
            failed = index if failed is None else failed
        except Exception:
            return None
    if failed is None or not passed:
        return None
    return int(split.members[failed]) if isinstance(split, SplitFraction) else failed


def _described(thing: object) -> str:
    return "None" if thing is None else f"a {type(thing).__name__}"
