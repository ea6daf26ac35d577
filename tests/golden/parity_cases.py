"""What the comparison with the official code is made on: weights, batches, and a short training of our model.

Shared by ``make_official.py``, which runs the official code once and writes ``official.json``, and by
``test_parity.py``, which has that file alone. So everything here can be repeated bit for bit anywhere: all numbers come
from NumPy's legacy ``RandomState``, whose streams are frozen (NEP 19), seeded by names.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit.backbones.assemble import RandomDraw
from fptkit.backbones.gpt2 import Gpt2Backbone
from fptkit.backbones.lstm.network import LstmBackbone
from fptkit.backbones.lstm.official import OfficialLayer
from fptkit.backbones.lstm.options import LstmSizes
from fptkit.backbones.options import Gpt2Sizes
from fptkit.backbones.random import draw_random
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.options import LinearOptions, SymbolOptions
from fptkit.encoders.symbols import SymbolEncoder
from fptkit.engine.build import Built
from fptkit.engine.cache.features import FeatureCache
from fptkit.engine.events import Event, StepsDone, Validated
from fptkit.engine.loop import Trainer
from fptkit.engine.setup import Prepared
from fptkit.engine.signals import StopRequest
from fptkit.freezing import FreezeProof, apply_policy
from fptkit.interfaces import Backbone, Batch, Classes, Split, Symbols, Task, Vectors
from fptkit.model import CrossModalModel, Head, default_readout
from fptkit.numerics import kernels
from fptkit.recipe.models import TrainOptions
from fptkit.registry import load_plugins
from fptkit.specs import FreezingPolicySpec

GOLDEN = Path(__file__).with_name("official.json")
TOLERANCE = 1e-5
"""Largest difference that is allowed, in logits and in trained tensors after three steps; float32."""

STEPS = 3
WIDTH = 768
HEADS = 12
POSITIONS = 1024
"""Width and rows are fixed in the official code; the blocks are cut, to keep the test short."""

BLOCKS = {"gpt2": 2, "vit": 2, "lstm": 3}
"""The official code has no other LSTM than one of three layers."""


# ------------------------------------------------------------------------------------------------------- batches


def chance(*names: object) -> np.random.RandomState:
    """A generator named by what it draws."""
    return np.random.RandomState(zlib.crc32("/".join(map(str, names)).encode()))


def _draw_bit_memory(random: np.random.RandomState, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The draws of ``datasets/bit_memory.py`` in its order. Shapes: (B, 6, 1000) in -1 0 1, and (B, 1000) in -1 1."""
    bits = 2 * random.randint(low=0, high=2, size=(count, 5, 1000)) - 1
    asked = random.randint(low=0, high=5, size=count)
    answer = bits[range(count), asked]
    shown = random.randint(low=0, high=2, size=answer.shape)
    return np.concatenate([bits, (shown * answer)[:, None]], axis=1), answer


