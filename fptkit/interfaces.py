"""What the parts of a cross-modal model promise each other.

Shapes use one alphabet: B batch, T tokens, F features of a raw token, D width of the backbone, R tokens read out,
K classes. A batch is padded on the right only, so its lengths say everything about its padding; ``Batch.mask`` is made
from them where something wants a mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fptkit.errors import PluginError, ShapeError

if TYPE_CHECKING:
    import numpy as np
    import torchmetrics


@dataclass(frozen=True)
class Batch:
    """Examples of one task, padded on the right to a common number of tokens.

    Args:
        inputs: (B, T, F) float vectors or (B, T) int64 symbols.
        targets: what the loss compares with; for class outputs int64 of (B,), (B, R) or (B, R, per_token).
        lengths: (B,) int64 number of real tokens of each example, or None when all T are real.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def mask(self) -> Tensor | None:
        """(B, T) bool, true at real tokens; None when every token is real."""
        if self.lengths is None:
            return None
        return torch.arange(self.inputs.shape[1], device=self.inputs.device) < self.lengths[:, None]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on ``device``."""
        return replace(
            self,
            inputs=self.inputs.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
            lengths=None if self.lengths is None else self.lengths.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class Vectors:
    """Input tokens are real-valued vectors.

    Args:
        width: F, numbers per token.
    """

    width: int


@dataclass(frozen=True)
class Symbols:
    """Input tokens are symbols of a finite alphabet.

    Args:
        count: size of the alphabet, the padding symbol included.
        pad: id of the symbol that fills the right of short examples.
    """

    count: int
    pad: int = 0


@dataclass(frozen=True)
class Classes:
    """The answer is one class, at one token or at several, once or several times per token.

    Args:
        count: K, number of classes.
        tokens: R, tokens read out. 1: targets are (B,). More: the last R real tokens, targets (B, R).
        per_token: answers given at each read-out token; above 1, targets are (B, R, per_token).

    Raises:
        ShapeError: fewer than two classes, or no token or answer.
    """

    count: int
    tokens: int = 1
    per_token: int = 1

    def __post_init__(self) -> None:
        if self.count < 2 or self.tokens < 1 or self.per_token < 1:
            raise ShapeError(f"{self}: count must be at least 2, tokens and per_token at least 1")

    @property
    def width(self) -> int:
        """Numbers the output layer gives at each read-out token."""
        return self.count * self.per_token

    def target_shape(self, size: int) -> tuple[int, ...]:
        """Shape of the targets of ``size`` examples."""
        if self.per_token > 1:
            return (size, self.tokens, self.per_token)
        return (size, self.tokens) if self.tokens > 1 else (size,)

    def arrange(self, raw: Tensor) -> Tensor:
        """Raw head output (B, R, width) -> logits whose last axis is the class: the targets' shape plus (K,)."""
        if self.per_token > 1:
            return raw.unflatten(-1, (self.per_token, self.count))
        return raw.squeeze(1) if self.tokens == 1 else raw


@dataclass(frozen=True)
class Values:
    """The answer is real numbers (regression).

    Args:
        width: numbers per read-out token; targets are (B, width), or (B, R, width) when ``tokens`` > 1.
        tokens: R, tokens read out.
    """

    width: int
    tokens: int = 1

    def target_shape(self, size: int) -> tuple[int, ...]:
        """Shape of the targets of ``size`` examples."""
        return (size, self.tokens, self.width) if self.tokens > 1 else (size, self.width)

    def arrange(self, raw: Tensor) -> Tensor:
        """Raw head output (B, R, width) -> predictions of the targets' shape."""
        return raw.squeeze(1) if self.tokens == 1 else raw


