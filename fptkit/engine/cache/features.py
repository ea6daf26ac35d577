"""The feature cache: where nothing before the head trains, each example passes the frozen part once.

What the layers of the head get, (R, D) of each example, is computed before the first step in batches that depend on
neither seed nor step, kept in a file under the digest of all it follows from, and read from there by every step and
validation, by a resumed run, and by other runs with the same frozen part, such as those with other learning rates.
Test splits and the sample of the training split are evaluated once: they pass the whole model.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fptkit import __version__
from fptkit.build import Built
from fptkit.engine.batches import rows_of
from fptkit.engine.cache.chance import random_features
from fptkit.engine.cache.store import FeatureStore, Rows, cache_folder
from fptkit.engine.code_version import code_version
from fptkit.engine.fraction import skips
from fptkit.engine.memory import Pieces
from fptkit.errors import ShapeError
from fptkit.freezing.proof import digest_tensors
from fptkit.interfaces import Batch, GivenMetrics, Inputs, Split, Task, Vectors, check_batch
from fptkit.model import CrossModalModel
from fptkit.options import Options, deciding
from fptkit.recipe.models import Recipe, TrainOptions
from fptkit.seeds import generator_for

CHECKED_EXAMPLES = 2
"""Examples whose kept features are held against features computed now."""

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "int8": 0.1}
"""How far those may lie apart, as a share of their root mean square: rounding differs with the number of examples."""


class _Off(Exception):
    """Why features are not kept."""


class FeatureCache:
    """What the training loop shall work with, and the computing of features before its first step.

    Attributes:
        built: the parts with the head alone as the model and features as the task's input; or as they were.
        training: training split, of features or as it was.
        validation: validation split, likewise.
        notes: lines for the run's header.
    """

    def __init__(
        self,
        built: Built,
        training: Split,
        validation: Split,
        *,
        notes: Sequence[str] = (),
        kept: Sequence[_KeptSplit] = (),
    ) -> None:
        self.built, self.training, self.validation = built, training, validation
        self.notes = tuple(notes)
        self._kept = tuple(kept)

    def fill(self, stop_requested: Callable[[], bool], told: Callable[[int, int], None]) -> bool:
        """Compute the features that are not there.

        Args:
            stop_requested: asked between batches.
            told: called after each batch with the examples that are there, and those there will be.

        Returns:
            False when it was asked to stop; the next call goes on from there.

        Raises:
            OSError: the cache folder cannot be written.
        """
        total, before = sum(len(split.order) for split in self._kept), 0
        for split in self._kept:
            start = before
            if not split.read(stop_requested, lambda done, start=start: told(start + done, total)):  # type: ignore[misc]
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
    """Find out whether features can be kept so that nothing but rounding changes.

    Args:
        built: the parts of the run.
        recipe: what they were built from.
        options: its ``train`` section, with the last step in ``max_steps``.
        frozen_digest: of the frozen parameters.
        training: training split, or the share of it that is used.
        validation: validation split.
        processes: that train together.

    Returns:
        The parts for the training loop; as they were where something before the head trains, or the recipe says
        ``never``. Where something else stands in the way, too, with a note that names it.
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
        identity = _identity(built, recipe, options, frozen_digest)
        kept = {name: _KeptSplit(built, name, splits[name], one, shape, identity) for name, one in read.items()}
    except _Off as reason:
        return FeatureCache(built, training, validation, notes=[f"feature cache off: {reason}"])
    mebibytes = sum(split.store.size for split in kept.values()) / 2**20
    note = (
        f"feature cache: {len(read['train'].order):,} training and {len(read['validation'].order):,} validation "
        f"examples pass the frozen part once, before the first step ({mebibytes:,.1f} MiB in the cache folder)"
    )
    view = replace(built, task=TaskOnFeatures(built.task, *shape), model=ModelOnFeatures(built.model))
    return FeatureCache(view, kept["train"], kept["validation"], notes=[note], kept=list(kept.values()))


