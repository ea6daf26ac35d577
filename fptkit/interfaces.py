"""What the parts of a cross-modal model promise each other.

Shapes use one alphabet: B batch, T tokens, F features of a raw token, D width of the backbone, R tokens read out,
K classes. A batch is padded on the right only, so its lengths say everything about its padding; ``Batch.mask`` is made
from them where something wants a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from fptkit.errors import PluginError, ShapeError

if TYPE_CHECKING:
    import numpy as np
    import torchmetrics


Inputs: TypeAlias = Any
"""What an encoder reads: one tensor, or for `Mixed` a mapping from the name of a part to its tensor. Which of them, the
task's input kind says and not the type, hence ``Any``."""


@dataclass(frozen=True)
class Batch:
    """Examples of one task, padded on the right to a common number of tokens.

    Args:
        inputs: (B, T, F) float32 for `Vectors`, (B, T) int64 for `Symbols`, (B, H, W, C) float32 for `Grid`; for
            `Mixed` a mapping from the name of a part to such a tensor, in the order of the parts.
        targets: what the loss compares with; for class outputs int64 of (B,), (B, R) or (B, R, per_token).
        lengths: (B,) int64 number of real tokens of each example, or None when all T are real. A grid has none; for
            `Mixed` they are those of the last part.
    """

    inputs: Inputs
    targets: Tensor
    lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def mask(self) -> Tensor | None:
        """(B, T) bool, true at real tokens, for `Mixed` those of the last part; None when every token is real."""
        if self.lengths is None:
            return None
        padded = list(self.inputs.values())[-1] if isinstance(self.inputs, Mapping) else self.inputs
        return torch.arange(padded.shape[1], device=padded.device) < self.lengths[:, None]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on ``device``; nothing waits for the copy of a pinned one."""
        return self._with_each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same batch in memory from which a GPU fetches it by itself."""
        return self._with_each(lambda tensor: tensor.pin_memory())

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        if isinstance(self.inputs, Mapping):
            inputs: Inputs = {name: change(part) for name, part in self.inputs.items()}
        else:
            inputs = change(self.inputs)
        lengths = None if self.lengths is None else change(self.lengths)
        return replace(self, inputs=inputs, targets=change(self.targets), lengths=lengths)


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
class Grid:
    """Inputs are arrays with two axes and channels, all of one size: images, spectrograms of fixed length, boards.

    A raw token is one cell, so a task over a grid has ``max_tokens`` of the grid's own; an encoder makes fewer of them.

    Args:
        size: (H, W), rows and columns.
        channels: C, numbers per cell.

    Raises:
        ShapeError: a row, column or channel is missing.
    """

    size: tuple[int, int]
    channels: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))
        if len(self.size) != 2 or not all(isinstance(n, int) and n >= 1 for n in (*self.size, self.channels)):
            raise ShapeError(f"{self}: size must be two integers of at least 1, and channels at least 1")

    @property
    def max_tokens(self) -> int:
        """H * W, the number of cells."""
        return self.size[0] * self.size[1]


@dataclass(frozen=True)
class Mixed:
    """Inputs have several named parts of different kinds, whose tokens follow one another.

    Padding stands on the right only, also after encoding. So the last part alone may vary in length; of every other
    one, each example has the same number of tokens.

    Args:
        parts: the kind of each part, in the order of their tokens.
        tokens: for each part that is no grid, how many tokens it has; for the last part, at most.

    Raises:
        ShapeError: there is no part, one is of another kind, or ``tokens`` does not name just the parts it must.
    """

    parts: Mapping[str, Vectors | Symbols | Grid]
    tokens: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", dict(self.parts))
        object.__setattr__(self, "tokens", dict(self.tokens))
        if not self.parts:
            raise ShapeError("Mixed: name at least one part")
        for name, kind in self.parts.items():
            if not isinstance(name, str) or not isinstance(kind, (Vectors, Symbols, Grid)):
                raise ShapeError(f"Mixed: part {name!r} is {kind!r}, expected a name with Vectors, Symbols or Grid")
        wanted = [name for name, kind in self.parts.items() if not isinstance(kind, Grid)]
        if sorted(wanted) != sorted(self.tokens):
            raise ShapeError(
                f"Mixed: tokens names {', '.join(map(str, self.tokens)) or 'no part'}; expected, since a grid has its "
                f"own: {', '.join(wanted) or 'none'}"
            )
        for name, count in self.tokens.items():
            if not isinstance(count, int) or count < 1:
                raise ShapeError(f"Mixed: tokens of part '{name}' are {count!r}, expected an integer of at least 1")

    @property
    def last(self) -> str:
        """Name of the last part, the only one that may vary in length."""
        return list(self.parts)[-1]

    def tokens_of(self, name: str) -> int:
        """Raw tokens of a part; of the last one, at most."""
        kind = self.parts[name]
        return kind.max_tokens if isinstance(kind, Grid) else self.tokens[name]

    @property
    def max_tokens(self) -> int:
        """Raw tokens of the longest example, of all parts together."""
        return sum(self.tokens_of(name) for name in self.parts)