@runtime_checkable
class Split(Protocol):
    """One split of a task: examples that can be batched.

    Attributes:
        size: number of examples, or None for an endless one, whose examples are drawn anew for each batch.
        token_counts: (size,) int tokens of each example where they differ, else None; batches are grouped by it.
    """

    size: int | None
    token_counts: np.ndarray | None

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Make a batch, on the CPU.

        Args:
            indices: which examples; for an endless split only their number counts.
            generator: the only source of chance (drawn examples, augmentation). The same state gives the same batch.
        """
        ...


@dataclass(frozen=True)
class SampledEvaluation:
    """Evaluation on some batches instead of the whole split, as the protocol ``fpt2021`` has it.

    Whole batches are drawn without repetition as long as the split lasts, anew for each evaluation; an incomplete last
    batch is never used. From an endless split, examples are drawn.

    Args:
        batches: batches of one evaluation.
        size_factor: examples of a batch, as a multiple of ``train.batch_size``.
        accuracy_factor: factor on the accuracy that is reported.
    """

    batches: int = 25
    size_factor: int = 1
    accuracy_factor: float = 1.0


class Task:
    """A question with data: what goes in, what comes out, the splits, the loss and the metrics.

    Subclasses set the attributes in ``__init__`` and implement `split`. The defaults of `loss` and `metrics` follow
    from ``output``: cross-entropy and accuracy for `Classes`, mean squared error for `Values`; a task with another
    answer overrides both and ``best_metric``.

    Attributes:
        input: kind of the input tokens.
        output: kind of the answer.
        max_tokens: T, the longest example in tokens; position tables are sliced to it.
        source: the source that was taken, e.g. ``"tape"`` or ``"generated"``.
        stand_in: true when ``source`` is not the first the recipe lists: its figures are not the named data's.
        protocol: name of the way data are prepared and scored.
        sampled_evaluation: set where the protocol evaluates on some batches only; None evaluates splits whole.
        test_splits: names of the splits opened once, at the end.
        best_metric: validation metric that chooses the best step; None takes the one that follows from ``output``:
            accuracy for `Classes`, mean squared error for `Values`.
        higher_is_better: direction of ``best_metric``; None takes that of ``output``: up for `Classes`, down for
            `Values`.
        majority_accuracy: for each split, the accuracy of always answering with the commonest class of ``train``. Shown
            beside accuracies; may be left empty.
        notes: lines the run header shows, such as how the stand-in was made.
    """

    input: Vectors | Symbols
    output: Classes | Values
    max_tokens: int
    source: str = "generated"
    stand_in: bool = False
    protocol: str = "clean"
    sampled_evaluation: SampledEvaluation | None = None
    test_splits: tuple[str, ...] = ("test",)
    best_metric: str | None = None
    higher_is_better: bool | None = None
    majority_accuracy: Mapping[str, float] = {}
    notes: tuple[str, ...] = ()

    def selection(self) -> tuple[str, bool]:
        """The validation metric that chooses the best step, and whether more of it is better."""
        classes = isinstance(self.output, Classes)
        name = self.best_metric or ("accuracy" if classes else "mean_squared_error")
        return name, classes if self.higher_is_better is None else self.higher_is_better

    def split(self, name: str) -> Split:
        """The split called ``train``, ``validation`` or one of ``test_splits``."""
        raise NotImplementedError(f"{type(self).__name__} does not implement split({name!r})")

    def skips(self, split: Split, indices: Sequence[int]) -> bool:
        """Whether the protocol passes over the batch of these examples, in training and in sampled evaluation."""
        return False

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean loss of a batch, a scalar.

        Shapes: logits = targets' shape + (K,) for `Classes`; targets' shape for `Values`.
        """
        if isinstance(self.output, Classes):
            return nn.functional.cross_entropy(logits.flatten(0, -2), batch.targets.flatten())
        return nn.functional.mse_loss(logits, batch.targets)

    def metrics(self) -> torchmetrics.MetricCollection:
        """Fresh metrics over a whole split; updated with (logits, targets) of `loss`, flattened over answers."""
        from torchmetrics import MeanSquaredError, MetricCollection
        from torchmetrics.classification import MulticlassAccuracy

        if isinstance(self.output, Classes):
            return MetricCollection({"accuracy": MulticlassAccuracy(self.output.count, average="micro")})
        return MetricCollection({"mean_squared_error": MeanSquaredError()})