class ModelOnFeatures(CrossModalModel):
    """The whole model, whose parameters it shares, given what its head's layers get.

    Args:
        whole: the model.
    """

    def __init__(self, whole: CrossModalModel) -> None:
        super().__init__(whole.encoder, whole.backbone, whole.head, mixed=whole.mixed, shuffle_seed=whole.shuffle_seed)

    def forward(self, inputs: Inputs, lengths: Tensor | None = None) -> Tensor:
        """Shapes: inputs (B, R, D) -> logits."""
        features: Tensor = inputs
        return self.head.answer(features)


class TaskOnFeatures(Task):
    """A task whose inputs are features; answer, loss, metrics and protocol are those of the task itself.

    Args:
        task: the task.
        tokens: R.
        width: D.
    """

    def __init__(self, task: Task, tokens: int, width: int) -> None:
        for name in Task.__annotations__:
            setattr(self, name, getattr(task, name))
        self.input, self.max_tokens = Vectors(width), tokens
        self._task = task

    def skips(self, split: Split, indices: Sequence[int]) -> bool:
        """See `Task.skips`."""
        return skips(self._task, split.whole if isinstance(split, _KeptSplit) else split, indices)

    def selection(self) -> tuple[str, bool]:
        """See `Task.selection`."""
        return self._task.selection()

    def metrics(self) -> GivenMetrics:
        """See `Task.metrics`."""
        return self._task.metrics()


@dataclass(frozen=True)
class _Read:
    """What reading a split once shows.

    Args:
        order: (N,) examples in the order of the file, the longest first.
        ends: how many examples are read after each batch.
        targets: of all examples, in that order.
        digest: of all inputs, in that order.
    """

    order: np.ndarray
    ends: list[int]
    targets: Tensor
    digest: str