def _draw_bit_xor(random: np.random.RandomState, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The draws of ``datasets/bit_xor.py``. Shapes: (B, 2, 5) and (B, 5), in 0 1."""
    bits = random.randint(low=0, high=2, size=(count, 2, 5))
    return bits, np.logical_xor(bits[:, 0], bits[:, 1])


def _draw_mnist(random: np.random.RandomState, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey images of noise and their digits. Shapes: (B, 1, 28, 28) float32 in [0, 1), and (B,)."""
    return random.random_sample((count, 1, 28, 28)).astype(np.float32), random.randint(0, 10, size=count)


def _draw_symbols(random: np.random.RandomState, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Symbols of ListOps' alphabet in the official code. Shapes: (B, 60) in 0-14, and (B,)."""
    return random.randint(0, 15, size=(count, 60)), random.randint(0, 10, size=count)


def _tokens_of_bit_memory(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.reshape(len(x), 120, 50).astype(np.float32), (y.reshape(len(y), 20, 50) > 0).astype(np.int64)


def _tokens_of_bit_xor(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.reshape(len(x), 10, 1).astype(np.float32), y.astype(np.int64)


def _tokens_of_mnist(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """4 x 4 patches, row by row."""
    patches = x.reshape(len(x), 7, 4, 7, 4).transpose(0, 1, 3, 2, 4)
    return patches.reshape(len(x), 49, 16), y.astype(np.int64)


def _tokens_of_symbols(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.astype(np.int64), y.astype(np.int64)


Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One task as both codes see it.

    Args:
        name: of the case.
        count: B.
        input: kind of our input tokens.
        output: kind of our answer.
        tokens: T.
        draw: inputs and targets in the official code's form, as its data sets give them.
        to_tokens: these in our form.
        official: the arguments of its ``experiment`` that belong to the task.
    """

    name: str
    count: int
    input: Vectors | Symbols
    output: Classes
    tokens: int
    draw: Callable[[np.random.RandomState, int], Arrays]
    to_tokens: Callable[[np.ndarray, np.ndarray], Arrays]
    official: Mapping[str, Any]

    def arrays(self, number: int) -> Arrays:
        """Batch ``number`` in the official code's form: 0 to 2 are trained on, 3 is evaluated."""
        return self.draw(self.chance(number), self.count)

    def chance(self, number: int) -> np.random.RandomState:
        """What batch ``number`` is drawn from."""
        return chance("batch", self.name, number)

    def batch(self, number: int) -> Batch:
        """Batch ``number`` in our form."""
        inputs, targets = self.to_tokens(*self.arrays(number))
        return Batch(torch.from_numpy(inputs), torch.from_numpy(targets))


CASES = {
    case.name: case
    for case in (
        Case(
            "bit_memory",
            2,
            Vectors(50),
            Classes(2, tokens=20, per_token=50),
            120,
            _draw_bit_memory,
            _tokens_of_bit_memory,
            {"task": "bit-memory", "n": 1000, "num_patterns": 5, "patch_size": 50},
        ),
        Case(
            "bit_xor",
            8,
            Vectors(1),
            Classes(2, tokens=5),
            10,
            _draw_bit_xor,
            _tokens_of_bit_xor,
            {"task": "bit-xor", "n": 5, "num_patterns": 2, "patch_size": 1},
        ),
        Case(
            "mnist",
            4,
            Vectors(16),
            Classes(10),
            49,
            _draw_mnist,
            _tokens_of_mnist,
            {"task": "mnist", "patch_size": 4},
        ),
        Case(
            "symbols",
            4,
            Symbols(15),
            Classes(10),
            60,
            _draw_symbols,
            _tokens_of_symbols,
            {"task": "listops", "patch_size": None},
        ),
    )
}


@dataclass(frozen=True)
class Arm:
    """A sequence model as both codes train it.

    Args:
        path: ``gpt2``, ``vit`` or ``lstm``.
        dropout: dropout probability everywhere the official code has one.
        policy: ``fpt`` or ``full``: what trains.
    """

    path: str
    dropout: float = 0.0
    policy: Literal["fpt", "full"] = "fpt"

    def key(self, case: Case) -> str:
        """The name of this arm on a case in ``official.json``."""
        parts = [self.path, case.name, *(["dropout"] if self.dropout else [])]
        return "/".join(parts if self.policy == "fpt" else [*parts, self.policy])


RUNS = [
    *((Arm(path), name) for path in ("gpt2", "vit") for name in CASES),
    *((Arm("lstm"), name) for name in ("bit_xor", "mnist")),
    *((Arm(path, dropout=0.1), name) for path in BLOCKS for name in ("bit_xor", "mnist")),
    (Arm("gpt2", dropout=0.1), "symbols"),
    (Arm("lstm", dropout=0.1, policy="full"), "bit_xor"),
]
"""The arms, and the cases they are compared on."""


# -------------------------------------------------------------------------------------------------------- chance


class Draws:
    """Gives both codes the same dropout masks and the same initial states, if an arm needs any.

    The n-th mask and the n-th state since training began are numbers named n, whoever asks. Both codes ask in the same
    order. A mask is drawn for all tokens of the case: where ours computes only the tokens that are read out, which are
    the last ones, it gets the last rows.

    Args:
        case: gives the number of tokens.
        arm: decides whether anything is replaced.
    """

    def __init__(self, case: Case, arm: Arm) -> None:
        self._tokens, self._needed = case.tokens, bool(arm.dropout) or arm.path == "lstm"
        self._masks = self._states = self._fixed = 0

    def instead_of_torch(self) -> AbstractContextManager[None]:
        """Replace torch's dropout, in attention as well, and its normal numbers, and turn our own kernels off."""
        return self._replaced() if self._needed else nullcontext()

    @contextmanager
    def _replaced(self) -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, replacement in (
                (functional, "dropout", self._dropout),
                (functional, "scaled_dot_product_attention", self._attention(functional.scaled_dot_product_attention)),
                (Tensor, "normal_", lambda tensor, mean=0.0, std=1.0, generator=None: self._normal(tensor, mean, std)),
                (kernels, "run_on", lambda tensor: False),
            ):
                stack.enter_context(mock.patch.object(owner, name, replacement))
            yield

    def begin_training(self) -> None:
        """Forget what was drawn to build the model."""
        self._masks = self._states = 0

    def _dropout(self, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or not p:
            return values
        kept = self._mask(values.shape, p).to(values.dtype)
        return values.mul_(kept) if inplace else values * kept

    def _mask(self, shape: Sequence[int], p: float) -> Tensor:
        rows = shape[-2]
        # An LSTM drops one time step of all examples at once: (B, H).
        whole = shape if len(shape) == 2 else (*shape[:-2], self._tokens, shape[-1])
        drawn = chance("dropout", self._masks).random_sample(tuple(whole)) >= p
        self._masks += 1
        return torch.from_numpy(drawn[..., -rows:, :]) / (1 - p)

    def _attention(self, torchs: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def attend(
            query: Tensor,
            key: Tensor,
            value: Tensor,
            attn_mask: Tensor | None = None,
            dropout_p: float = 0.0,
            is_causal: bool = False,
            scale: float | None = None,
            **further: Any,
        ) -> Tensor:
            if not dropout_p:
                return torchs(query, key, value, attn_mask, 0.0, is_causal, scale=scale, **further)
            assert not any(further.values())
            scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
            if is_causal:
                attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
            if attn_mask is not None:
                assert attn_mask.dtype == torch.bool
                scores = scores.masked_fill(~attn_mask, float("-inf"))
            return self._dropout(scores.softmax(-1), dropout_p) @ value

        return attend

    def _normal(self, tensor: Tensor, mean: float, std: float) -> Tensor:
        """Fill a state; (B, H), or (1, B, H) in the official code. In evaluation all examples have the same."""
        if torch.is_grad_enabled():
            name, rows = ("state", self._states), tensor.shape[-2]
            self._states += 1
        else:
            name, rows = ("start", self._fixed % (2 * BLOCKS["lstm"])), 1
            self._fixed += 1
        drawn = chance(*name).standard_normal((rows, tensor.shape[-1]))
        with torch.no_grad():
            return tensor.copy_(torch.from_numpy(mean + std * drawn).to(tensor.dtype))


def fixed_starts(backbone: Backbone) -> None:
    """Give our LSTM the states that `Draws` gives the official one in evaluation."""
    for module in backbone.modules():
        if isinstance(module, OfficialLayer):
            index = 2 * list(backbone.layers).index(module)  # type: ignore[arg-type]
            for row in range(2):
                drawn = chance("start", index + row).standard_normal(WIDTH) * WIDTH**-0.5
                module.start[row].copy_(torch.from_numpy(drawn))


# ------------------------------------------------------------------------------------------------------- weights

_NORMS = (".ln_1.", ".ln_2.", ".norm1.", ".norm2.", ".input_norm.", ".hidden_norm.", ".cell_norm.")
_SPREADS = (("encoder.", 4.0), ("head.", 0.05), ("backbone.wpe.", 1.0), ("backbone.positions.", 1.0))
_LAST_NORMS = ("backbone.ln_f.", "backbone.norm.")
_LAST_CELL_NORM = "backbone.layers.2.cell_norm."


@cache
def _uniform(name: str, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers of mean 0 and standard deviation 1."""
    numbers = chance("weights", name).random_sample(shape)
    return torch.from_numpy(((2 * numbers - 1) * 3**0.5).astype(np.float32))


def fixed_tensor(name: str, shape: Sequence[int]) -> Tensor:
    """The weights of a parameter, by our name for it.

    Every tensor differs from what it is drawn as by default, or an error in it would not show: norms and biases too.
    Matrices of blocks have standard deviation 0.04, so that attention is far from uniform. Inputs are large and the
    last norm is small, which keeps gradients small: Adam divides each by its own size plus 1e-8, so the rounding of one
    that is smaller than that, times 1e5, is a difference in what is trained. ``make_official.py`` measures it.

    A table of fewer rows holds the first rows of a longer one.
    """
    unit = _uniform(name, tuple(shape))
    if name.startswith(_LAST_NORMS):
        return 0.02 * unit if name.endswith(".bias") else 0.2 + 0.02 * unit
    if name.startswith(_LAST_CELL_NORM):
        # An LSTM passes its gradients through 10 to 60 steps: they have to be smaller still.
        return 0.0002 * unit if name.endswith(".bias") else 0.002 + 0.0002 * unit
    if name.endswith(".bias"):
        return 0.1 * unit
    if any(norm in name for norm in _NORMS):
        return 1 + 0.1 * unit
    return next((spread for prefix, spread in _SPREADS if name.startswith(prefix)), 0.04) * unit


@contextmanager
def faint(parameters: Iterable[tuple[str, Tensor]]) -> Iterator[None]:
    """Make all between input and output but the norms faint, and put it back after.

    Then the constant that norms add to the variance (1e-5 in GPT-2, 1e-6 in ViT) decides much of what comes out.

    Args:
        parameters: by our names; changed in place, by a power of two, so that what was there comes back exactly.
    """
    changed = [
        tensor
        for name, tensor in parameters
        if not name.startswith(("head.", *_LAST_NORMS)) and not any(norm in name for norm in _NORMS)
    ]
    with torch.no_grad():
        for tensor in changed:
            tensor.mul_(2.0**-10)
        yield
        for tensor in changed:
            tensor.mul_(2.0**10)


def our_name(official: str, path: str) -> str | None:
    """Our name of a parameter of the official model; None where it has no counterpart.

    Args:
        official: name in ``FPT.named_parameters()``.
        path: ``gpt2``, ``vit`` or ``lstm``.
    """
    for old, new in (("in_net.weight", "encoder.table.weight"), ("in_net.", "encoder.map."), ("out_net.", "head.map.")):
        if official.startswith(old):
            return new + official.removeprefix(old)
    if path == "lstm":
        _, params, layer, module, kind = official.split(".")
        assert params == "params", official
        return f"backbone.layers.{layer}.{_LSTM_MODULES[module]}.{_LSTM_PARAMETERS.get(kind, kind)}"
    if path == "vit":
        if official == "vit_pos_embed":
            return "backbone.positions.weight"
        if official.startswith("sequence_model.blocks."):
            return "backbone.layers." + official.removeprefix("sequence_model.blocks.")
        if official.startswith("sequence_model.norm."):
            return "backbone." + official.removeprefix("sequence_model.")
    elif official.startswith(("sequence_model.h.", "sequence_model.wpe.", "sequence_model.ln_f.")):
        return "backbone." + official.removeprefix("sequence_model.")
    return None


_LSTM_MODULES = {
    "i2h": "input_map",
    "h2h": "hidden_map",
    "ln_i2h": "input_norm",
    "ln_h2h": "hidden_norm",
    "ln_cell": "cell_norm",
}
_LSTM_PARAMETERS = {"alpha": "weight", "beta": "bias"}


# ------------------------------------------------------------------------------------- what both codes are asked for


@dataclass(frozen=True)
class Outcome:
    """What a code gave for one case.

    Args:
        logits: before training, of batch 3, arranged as ours; float32.
        faint_logits: the same of a model made `faint`.
        losses: of the training steps.
        gradient_norms: before clipping, of the training steps.
        evaluation: loss and accuracy of batch 3 after training.
        trained: tensors marked as trained, after training, by our names.
        without_gradient: those of them no gradient reached.
    """

    logits: Tensor
    faint_logits: Tensor
    losses: list[float]
    gradient_norms: list[float]
    evaluation: dict[str, float]
    trained: dict[str, Tensor]
    without_gradient: list[str]


@contextmanager
def recorded_clipping() -> Iterator[tuple[list[float], list[int]]]:
    """Record what passes torch's clipping.

    Yields:
        Norms of the gradient before it, and the ids of the parameters a gradient reached at the first call.
    """
    norms: list[float] = []
    reached: list[int] = []
    clip = torch.nn.utils.clip_grad_norm_

    def recording(parameters: Any, *args: Any, **kwargs: Any) -> Tensor:
        parameters = list(parameters)
        if not norms:
            reached.extend(id(parameter) for parameter in parameters if parameter.grad is not None)
        norm = clip(parameters, *args, **kwargs)
        norms.append(float(norm))
        return norm

    torch.nn.utils.clip_grad_norm_ = recording
    try:
        yield norms, reached
    finally:
        torch.nn.utils.clip_grad_norm_ = clip


# --------------------------------------------------------------------------------------------------------- ours


class _Batches:
    """A split that gives the batches of a case, whatever it is asked for."""

    token_counts = None

    def __init__(self, case: Case, numbers: Sequence[int], size: int | None) -> None:
        self.size = size
        self._batches = (case.batch(number) for number in numbers)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """See `Split.batch`."""
        return next(self._batches)


class _CaseTask(Task):
    """A case as a task, with as many training batches as steps."""

    def __init__(self, case: Case, steps: int) -> None:
        self._case, self._steps = case, steps
        self.input, self.output, self.max_tokens = case.input, case.output, case.tokens

    def split(self, name: str) -> Split:
        """See `Task.split`."""
        if name == "train":
            return _Batches(self._case, range(self._steps), None)
        return _Batches(self._case, [self._steps], self._case.count)


def our_backbone(path: str, *, rows: int = POSITIONS, blocks: int | None = None, dropout: float = 0.0) -> Backbone:
    """Our backbone, its weights not yet filled.

    Args:
        path: ``gpt2``, ``vit`` or ``lstm``.
        rows: of the position table.
        blocks: other than those of `BLOCKS`.
        dropout: of attention weights, too.
    """
    blocks = blocks or BLOCKS[path]
    if path == "gpt2":
        return Gpt2Backbone(Gpt2Sizes(blocks, WIDTH, HEADS, rows), dropout=dropout, attention_dropout=dropout)
    if path == "lstm":
        return LstmBackbone(LstmSizes(blocks, WIDTH), dropout=dropout, variant="official")
    draw = RandomDraw("base", positions=rows, seed=0, blocks=blocks, dropout=dropout, attention_dropout=dropout)
    return draw_random("vit", draw)


def our_model(case: Case, backbone: Backbone, dropout: float = 0.0) -> CrossModalModel:
    """Our model with the fixed weights."""
    encoder: nn.Module
    if isinstance(case.input, Symbols):
        encoder = SymbolEncoder(SymbolOptions(), input=case.input, width=WIDTH)
    else:
        encoder = LinearEncoder(LinearOptions(dropout=dropout), input=case.input, width=WIDTH)
    # The official code reads the last token of every backbone.
    readout = default_readout(case.output, causal=True)
    model = CrossModalModel(encoder, backbone, Head(case.output, WIDTH, readout=readout))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(fixed_tensor(name, parameter.shape))
        fixed_starts(backbone)
    return model


def run_ours(case: Case, backbone: Backbone, folder: Path, arm: Arm | None = None, *, steps: int = STEPS) -> Outcome:
    """Evaluate, then train with the engine and its own optimiser.

    Args:
        case: the case.
        backbone: of `our_backbone`.
        folder: for the engine's checkpoints.
        arm: what trains and how much is dropped; None: as in the paper, and nothing.
        steps: training steps.
    """
    arm = arm or Arm("")
    model = our_model(case, backbone, arm.dropout)
    task = _CaseTask(case, steps)
    groups = apply_policy(model, load_plugins().get(FreezingPolicySpec, arm.policy))
    evaluated = case.batch(steps).inputs
    with torch.no_grad():
        logits = model.eval()(evaluated)
        with faint(model.named_parameters()):
            faint_logits = model(evaluated)
    events: list[Event] = []
    options = TrainOptions(batch_size=case.count, max_steps=steps, validate_every=steps, log_every=1)
    options = options.model_copy(update={"evaluation_batch_size": case.count})
    built = Built(task, model, groups, "linear", "last", "float32")
    training, validation = task.split("train"), task.split("validation")
    features = FeatureCache(built, training, validation)
    prepared = Prepared(built, training, options, features, FreezeProof(model), {"digest": ""})
    trainer = Trainer(prepared, folder, emit=events.append, stop=StopRequest())
    with recorded_clipping() as (norms, reached), Draws(case, arm).instead_of_torch():
        assert trainer.fit() == "ended"
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return Outcome(
        logits=logits,
        faint_logits=faint_logits,
        losses=[event.loss for event in events if isinstance(event, StepsDone)],
        gradient_norms=norms,
        evaluation=dict(next(event.metrics for event in events if isinstance(event, Validated))),
        trained={name: parameter.detach() for name, parameter in trained.items()},
        without_gradient=[name for name, parameter in trained.items() if id(parameter) not in reached],
    )


# ----------------------------------------------------------------------------------------------- whole trainings

LOSSES = Path(__file__).with_name("official_losses.json")
LONG = 300
"""Steps of a whole training."""


def _draw_patterns(random: np.random.RandomState, count: int) -> Arrays:
    """Grey images, half of one pattern for each digit and half of noise, so that there is something to learn."""
    noise, digits = _draw_mnist(random, count)
    patterns = chance("patterns").random_sample((10, 1, 28, 28)).astype(np.float32)
    return (patterns[digits] + noise) / 2, digits


LONG_CASES = {"bit_xor": CASES["bit_xor"], "mnist": replace(CASES["mnist"], draw=_draw_patterns)}


# ------------------------------------------------------------------------------------------------- the LSTM alone

LSTM_WIDTH, LSTM_LAYERS, LSTM_BATCH, LSTM_TOKENS = 40, 2, 3, 9
"""Sizes of the LSTM that is compared alone, where its weights can be those that it starts with."""


def lstm_weights(name: str, shape: Sequence[int]) -> Tensor:
    """Weights of a parameter of the LSTM, by our name, as the official code draws them: uniform within 1 / sqrt(N).

    N is the number of values that a norm normalises, and the width for the two maps.
    """
    bound = (shape[0] if "_norm." in name else LSTM_WIDTH) ** -0.5
    drawn = chance("lstm", name).uniform(-bound, bound, tuple(shape))
    return torch.from_numpy(drawn.astype(np.float32))


def run_lstm(forward: Callable[[Tensor], Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Output of an LSTM in training with dropout 0.1, and all gradients of a weighted sum of it.

    Args:
        forward: of the LSTM, in training mode.
        parameters: by our names; they get their weights here.
    """
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(lstm_weights(name, parameter.shape[-1:] if "_norm." in name else parameter.shape))
    shape = (LSTM_BATCH, LSTM_TOKENS, LSTM_WIDTH)
    tokens, weights = (
        torch.from_numpy(chance("lstm", name).standard_normal(shape).astype(np.float32))
        for name in ("tokens", "weights")
    )
    tokens.requires_grad_()
    with Draws(CASES["bit_xor"], Arm("lstm", dropout=0.1)).instead_of_torch():
        output = forward(tokens)
    (output * weights).sum().backward()
    gradients = {name: parameter.grad for name, parameter in parameters.items()}
    found = {"output": output.detach(), "tokens": tokens.grad, **gradients}
    return {name: tensor.reshape(-1) for name, tensor in found.items() if tensor is not None}


# ------------------------------------------------------------------------------------------------- golden numbers

ENTRIES = 16


def digest(tensor: Tensor, *, rows: int | None = None, entries: int = ENTRIES) -> dict[str, Any]:
    """What is kept of a tensor: shape, sums, and numbers at even distances.

    Args:
        tensor: the tensor.
        rows: take the numbers from these first rows only.
        entries: how many numbers; fewer where there are fewer.
    """
    exact = tensor.double()
    flat = (exact if rows is None else exact[:rows]).flatten()
    places = torch.linspace(0, len(flat) - 1, min(entries, len(flat)), dtype=torch.float64).long()
    return {
        "shape": list(tensor.shape),
        "sum": float(exact.sum()),
        "sum_of_squares": float(exact.square().sum()),
        "entries": flat[places].tolist(),
    }


def digest_outcome(outcome: Outcome, case: Case) -> dict[str, Any]:
    """What is kept of an outcome."""
    return {
        "logits": digest(outcome.logits, entries=80),
        "faint_logits": digest(outcome.faint_logits, entries=80),
        "losses": outcome.losses,
        "gradient_norms": outcome.gradient_norms,
        "evaluation": outcome.evaluation,
        "without_gradient": outcome.without_gradient,
        "trained": {
            # Rows of the position table behind the last token never move: look at the others.
            name: digest(tensor, rows=case.tokens if is_position_table(name) else None)
            for name, tensor in outcome.trained.items()
        },
    }


def is_position_table(name: str) -> bool:
    """Whether a parameter, by our name, is the position table."""
    return name in ("backbone.wpe.weight", "backbone.positions.weight")


def mismatches(golden: Mapping[str, Any], outcome: Outcome, case: Case) -> list[str]:
    """Where an outcome is not as the golden numbers say, one line each.

    Args:
        golden: one entry of ``cases`` in ``official.json``.
        outcome: of `run_ours`.
        case: the case.
    """
    found = digest_outcome(outcome, case)
    problems = []
    for name in ("losses", "gradient_norms"):
        problems += _far(name, golden[name], found[name])
    for name, value in golden["evaluation"].items():
        problems += _far(f"evaluation {name}", [value], [found["evaluation"][name]])
    for name in ("logits", "faint_logits"):
        problems += differences(name, golden[name], found[name])
    if golden["without_gradient"] != found["without_gradient"]:
        problems.append(f"without a gradient: {golden['without_gradient']}, found {found['without_gradient']}")
    if golden["trained"].keys() != found["trained"].keys():
        problems.append(f"trained in one only: {sorted(golden['trained'].keys() ^ found['trained'].keys())}")
    for name in golden["trained"].keys() & found["trained"].keys():
        problems += differences(name, golden["trained"][name], found["trained"][name])
    return problems


def differences(name: str, golden: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Where one `digest` is not as another, one line each."""
    if golden["shape"] != found["shape"]:
        return [f"{name}: shape {golden['shape']}, found {found['shape']}"]
    size = float(np.prod(golden["shape"]))
    return (
        _far(name, golden["entries"], found["entries"])
        + _far(f"{name}, mean", [golden["sum"] / size], [found["sum"] / size])
        + _far(f"{name}, mean square", [golden["sum_of_squares"] / size], [found["sum_of_squares"] / size])
    )


def _far(name: str, golden: Sequence[float], found: Sequence[float]) -> list[str]:
    if len(golden) != len(found):
        return [f"{name}: {len(golden)} numbers, found {len(found)}"]
    largest = float(np.abs(np.subtract(golden, found)).max())
    # Written so that a NaN is far.
    return [] if largest <= TOLERANCE else [f"{name}: differs by {largest:.1e}"]