def check_task_declarations(task: Task) -> None:
    """Check what a task says of itself, before any batch is drawn.

    Raises:
        PluginError: an attribute is missing or of another type.
    """
    name = type(task).__name__
    for attribute, kinds in (("input", (Vectors, Symbols)), ("output", (Classes, Values)), ("max_tokens", (int,))):
        value = getattr(task, attribute, None)
        if not isinstance(value, kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise PluginError(f"task {name}: '{attribute}' is {value!r}, expected {expected}")
    if isinstance(task.test_splits, str) or not all(isinstance(split, str) for split in task.test_splits):
        raise PluginError(f"task {name}: test_splits is {task.test_splits!r}, expected a tuple of names")


def check_best_metric(task: Task) -> None:
    """Check that the metric which chooses the best step is one of the task's. Apart, since metrics take long to import.

    Raises:
        PluginError: it is not.
    """
    metrics = {*task.metrics(), "loss"}
    best, _ = task.selection()
    if best not in metrics:
        known = ", ".join(sorted(metrics))
        raise PluginError(f"task {type(task).__name__}: best_metric '{best}' is none of {known}")


def check_batch(task: Task, batch: Batch, size: int, *, where: str) -> None:
    """Hold a batch against what its task declares.

    Args:
        task: gives ``input``, ``output`` and ``max_tokens``.
        batch: on the CPU.
        size: examples that were asked for.
        where: task and split, for the message.

    Raises:
        ShapeError: a count, shape, dtype or range is not as declared.
    """
    for wrong, message in _batch_faults(task, batch, size):
        if wrong:
            raise ShapeError(f"{where}: {message}")


def _batch_faults(task: Task, batch: Batch, size: int) -> Iterator[tuple[bool, str]]:
    """Pairs of condition and message; each may rely on those before it having held."""
    yield not isinstance(batch, Batch), f"it gave a {type(batch).__name__}, expected a fptkit.Batch"
    inputs, targets, lengths = batch.inputs, batch.targets, batch.lengths
    dimensions = 3 if isinstance(task.input, Vectors) else 2
    yield inputs.ndim != dimensions, f"inputs have shape {tuple(inputs.shape)}, expected {dimensions} dimensions"
    yield targets.ndim < 1, "targets have no dimension"
    yield not len(targets) == len(inputs) == size, f"{size} examples asked for, {len(inputs)} given"
    yield inputs.shape[1] > task.max_tokens, f"{inputs.shape[1]} tokens exceed max_tokens {task.max_tokens}"
    if isinstance(task.input, Vectors):
        yield inputs.dtype != torch.float32, f"vectors are {inputs.dtype}, expected torch.float32"
        shape, width = tuple(inputs.shape[2:]), task.input.width
        yield shape != (width,), f"tokens hold {shape} numbers, the task declares {width}"
        yield not bool(torch.isfinite(inputs).all()), "inputs hold NaN or infinity"
    else:
        yield inputs.dtype != torch.int64, f"symbols are {inputs.dtype}, expected torch.int64"
        yield int(inputs.min()) < 0, "a symbol is negative"
        yield int(inputs.max()) >= task.input.count, f"a symbol is not below {task.input.count}"
    if lengths is not None:
        yield lengths.shape != (size,), f"lengths are {tuple(lengths.shape)}, expected {(size,)}"
        yield int(lengths.min()) < 1, "an example has no token"
        yield int(lengths.max()) > inputs.shape[1], "a length exceeds the batch's tokens"
    shortest = inputs.shape[1] if lengths is None else int(lengths.min())
    yield shortest < task.output.tokens, f"an example of {shortest} tokens, but {task.output.tokens} are read out"
    expected = task.output.target_shape(size)
    yield tuple(targets.shape) != expected, f"targets are {tuple(targets.shape)}, expected {expected}"
    if isinstance(task.output, Classes):
        yield targets.dtype != torch.int64, f"targets are {targets.dtype}, expected torch.int64"
        yield int(targets.min()) < 0, "a target is negative"
        yield int(targets.max()) >= task.output.count, f"a target is not below {task.output.count}"
    else:
        yield targets.dtype != torch.float32, f"targets are {targets.dtype}, expected torch.float32"
        yield not bool(torch.isfinite(targets).all()), "targets hold NaN or infinity"


Role = Literal["input", "output", "position", "attention", "feed_forward", "norm", "recurrent", "embedding", "other"]


@dataclass(frozen=True)
class ParameterRole:
    """What one parameter is for.

    Args:
        role: the word freezing policies ask for.
        block: index of the block it belongs to, None outside the blocks.
    """

    role: Role
    block: int | None = None


class Backbone(nn.Module):
    """A sequence model between encoder and head: token vectors in, token vectors out.

    Attributes:
        width: D.
        max_positions: longest sequence its positions reach, None when there is no limit.
        causal: true when a token sees only itself and those before it; then right padding needs no mask.
        blocks: number of blocks.
        weights: where the weights came from, e.g. ``"builtin:gpt2_nano"`` or ``"random"``.
        stand_in: true when ``weights`` is not the first source the recipe lists.
        notes: lines the run header shows.
    """

    width: int
    max_positions: int | None = None
    causal: bool = False
    blocks: int = 0
    weights: str = "random"
    stand_in: bool = False
    notes: tuple[str, ...] = ()

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """Run the sequence model.

        Shapes: tokens (B, T, D), lengths (B,), keep (B, R) -> (B, T, D), or (B, R, D) where ``keep`` is given.

        Args:
            tokens: encoded tokens, padded on the right.
            lengths: real tokens of each example; None when all are real. Padding must not change the result at real
                tokens.
            keep: positions the head reads. A backbone may skip work for the others; `keep_tokens` is the plain way.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement forward")

    def parameter_roles(self) -> Mapping[str, ParameterRole]:
        """The role of every parameter, by its name in ``named_parameters()``."""
        raise NotImplementedError(f"{type(self).__name__} does not implement parameter_roles")


def keep_tokens(hidden: Tensor, keep: Tensor | None) -> Tensor:
    """Pick the tokens a head reads.

    Shapes: hidden (B, T, D), keep (B, R) or None -> (B, R, D), or hidden itself for None.
    """
    if keep is None:
        return hidden
    return hidden.gather(1, keep[:, :, None].expand(-1, -1, hidden.shape[-1]))