class _KeptSplit:
    """A split whose inputs are features from a file."""

    def __init__(
        self, built: Built, name: str, whole: Split, read: _Read, shape: tuple[int, int], identity: Mapping[str, str]
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
        """Compute or find the features; see `FeatureStore.read`."""
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
        return _features_of(self._built.model, rows_of(batch, slice(count)), self._pieces)

    def _is_right(self, rows: Rows) -> bool:
        """Whether the first rows are the features of the first examples, but for rounding."""
        count = min(CHECKED_EXAMPLES, len(rows), self._ends[0])
        now, kept = self._compute(0, count), rows[:count]
        size = float(np.sqrt(np.mean(np.square(now, dtype=np.float64))))
        return bool(np.abs(now - kept).max() <= TOLERANCE[self._built.precision] * size)


def _trains_before_head(model: CrossModalModel) -> bool:
    before = itertools.chain(model.encoder.parameters(), model.backbone.parameters())
    return any(parameter.requires_grad for parameter in before)


def _check_settings(built: Built, options: TrainOptions, splits: Mapping[str, Split], processes: int) -> None:
    """Raise `_Off` where the run cannot, or need not, keep features, as its settings tell."""
    if processes > 1:
        raise _Off(f"it serves one process, and {processes} train together")
    if options.max_seconds is not None:
        raise _Off("train.max_seconds counts what it would save")
    if type(built.task).loss is not Task.loss:
        raise _Off(f"the loss of {type(built.task).__name__} is its own and may look at the inputs")
    for name, split in splits.items():
        if split.size is None:
            raise _Off(f"the examples of the {name} split are drawn anew for each batch, without end")
    without, whole = _passes(built.task, options, splits), sum(split.size or 0 for split in splits.values())
    if without < whole:
        raise _Off(
            f"it pays from {whole:,} passes of an example through the frozen part on; this run makes {without:,} at "
            "most"
        )


def _passes(task: Task, options: TrainOptions, splits: Mapping[str, Split]) -> int:
    """Examples that pass the model in training and validation without a cache, where nothing ends the run early."""
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
    """Raise `_Off` where features would take more than they may, or cannot be written."""
    gibibytes = needed / 2**30
    if gibibytes > options.feature_cache_gib:
        raise _Off(
            f"features would take {gibibytes:.3g} GiB, and train.feature_cache_gib is {options.feature_cache_gib:g}"
        )
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as err:
        raise _Off(f"the cache folder cannot be used: {err}; choose another with $FPTKIT_CACHE") from err
    if needed > free:
        raise _Off(f"features would take {gibibytes:.3g} GiB, and the cache folder has {free / 2**30:.3g} GiB left")


def _first_batch(built: Built, split: Split, options: TrainOptions) -> Batch:
    """A few examples of a split."""
    indices = range(min(CHECKED_EXAMPLES, options.batch_size, split.size or 0))
    return split.batch(indices, generator_for(0, "features", "first"))


def _read_all(task: Task, name: str, split: Split, options: TrainOptions) -> _Read:
    """Read a split once, in the batches and the order in which a validation takes it.

    Raises:
        _Off: chance is in it, or an example depends on those it is batched with.
        ShapeError: a batch is not as the task declares.
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
        batch = split.batch(indices.tolist(), generator)
        if not torch.equal(before, generator.get_state()):
            raise _Off(f"the examples of the {name} split are changed at random (augmentation)")
        check_batch(task, batch, len(indices), where=where)
        parts = list(batch.tensors().items())
        if batch.lengths is None:
            tokens.add(task.input.padded(batch.inputs).shape[1])
            mixed = len(tokens) > 1 if counts is None else counts[indices[0]] != counts[indices[-1]]
            if mixed:
                raise _Off(f"an example of the {name} split depends on the longest of its batch")
        else:
            parts.append(("lengths", batch.lengths))
        digest.update(digest_tensors(parts).encode())
        ends.append(start + len(indices))
        targets.append(batch.targets)
    return _Read(order, ends, torch.cat(targets), digest.hexdigest())


def _identity(built: Built, recipe: Recipe, options: TrainOptions, frozen_digest: str) -> dict[str, str]:
    """What features follow from besides the examples."""
    model = built.model
    device = next(model.parameters()).device
    modules = itertools.chain(model.encoder.modules(), model.backbone.modules())
    return {
        "frozen": frozen_digest,
        "buffers": digest_tensors(
            (name, tensor) for name, tensor in model.state_dict().items() if not name.startswith("head.")
        ),
        "encoder": f"{built.encoder_name} {_content(recipe.encoder.options) if recipe.encoder else ''}",
        "backbone": f"{recipe.backbone.name} {_content(recipe.backbone.options)}",
        "freezing": f"{recipe.freezing.name} {_content(recipe.freezing.options)}",
        "read-out": f"{built.readout} {model.head.output.tokens}",
        "precision": built.precision,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": str(torch.get_num_threads()),
        "batch": str(options.evaluation_batch_size),
        "versions": f"fptkit {__version__} {code_version()}, torch {torch.__version__}",
        "sources": _sources(modules),
    }


def _content(options: Options) -> str:
    return json.dumps(deciding(options), sort_keys=True)


def _sources(modules: Iterator[nn.Module]) -> str:
    """A digest of the files that define the modules, those of plugins among them."""
    digests = set()
    for kind in {type(module) for module in modules}:
        try:
            file = inspect.getsourcefile(kind)
        except TypeError:  # defined in no file
            file = None
        if file and Path(file).is_file():
            digests.add(hashlib.sha256(Path(file).read_bytes()).hexdigest())
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _shape_of_one(model: CrossModalModel, batch: Batch) -> tuple[int, int]:
    """(R, D) of an example's features."""
    tokens, width = _features_of(model, batch, Pieces()).shape[1:]
    return tokens, width


@torch.no_grad()
def _features_of(model: CrossModalModel, batch: Batch, pieces: Pieces) -> Rows:
    """What the layers of the head get of a batch, with its padding.

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
