"""The promises of the parts of a training as checks; public in `fptkit.testing`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fptkit.engine.checkpoint import Checkpoint
from fptkit.engine.optimizer_state import pack_numbers, pack_optimizer, unpack_optimizer
from fptkit.engine.training.losses import ChosenLoss
from fptkit.engine.training.optimizers import Group, check_is_optimizer
from fptkit.engine.training.schedules import as_schedule, checked_factor
from fptkit.errors import PluginError
from fptkit.interfaces import (
    IGNORED,
    Batch,
    Classes,
    Grid,
    InputKind,
    Labels,
    Metric,
    Mixed,
    NextSymbol,
    OutputKind,
    Ranking,
    Symbols,
    TokenClasses,
    TokenValues,
    Values,
    prediction_shape,
    target_shape,
)
from fptkit.model import Head
from fptkit.seeds import generator_for
from fptkit.specs import LossSpec, ScheduleSpec

CLOSE = 1e-4
"""Largest difference that is rounding."""

ANSWERS: Mapping[str, OutputKind] = {
    "classes": Classes(3),
    "values": Values(2),
    "token_classes": TokenClasses(3),
    "labels": Labels(3),
    "ranking": Ranking(3),
    "token_values": TokenValues(2),
    "next_symbol": NextSymbol(3),
}
"""An example of each kind of answers, by the names in ``accepts``."""

_TOKENS, _EXAMPLES = 6, 12


def check_optimizer(build: Callable[[list[Group]], torch.optim.Optimizer]) -> None:
    """Check an optimizer.

    Args:
        build: makes it for some groups, see `fptkit.OptimizerSpec`. They have a matrix of each of the roles ``input``,
            ``attention`` and ``output``, and a vector of the role ``norm``.

    Checked: it holds all parameters, each once; a step changes them, and they stay finite; with a learning rate of 0
    nothing changes; a parameter without a gradient does not change; restored from a checkpoint, it continues bit for
    bit as it would have done.
    """
    parameters = _parameters()
    whole = _made(build, parameters)
    name = type(whole).__name__
    _steps(whole, parameters, range(3))
    assert not any(torch.equal(p, q) for p, q in zip(parameters.values(), _parameters().values(), strict=True)), (
        f"{name}: after three steps a parameter with gradients has not changed"
    )
    tensors = {key: value.detach().clone() for key, value in parameters.items()}
    names = {id(parameter): key for key, parameter in parameters.items()}
    numbers = json.loads(json.dumps(pack_numbers(whole, names)))
    packed = {key: value.clone() for key, value in pack_optimizer(whole, names).items()}
    saved = Checkpoint(Path("check"), 3, {}, packed, {}, {}, {}, {}, numbers)
    _steps(whole, parameters, range(3, 6))
    for key, parameter in parameters.items():
        assert bool(torch.isfinite(parameter).all()), f"{name}: after six steps {key} is not finite"
    resumed = {key: nn.Parameter(value) for key, value in tensors.items()}
    again = _made(build, resumed)
    unpack_optimizer(again, saved, {id(parameter): key for key, parameter in resumed.items()})
    _steps(again, resumed, range(3, 6))
    differ = [key for key, parameter in parameters.items() if not torch.equal(parameter, resumed[key])]
    assert not differ, (
        f"{name}: restored from a checkpoint it continues differently, for {', '.join(differ)}; keep what it remembers "
        "in state[parameter], or as numbers in its groups"
    )
    _check_rate_and_gradient(whole, parameters, name)


def _parameters() -> dict[str, nn.Parameter]:
    generator = generator_for(0, "check_optimizer")
    shapes = {"input.map": (4, 3), "block.attention": (4, 4), "block.norm": (4,), "output.map": (2, 4)}
    return {key: nn.Parameter(torch.randn(shape, generator=generator)) for key, shape in shapes.items()}


def _made(
    build: Callable[[list[Group]], torch.optim.Optimizer], parameters: Mapping[str, nn.Parameter]
) -> torch.optim.Optimizer:
    given = list(parameters.values())
    groups: list[Group] = [
        {"params": given[:2], "lr": 0.01, "roles": ["input", "attention"]},
        {"params": given[2:], "lr": 0.005, "roles": ["norm", "output"]},
    ]
    built = build([{**group, "params": list(group["params"])} for group in groups])
    try:
        return check_is_optimizer(built, groups)
    except PluginError as err:
        raise AssertionError(str(err)) from err


def _steps(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], steps: range) -> None:
    """Steps as in a run: the learning rates are set before each, and the gradients follow from the step."""
    for step in steps:
        generator = generator_for(step, "gradients")
        for parameter in parameters.values():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (1 + step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _check_rate_and_gradient(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], name: str
) -> None:
    before = [parameter.detach().clone() for parameter in parameters.values()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    same = all(map(torch.equal, before, parameters.values()))
    assert same, f"{name}: a step with a learning rate of 0 changes parameters; take 'lr' from the groups at each step"
    optimizer.zero_grad(set_to_none=True)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.step()
    assert all(map(torch.equal, before, parameters.values())), f"{name}: a parameter without a gradient changes"


def check_schedule(build: Callable[[int], object]) -> None:
    """Check a schedule.

    Args:
        build: makes it for a number of steps, see `fptkit.ScheduleSpec`.

    Checked: its factor is a number of at least 0 at every step of a run of 1, 10 and 100 steps; it depends on nothing
    but the step and the validations so far; restored from its state, as JSON, it continues as it would have done.
    """
    spec = ScheduleSpec(name="checked", summary="a schedule", target=build)
    try:
        for steps in (1, 10, 100):
            one, other = as_schedule(build(steps), spec), as_schedule(build(steps), spec)
            forward = [checked_factor(one, step) for step in range(steps)]
            backward = [checked_factor(other, step) for step in reversed(range(steps))][::-1]
            assert forward == backward, f"{type(one).__name__}: a factor depends on the steps asked for before it"
        for number in range(20):
            one.validated(improved=number % 7 == 0)
            other = as_schedule(build(100), spec)
            other.restore(json.loads(json.dumps(one.state())))
            restored = [checked_factor(other, step) for step in range(100)]
            assert restored == [checked_factor(one, step) for step in range(100)], (
                f"{type(one).__name__}: restored from its state() it continues differently; put all it remembers there"
            )
    except PluginError as err:
        raise AssertionError(str(err)) from err


def _answers(output: OutputKind, seed: int) -> tuple[Tensor, Tensor]:
    """Predictions and targets of some examples. Shapes: those of the kind."""
    generator = generator_for(seed, "answers")
    predictions = torch.randn(prediction_shape(output, _EXAMPLES, _TOKENS), generator=generator)
    shape = target_shape(output, _EXAMPLES, _TOKENS)
    if isinstance(output, (Classes, TokenClasses, NextSymbol)):
        targets = torch.arange(math.prod(shape)).reshape(shape) % output.count
    elif isinstance(output, Labels):
        targets = torch.randint(0, 2, shape, generator=generator)
        targets[0, 0] = IGNORED
    else:
        targets = torch.randn(shape, generator=generator)
    if output.each_token:
        targets[::2, -2:] = float("nan") if targets.is_floating_point() else IGNORED
    return predictions, targets


def check_answer_loss(build: Callable[[OutputKind], Any], *, output: OutputKind) -> None:
    """Check a loss for a kind of answers.

    Args:
        build: makes it for that kind, see `fptkit.LossSpec`.
        output: the kind of answers.

    Checked: it gives one finite number for each answer, from this answer alone, also for predictions that are very
    wrong; a finite gradient reaches every prediction.
    """
    each = build(output)
    spec = LossSpec(name="checked", summary="a loss", target=build, accepts=("classes",))
    predictions, targets = _answers(output, 0)
    rows, wanted = output.for_metrics(predictions, targets)
    batch = Batch(torch.zeros(_EXAMPLES, _TOKENS, 1), targets)
    try:
        loss = ChosenLoss(spec, each, output)
        for size in (1.0, 100.0):
            given = (predictions * size).requires_grad_()
            mean = loss(given, batch)
            mean.backward()
            gradient = given.grad
            assert gradient is not None, "no gradient reaches the predictions"
            assert bool(torch.isfinite(mean)), f"the loss of predictions times {size:g} is {float(mean.detach())}"
            assert bool(torch.isfinite(gradient).all()), (
                f"the gradient of the loss is not finite for predictions times {size:g}"
            )
    except PluginError as err:
        raise AssertionError(str(err).removeprefix(f"{spec}: ")) from err
    alone = torch.cat([each(rows[i : i + 1], wanted[i : i + 1]) for i in range(len(wanted))])
    difference = float((alone - each(rows, wanted)).abs().max())
    assert difference <= CLOSE, f"the loss of an answer depends on the other answers of its batch (by {difference:.2g})"


def check_added_metric(build: Callable[[OutputKind], Metric], *, output: OutputKind, higher_is_better: bool) -> None:
    """Check a metric for a kind of answers.

    Args:
        build: makes it for that kind, see `fptkit.MetricSpec`.
        output: the kind of answers.
        higher_is_better: the direction of its record.

    Checked: it declares that direction, and perfect predictions are at least as good as random ones by it; it gives one
    finite number; over two batches it is that of both together; after ``reset()`` nothing is left.
    """
    metric = build(output)
    name = type(metric).__name__
    direction = getattr(metric, "higher_is_better", None)
    assert direction == higher_is_better, (
        f"{name}: higher_is_better is {direction}, that of its record {higher_is_better}"
    )
    predictions, targets = output.for_metrics(*_answers(output, 0))
    half = len(targets) // 3
    metric.to(torch.device("cpu"))
    metric.reset()
    metric.update(predictions[:half], targets[:half])
    metric.update(predictions[half:], targets[half:])
    parts = _number(metric, name)
    metric.reset()
    metric.update(predictions, targets)
    whole = _number(metric, name)
    assert abs(parts - whole) <= CLOSE, (
        f"{name}: two batches give {parts:g}, both together {whole:g}; compute it over all answers, after reset() anew"
    )
    metric.reset()
    metric.update(_perfect(output, targets), targets)
    perfect = _number(metric, name)
    better = perfect >= whole if higher_is_better else perfect <= whole
    assert better, f"{name}: perfect predictions give {perfect:g}, random ones {whole:g}; is its direction right?"


def _number(metric: Metric, name: str) -> float:
    value = metric.compute()
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError) as err:
        raise AssertionError(f"{name}: compute() gave {value!r:.80}, expected one number") from err
    assert math.isfinite(number), f"{name}: compute() gave {number} for random predictions"
    return number


def _perfect(output: OutputKind, targets: Tensor) -> Tensor:
    if isinstance(output, (Classes, TokenClasses, NextSymbol)):
        return nn.functional.one_hot(targets, output.count) * 20.0
    if isinstance(output, Labels):
        return nn.functional.one_hot(targets, 2) * 20.0
    return targets.clone()


def check_head(build: Callable[[OutputKind, int], nn.Module], *, output: OutputKind, width: int = 8) -> None:
    """Check a head for a kind of answers.

    Args:
        build: makes it for that kind and width, see `fptkit.HeadSpec`.
        output: the kind of answers.
        width: D.

    Checked: predictions have the shape of the kind; two evaluations are equal; neither padding nor the other examples
    change a prediction; a gradient reaches every parameter.
    """
    head = build(output, width)
    assert isinstance(head, Head), f"{type(head).__name__} is not a subclass of fptkit.Head"
    name = type(head).__name__
    head.eval()
    tokens = torch.randn((3, _TOKENS, width), generator=generator_for(0, "check_head"))
    lengths = torch.tensor([_TOKENS, _TOKENS - 2, max(output.tokens, 1)])
    given = _read_by(head, tokens, lengths)
    found = head(given, lengths)
    wanted = prediction_shape(output, 3, _TOKENS)
    assert tuple(found.shape) == wanted, f"{name}: it gave predictions of shape {tuple(found.shape)}, expected {wanted}"
    assert torch.equal(found, head(given, lengths)), f"{name}: two evaluations of one batch differ"
    every = output.each_token
    for row, length in enumerate(lengths.tolist()):
        alone, own = tokens[row : row + 1, :length], torch.tensor([length])
        mine = head(_read_by(head, alone, own), own)[0]
        among = found[row, :length] if every else found[row]
        difference = float((mine - among).detach().abs().max())
        assert difference <= CLOSE, (
            f"{name}: an example alone differs from the same in a padded batch (by {difference:.2g}); use lengths to "
            "leave out padding"
        )
    (found * torch.randn(found.shape, generator=generator_for(1, "check_head"))).sum().backward()
    for parameter, value in head.named_parameters():
        assert value.grad is not None, f"{name}: no gradient reaches {parameter}"


def _read_by(head: Head, tokens: Tensor, lengths: Tensor) -> Tensor:
    """The tokens that the backbone would give the head."""
    positions = head.positions(tokens, lengths)
    return tokens if positions is None else tokens.gather(1, positions[:, :, None].expand(-1, -1, tokens.shape[2]))


def check_transform(build: Callable[[InputKind], Callable[..., Any]], *, input: InputKind) -> None:
    """Check a transform for a kind of inputs.

    Args:
        build: makes it for that kind, see `fptkit.TransformSpec`.
        input: the kind of inputs; not `fptkit.Mixed`.

    Checked: it gives a batch that fits the kind, with as many examples and targets; the same state of the generator
    gives the same batch, whatever the global generators; the batch it is given does not change.
    """
    assert not isinstance(input, Mixed), "a mixed input has no example; check it in a test of your own"
    change = build(input)
    batch, before = _batch_of(input), _batch_of(input)
    found = change(batch, generator_for(0, "check_transform"))
    assert isinstance(found, Batch), f"it returned {found!r:.80}, expected a fptkit.Batch"
    for wrong, message in input.faults(found.inputs, len(before), input.fixed_tokens or _TOKENS):
        assert not wrong, f"after the transform {message}"
    assert len(found.targets) == len(before), f"it gave {len(found.targets)} targets for {len(before)} examples"
    torch.manual_seed(1)
    again = change(_batch_of(input), generator_for(0, "check_transform"))
    same = all(map(torch.equal, found.tensors().values(), again.tensors().values()))
    assert same, "the same state of the generator gives another batch; draw from nothing but the given generator"
    kept = all(map(torch.equal, batch.tensors().values(), before.tensors().values()))
    assert kept, "it changes the batch that it is given; make new tensors, see dataclasses.replace"


def _batch_of(input: InputKind) -> Batch:
    generator = generator_for(0, "batch")
    targets = torch.arange(4)
    if isinstance(input, Grid):
        return Batch(torch.randn((4, *input.size, input.channels), generator=generator), targets)
    lengths = torch.tensor([_TOKENS, 3, 1, _TOKENS])
    padding = torch.arange(_TOKENS) >= lengths[:, None]
    if isinstance(input, Symbols):
        symbols = torch.randint(0, input.count, (4, _TOKENS), generator=generator)
        return Batch(symbols.masked_fill(padding, input.pad), targets, lengths)
    assert not isinstance(input, Mixed)
    vectors = torch.randn((4, _TOKENS, input.width), generator=generator)
    return Batch(vectors.masked_fill(padding[:, :, None], 0.0), targets, lengths)
