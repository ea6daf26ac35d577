"""The feature cache: if nothing before the head trains, each example passes the frozen part once.

The inputs of the head's layers, (R, D) per example, are computed before the first step, in batches that depend on
neither seed nor step. They are cached in a file named by the digest of everything that decides them. Every step and
validation reads them from there, also in a resumed run and in other runs with the same frozen part, such as those with
other learning rates. Test splits and the sample of the training split are evaluated once, by the complete model.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from fptkit.engine.build import Built
from fptkit.engine.cache.chance import random_features
from fptkit.engine.cache.identity import identity_of
from fptkit.engine.cache.store import cache_folder
from fptkit.engine.cache.views import (
    CHECKED_EXAMPLES,
    CachedSplit,
    ModelOnFeatures,
    ReadSplit,
    TaskOnFeatures,
    features_of,
)
from fptkit.engine.memory import Pieces
from fptkit.engine.opening import draw_batch
from fptkit.errors import ShapeError, UsageError
from fptkit.freezing.proof import digest_tensors
from fptkit.interfaces import Batch, Split, Task, TokenClasses
from fptkit.model import CrossModalModel
from fptkit.recipe.models import Recipe, TrainOptions
from fptkit.seeds import generator_for


class _Off(Exception):
    """Why features are not cached."""


class FeatureCache:
    """The parts and splits for the training loop, with cached features or unchanged.

    Attributes:
        built: the parts; with cached features, the model is the head alone, and features are the task's input.
        training: training split.
        validation: validation split.
        notes: lines for the run header.
    """

    def __init__(
        self,
        built: Built,
        training: Split,
        validation: Split,
        *,
        notes: Sequence[str] = (),
        kept: Sequence[CachedSplit] = (),
    ) -> None:
        self.built, self.training, self.validation = built, training, validation
        self.notes = tuple(notes)
        self._kept = tuple(kept)

    def fill(self, stop_requested: Callable[[], bool], report: Callable[[int, int], None]) -> bool:
        """Compute the missing features.

        Args:
            stop_requested: asked between batches.
            report: called after each batch with the number of examples done, and of all examples.

        Returns:
            False if a stop was requested; the next call continues from there.

        Raises:
            OSError: the cache folder cannot be written.
        """
        total, before = sum(len(split.order) for split in self._kept), 0
        for split in self._kept:
            start = before
            if not split.read(stop_requested, lambda done, start=start: report(start + done, total)):  # type: ignore[misc]
                return False
            before += len(split.order)
        return True


def feature_cache(
    built: Built,
    recipe: Recipe,
    options: TrainOptions,
    frozen_digest: str,
    *,
    training: Split,
    validation: Split,
    processes: int = 1,
) -> FeatureCache:
    """Use the feature cache if nothing but rounding changes.

    Args:
        built: the parts of the run.
        recipe: what they were built from.
        options: its ``train`` section, with the last step in ``max_steps``.
        frozen_digest: of the frozen parameters.
        training: training split, or the fraction of it that is used.
        validation: validation split.
        processes: number of processes that train together.

    Returns:
        The parts for the training loop. They are unchanged if something before the head trains or the recipe says
        ``never``; and, with a note that says why, if anything else prevents caching.
    """
    if options.feature_cache == "never" or _trains_before_head(built.model):
        return FeatureCache(built, training, validation)
    splits = {"train": training, "validation": validation}
    try:
        _check_settings(built, options, splits, processes)
        if reason := random_features(built.model, recipe, _first_batch(built, training, options)):
            raise _Off(reason)
        read = {name: _read_all(built.task, name, split, options) for name, split in splits.items()}
        shape = _shape_of_one(built.model, _first_batch(built, training, options))
        _check_room(sum(len(one.order) for one in read.values()) * 4 * shape[0] * shape[1], options)
        identity = identity_of(built, recipe, options, frozen_digest)
        kept = {name: CachedSplit(built, name, splits[name], one, shape, identity) for name, one in read.items()}
    except _Off as reason:
        return FeatureCache(built, training, validation, notes=[f"feature cache off: {reason}"])
    mebibytes = sum(split.store.size for split in kept.values()) / 2**20
    note = (
        f"feature cache: {len(read['train'].order):,} training and {len(read['validation'].order):,} validation "
        f"examples pass the frozen part once, before the first step ({mebibytes:,.1f} MiB in the cache folder)"
    )
    view = replace(built, task=TaskOnFeatures(built.task, *shape), model=ModelOnFeatures(built.model))
    return FeatureCache(view, kept["train"], kept["validation"], notes=[note], kept=list(kept.values()))


def _trains_before_head(model: CrossModalModel) -> bool:
    return any(parameter.requires_grad for name, parameter in model.named_parameters() if not name.startswith("head."))


def _check_settings(built: Built, options: TrainOptions, splits: Mapping[str, Split], processes: int) -> None:
    """Raise `_Off` if the settings of the run prevent caching, or if it does not pay off."""
    if processes > 1:
        raise _Off(f"it works with a single process, and {processes} train together")
    if options.max_seconds is not None:
        raise _Off("it would change how many steps fit into train.max_seconds")
    if isinstance(built.task.output, TokenClasses):
        raise _Off("the head reads every token, and examples differ in their number")
    if type(built.task).loss is not Task.loss:
        raise _Off(f"{type(built.task).__name__} defines its own loss, which may use the inputs")
    for name, split in splits.items():
        if split.size is None:
            raise _Off(f"the {name} split is endless: every batch has new examples")
    without, whole = _passes(built.task, options, splits), sum(split.size or 0 for split in splits.values())
    if without < whole:
        raise _Off(f"caching pays off after {whole:,} forward passes; this run does at most {without:,}")


def _passes(task: Task, options: TrainOptions, splits: Mapping[str, Split]) -> int:
    """Forward passes of single examples in training and validation without a cache, if nothing ends the run early."""
    training, validation = splits["train"], splits["validation"]
    per_step: float = min(options.batch_size, training.size or 0)
    if options.batch_tokens is not None and training.token_counts is not None:
        per_step = min(per_step, max(1.0, options.batch_tokens / float(training.token_counts.mean())))
    per_validation = validation.size or 0
    if sample := task.sampled_evaluation:
        per_validation = sample.batches * sample.size_factor * options.batch_size
    validations = -(-options.max_steps // options.validate_every)
    return int(options.max_steps * per_step) + validations * per_validation


def _check_room(needed: int, options: TrainOptions) -> None:
    """Raise `_Off` if features would exceed the limit or the free space, or cannot be written."""
    gibibytes = needed / 2**30
    if gibibytes > options.feature_cache_gib:
        raise _Off(
            f"features would take {gibibytes:.3g} GiB, but train.feature_cache_gib is {options.feature_cache_gib:g}"
        )
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except (OSError, UsageError) as err:
        raise _Off(f"the cache folder cannot be used: {err}; choose another with $FPTKIT_CACHE") from err
    if needed > free:
        raise _Off(f"features would take {gibibytes:.3g} GiB, but the cache folder has {free / 2**30:.3g} GiB left")


def _first_batch(built: Built, split: Split, options: TrainOptions) -> Batch:
    """A few examples of a split."""
    indices = range(min(CHECKED_EXAMPLES, options.batch_size, split.size or 0))
    return draw_batch(built.task, "train", split, indices, generator_for(0, "features", "first"))


def _read_all(task: Task, name: str, split: Split, options: TrainOptions) -> ReadSplit:
    """Read a split once, in the batches and the order of a validation.

    Raises:
        _Off: it is random, or an example depends on the others in its batch.
        ShapeError: a batch does not match what the task declares.
    """
    where = f"{type(task).__name__}, split {name}"
    if not split.size:
        raise ShapeError(f"{where}: it holds no example")
    counts = split.token_counts
    order = np.arange(split.size) if counts is None else np.argsort(-counts, kind="stable")
    ends, targets, digest, tokens = [], [], hashlib.sha256(), set()
    for number, start in enumerate(range(0, split.size, options.evaluation_batch_size)):
        indices = order[start : start + options.evaluation_batch_size]
        generator = generator_for(0, "features", number)
        before = generator.get_state()
        batch = draw_batch(task, name, split, indices.tolist(), generator)
        if not torch.equal(before, generator.get_state()):
            raise _Off(f"the examples of the {name} split are changed at random (augmentation)")
        parts = list(batch.tensors().items())
        if batch.lengths is None:
            tokens.add(task.input.padded(batch.inputs).shape[1])
            mixed = len(tokens) > 1 if counts is None else counts[indices[0]] != counts[indices[-1]]
            if mixed:
                raise _Off(f"an example of the {name} split depends on the longest one in its batch")
        else:
            parts.append(("lengths", batch.lengths))
        digest.update(digest_tensors(parts).encode())
        ends.append(start + len(indices))
        targets.append(batch.targets)
    return ReadSplit(order, ends, torch.cat(targets), digest.hexdigest())


def _shape_of_one(model: CrossModalModel, batch: Batch) -> tuple[int, int]:
    """(R, D) of an example's features."""
    tokens, width = features_of(model, batch, Pieces()).shape[1:]
    return tokens, width