InputKind: TypeAlias = Vectors | Symbols | Grid | Mixed
KIND_NAMES: Mapping[type, str] = {Vectors: "vectors", Symbols: "symbols", Grid: "grid", Mixed: "mixed"}
"""The word of each input kind in ``EncoderSpec.accepts``."""


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

    A split that changes its examples at random may have a method ``plain()`` besides: the same examples as they are
    stored, which is what the model is evaluated on.

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
        max_tokens: T, the longest example in raw tokens; with what the encoder makes of it, it sizes position tables.
            For `Grid` and `Mixed` that of ``input``.
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

    input: InputKind
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
        """Fresh metrics, updated with (logits, targets) of `loss`; those of `Classes` are flattened over answers."""
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
    for attribute, kinds in (("input", tuple(KIND_NAMES)), ("output", (Classes, Values)), ("max_tokens", (int,))):
        value = getattr(task, attribute, None)
        if not isinstance(value, kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise PluginError(f"task {name}: '{attribute}' is {value!r}, expected {expected}")
    if isinstance(task.input, (Grid, Mixed)) and task.max_tokens != task.input.max_tokens:
        raise PluginError(
            f"task {name}: 'max_tokens' is {task.max_tokens}, but its input has {task.input.max_tokens} raw tokens; "
            "set it to input.max_tokens"
        )
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
    if isinstance(task.input, Mixed):
        yield from _mixed_faults(task.input, inputs, size)
        tokens = sum(_raw_tokens(kind, inputs[name]) for name, kind in task.input.parts.items())
        last, padded = task.input.parts[task.input.last], inputs[task.input.last]
    else:
        yield from _tensor_faults(task.input, inputs, size, task.max_tokens)
        tokens, last, padded = _raw_tokens(task.input, inputs), task.input, inputs
    yield targets.ndim < 1, "targets have no dimension"
    yield len(targets) != size, f"{size} examples asked for, {len(targets)} targets given"
    if lengths is not None:
        yield isinstance(last, Grid), "lengths are given, but every example of a grid has all its cells"
        yield lengths.shape != (size,), f"lengths are {tuple(lengths.shape)}, expected {(size,)}"
        yield int(lengths.min()) < 1, "an example has no token"
        yield int(lengths.max()) > padded.shape[1], "a length exceeds the batch's tokens"
    shortest = tokens if lengths is None else tokens - padded.shape[1] + int(lengths.min())
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


def _mixed_faults(kind: Mixed, inputs: object, size: int) -> Iterator[tuple[bool, str]]:
    given = ", ".join(map(str, inputs)) if isinstance(inputs, Mapping) else f"a {type(inputs).__name__}"
    named = isinstance(inputs, Mapping) and tuple(inputs) == tuple(kind.parts)
    yield not named, f"inputs are {given}, expected a mapping with the parts {', '.join(kind.parts)} in this order"
    assert isinstance(inputs, Mapping)
    for name, part in kind.parts.items():
        count = kind.tokens_of(name)
        for wrong, message in _tensor_faults(part, inputs[name], size, count):
            yield wrong, f"part '{name}': {message}"
        yield (
            name != kind.last and _raw_tokens(part, inputs[name]) != count,
            f"part '{name}' has {_raw_tokens(part, inputs[name])} tokens, declared are {count}, which may vary in the "
            f"last part only",
        )


def _tensor_faults(
    kind: Vectors | Symbols | Grid, inputs: Tensor, size: int, max_tokens: int
) -> Iterator[tuple[bool, str]]:
    """What is wrong with the inputs of one kind."""
    yield not isinstance(inputs, Tensor), f"inputs are a {type(inputs).__name__}, expected a tensor"
    dimensions = {Vectors: 3, Symbols: 2, Grid: 4}[type(kind)]
    yield inputs.ndim != dimensions, f"inputs have shape {tuple(inputs.shape)}, expected {dimensions} dimensions"
    yield len(inputs) != size, f"{size} examples asked for, {len(inputs)} given"
    yield inputs.shape[1] < 1, "the examples have no token"
    tokens = _raw_tokens(kind, inputs)
    if isinstance(kind, Grid):
        shape, declared = tuple(inputs.shape[1:]), (*kind.size, kind.channels)
        yield shape != declared, f"the grids are {shape}, the task declares (H, W, C) = {declared}"
    yield tokens > max_tokens, f"{tokens} tokens exceed max_tokens {max_tokens}"
    if isinstance(kind, Symbols):
        yield inputs.dtype != torch.int64, f"symbols are {inputs.dtype}, expected torch.int64"
        yield int(inputs.min()) < 0, "a symbol is negative"
        yield int(inputs.max()) >= kind.count, f"a symbol is not below {kind.count}"
        return
    word = "grids" if isinstance(kind, Grid) else "vectors"
    yield inputs.dtype != torch.float32, f"{word} are {inputs.dtype}, expected torch.float32"
    if isinstance(kind, Vectors):
        shape = tuple(inputs.shape[2:])
        yield shape != (kind.width,), f"tokens hold {shape} numbers, the task declares {kind.width}"
    yield not bool(torch.isfinite(inputs).all()), "inputs hold NaN or infinity"


def _raw_tokens(kind: Vectors | Symbols | Grid, inputs: Tensor) -> int:
    return kind.max_tokens if isinstance(kind, Grid) else inputs.shape[1]


Role = Literal[
    "input",
    "output",
    "position",
    "attention",
    "feed_forward",
    "norm",
    "recurrent",
    "embedding",
    "adapter",
    "other",
]


@dataclass(frozen=True)
class ParameterRole:
    """What one parameter is for.

    Args:
        role: the word freezing policies ask for.
        block: index of the block it belongs to, None outside the blocks.
    """

    role: Role
    block: int | None = None


class Encoder(nn.Module):
    """Raw tokens to token vectors of the backbone's width.

    Derive from it where the tokens of an example are mixed, or become more or fewer. Any other torch module that maps
    each token by itself is an encoder as it is, and is called with ``inputs`` alone.
    """

    @classmethod
    def token_count(cls, options: Any, input: Any, max_tokens: int) -> int:
        """How many tokens it makes of ``max_tokens`` raw ones. Asked before it is built, to size the backbone.

        Args:
            options: recipe options.
            input: the task's input kind.
            max_tokens: raw tokens of the longest example.

        Raises:
            ShapeError: options and input do not fit.
        """
        return max_tokens

    def encoded_lengths(self, lengths: Tensor) -> Tensor:
        """Real encoded tokens of examples with so many real raw tokens, at least one each.

        Shapes: lengths (B,) int64 -> (B,) int64.
        """
        return lengths

    def forward(self, inputs: Inputs, lengths: Tensor | None = None) -> Tensor:
        """Encode.

        Shapes: inputs as in `Batch`, lengths (B,) -> (B, T', D); T' is what ``encoded_lengths`` makes of T.

        Args:
            inputs: raw tokens, padded on the right.
            lengths: real tokens of each example; None when all are real. What stands in the padding must not change the
                real encoded tokens; what the encoder puts after these is never read.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement forward")


def encode(encoder: nn.Module, inputs: Inputs, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Encoded tokens (B, T', D), and how many of each example are real (B,) or None.

    Args:
        encoder: an `Encoder`, or a module that maps each token by itself.
        inputs: as in `Batch`.
        lengths: real raw tokens of each example, or None.
    """
    if not isinstance(encoder, Encoder):
        tokens: Tensor = encoder(inputs)
        return tokens, lengths
    tokens = encoder(inputs, lengths)
    return tokens, None if lengths is None else encoder.encoded_lengths(lengths)


class Backbone(nn.Module):
    """A sequence model between encoder and head: token vectors in, token vectors out.

    Attributes:
        width: D.
        max_positions: longest sequence its positions reach, None when there is no limit.
        causal: true when a token sees only itself and those before it; then right padding needs no mask.
        embedding_norm: mean Euclidean norm of the word embeddings its blocks were trained on; None where there are
            none.
        blocks: number of blocks.
        weights: where the weights came from, e.g. ``"builtin:gpt2_nano"`` or ``"random"``.
        stand_in: true when ``weights`` is not the first source the recipe lists.
        notes: lines the run header shows.
    """

    width: int
    max_positions: int | None = None
    causal: bool = False
    embedding_norm: float | None = None
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

    def block_modules(self) -> Sequence[nn.Module]:
        """The modules of its blocks, if each can be run again on what it was given; empty where there are none such.

        ``train.activation_checkpointing`` runs them once more in the backward pass. A block must then give the same: it
        changes nothing but what it returns, and torch's generators are its only source of chance.
        """
        return ()

    def uncounted_flops(self, tokens: Tensor) -> int:
        """Floating-point operations of forward and backward that torch does not see, such as those of compiled code.

        Args:
            tokens: as `forward` was given them; ``requires_grad`` tells whether gradients go below the backbone.
        """
        return 0


def keep_tokens(hidden: Tensor, keep: Tensor | None) -> Tensor:
    """Pick the tokens a head reads.

    Shapes: hidden (B, T, D), keep (B, R) or None -> (B, R, D), or hidden itself for None.
    """
    if keep is None:
        return hidden
    return hidden.gather(1, keep[:, :, None].expand(-1, -1, hidden.shape[-1]))
