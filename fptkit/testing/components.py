"""The contracts of tasks, encoders, backbones and freezing policies as checks; public in `fptkit.testing`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fptkit.backbones.finite import check_finite
from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.backbones.options import Gpt2Sizes
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.options import LinearOptions
from fptkit.errors import PluginError, ShapeError
from fptkit.freezing import apply_policy
from fptkit.interfaces import (
    Backbone,
    Batch,
    Classes,
    Encoder,
    Grid,
    InputKind,
    Inputs,
    Metrics,
    Mixed,
    Preparation,
    Split,
    Symbols,
    Task,
    Vectors,
    check_batch,
    check_best_metric,
    check_mean_of_examples,
    check_task_declarations,
    encode,
)
from fptkit.model import CrossModalModel, Head
from fptkit.numerics.recompute import recompute_blocks
from fptkit.options import Options
from fptkit.seeds import generator_for, seeded
from fptkit.specs import ROLES, FreezingPolicySpec

TOLERANCE = 1e-4


def check_backbone(build: Callable[[int], Backbone], *, tokens: int = 9, options: Options | None = None) -> None:
    """Check a backbone.

    Args:
        build: makes the backbone for a number of positions, with the same weights each time.
        tokens: T of the check, and the number of positions; at least 6.
        options: those of a recipe, which may add trained positions and a prefix to the tokens: then numbers must be
            finite with them, as in a run. None: the backbone gets the tokens as they are.

    Checked: shape and dtype; two evaluations give the same output; examples of a batch are independent; padding, and in
    a causal backbone any later token, changes nothing; ``keep`` selects tokens; every parameter has a role; a gradient
    reaches the input; numbers are finite for extreme tokens, see `check_finite`.
    """
    check_built_twice(lambda: build(tokens))
    backbone = build(tokens).eval()
    name = type(backbone).__name__
    generator = generator_for(0, "check_backbone")
    inputs = torch.randn((3, tokens, backbone.width), generator=generator)
    lengths = torch.tensor([tokens, tokens - 3, tokens - 5])
    with torch.no_grad():
        whole = backbone(inputs, lengths)
        assert whole.shape == inputs.shape, f"{name}: (B, T, D) {tuple(inputs.shape)} became {tuple(whole.shape)}"
        assert whole.dtype == inputs.dtype, f"{name}: float32 tokens became {whole.dtype}"
        assert torch.equal(whole, backbone(inputs, lengths)), f"{name}: two evaluations of one batch differ"
        for row, length in enumerate(lengths.tolist()):
            alone = backbone(inputs[row : row + 1, :length])
            _close(whole[row, :length], alone[0], f"{name}: an example alone differs from the same in a padded batch")
        disturbed = inputs.clone()
        for row, length in enumerate(lengths.tolist()):
            # Not a constant, which a layer norm would remove.
            disturbed[row, length:] += torch.randn((tokens - length, backbone.width), generator=generator)
        for row, length in enumerate(lengths.tolist()):
            what = f"{name}: the content of the padding changes real tokens"
            _close(backbone(disturbed, lengths)[row, :length], whole[row, :length], what)
        keep = torch.tensor([[0, tokens - 1], [1, tokens - 4], [0, tokens - 6]])
        picked = torch.stack([whole[row, positions] for row, positions in enumerate(keep)])
        _close(backbone(inputs, lengths, keep), picked, f"{name}: keep does not give the tokens that it names")
        if backbone.causal:
            later = inputs.clone()
            later[:, -1] += torch.randn(backbone.width, generator=generator)
            what = f"{name}: it is declared causal, but a later token changes an earlier one"
            _close(backbone(later)[:, :-1], backbone(inputs)[:, :-1], what)
    roles = backbone.parameter_roles()
    names = {parameter for parameter, _ in backbone.named_parameters()}
    assert roles.keys() == names, f"{name}: roles and parameters differ in {sorted(roles.keys() ^ names)[:3]}"
    for parameter, role in roles.items():
        assert role.role in ROLES, f"{name}: '{role.role}' of {parameter} is not a role"
        inside = role.block is None or 0 <= role.block < backbone.blocks
        assert inside, f"{name}: block {role.block} of {parameter} is not in 0 ... {backbone.blocks - 1}"
    inputs.requires_grad_()
    # Weighted: a plain sum, or a sum of squares, is constant after a layer norm.
    weights = torch.randn(backbone.width, generator=generator)
    (backbone(inputs, lengths)[:, 0] * weights).sum().backward()
    reached = inputs.grad is not None and bool(torch.any(inputs.grad != 0))
    assert reached, f"{name}: no gradient reaches the tokens"
    if backbone.block_modules():
        training = build(tokens).train()
        kept = _gradient_of_tokens(training, inputs, lengths, weights)
        recompute_blocks(training, name)
        again = _gradient_of_tokens(training, inputs, lengths, weights)
        _close(again, kept, f"{name}: recomputing the blocks of block_modules() changes the gradient")
    check_finite(build, tokens=tokens, options=options)


def _gradient_of_tokens(backbone: Backbone, inputs: Tensor, lengths: Tensor, weights: Tensor) -> Tensor:
    """Gradient of a weighted sum over the first token of each example, in training mode, with fixed random draws."""
    tokens = inputs.detach().requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        (gradient,) = torch.autograd.grad((backbone(tokens, lengths)[:, 0] * weights).sum(), tokens)
    return gradient


def check_built_twice(build: Callable[[], nn.Module]) -> None:
    """Check that two builds with the same seed have the same tensors, bit for bit, as resuming a run needs.

    Args:
        build: makes the module. Like in a run, torch's, numpy's and Python's global generators are seeded for it.
    """
    tensors = []
    for _ in range(2):
        with seeded(0):
            tensors.append(build().state_dict())
    first, second = tensors
    differ = sorted(name for name in first.keys() | second.keys() if not _same(first.get(name), second.get(name)))
    assert not differ, (
        f"two builds with one seed differ in {', '.join(differ[:3])}: draw from the given seed or torch's global "
        "generator, not from a generator without a seed, the clock or the system"
    )


def _same(one: Any, other: Any) -> bool:
    both = isinstance(one, Tensor) and isinstance(other, Tensor)
    return torch.equal(torch.nan_to_num(one), torch.nan_to_num(other)) if both else type(one) is type(other)


def check_encoder(
    build: Callable[[], nn.Module], *, input: InputKind, width: int, tokens: int = 50, token_count: int | None = None
) -> None:
    """Check an encoder.

    Args:
        build: makes the encoder.
        input: the input kind that it is built for.
        width: D that it is built for.
        tokens: raw tokens of the check's examples, for vectors and symbols; at least 6.
        token_count: encoded tokens of such an example by its target's ``token_count``; required if the last tokens come
            from a grid, since nothing else gives their number.

    Checked: shape and dtype; two evaluations give the same output; examples of a batch are independent; the number of
    tokens is that of ``token_count`` and ``encoded_lengths``, at least one; padding changes no real token, whatever its
    content; a gradient reaches every parameter.
    """
    check_built_twice(build)
    encoder = build().eval()
    name = type(encoder).__name__
    generator = generator_for(0, "check_encoder")
    inputs = _examples(input, tokens, generator)
    raw = int(input.whole_lengths(inputs).max())
    encoded, _ = encode(encoder, inputs, None)
    assert input.varies or token_count is not None, f"{name}: give token_count to check_encoder"
    expected = _encoded_count(encoder, input, _lengths(input, inputs, [raw])) if input.varies else token_count
    if token_count is not None:
        assert expected == token_count, f"{name}: encoded_lengths makes {expected} of {raw}, token_count {token_count}"
    shape = (3, expected, width)
    assert encoded.shape == shape, f"{name}: gave {tuple(encoded.shape)}, expected {shape}"
    assert encoded.dtype == torch.float32, f"{name}: gave {encoded.dtype}, expected float32"
    assert torch.equal(encoded, encode(encoder, inputs, None)[0]), f"{name}: two evaluations of one batch differ"
    alone, _ = encode(encoder, input.example(inputs, 1), None)
    _close(alone, encoded[1:2], f"{name}: an example depends on the others of its batch")
    if input.varies:
        _check_padding(encoder, input, inputs, raw)
    weights = torch.randn(width, generator=generator)
    (encoded * weights).square().sum().backward()
    for parameter, value in encoder.named_parameters():
        assert value.grad is not None, f"{name}: no gradient reaches {parameter}"


def _check_padding(encoder: nn.Module, input: InputKind, inputs: Inputs, raw: int) -> None:
    """``encoded_lengths`` gives the output's lengths; real tokens do not depend on padding, here random numbers."""
    name = type(encoder).__name__
    counts = [_encoded_count(encoder, input, _lengths(input, inputs, [length])) for length in range(1, raw + 1)]
    assert counts[0] >= 1, f"{name}: an example of one token becomes {counts[0]}"
    assert counts == sorted(counts), f"{name}: a longer example becomes fewer tokens"
    chosen = [raw, max(raw - 3, 1), max(raw // 2 - 1, 1)]
    lengths = _lengths(input, inputs, chosen)
    whole, _ = encode(encoder, inputs, lengths)
    for row, length in enumerate(chosen):
        alone, _ = encode(encoder, input.example(inputs, row, lengths[row]), None)
        real = counts[length - 1]
        assert alone.shape[1] == real, (
            f"{name}: {length} tokens became {alone.shape[1]}, but encoded_lengths says {real}"
        )
        _close(whole[row, :real], alone[0], f"{name}: an example alone differs from the same in a padded batch")


def _lengths(input: InputKind, inputs: Inputs, counts: Sequence[int]) -> Tensor:
    """Lengths of examples with so many tokens in every part that may vary, or as many as the part has."""
    found = torch.tensor(counts)
    if not isinstance(input, Mixed) or not input.columns:
        return found
    return torch.minimum(found[:, None], input.whole_lengths(inputs)[:1])


def _encoded_count(encoder: nn.Module, input: InputKind, lengths: Tensor) -> int:
    """Encoded tokens of an example with these raw tokens."""
    if isinstance(encoder, Encoder):
        return int(encoder.encoded_lengths(lengths))
    return input.tokens_before + int(lengths)


def _examples(input: InputKind, tokens: int, generator: torch.Generator) -> Inputs:
    """Three examples, none padded."""
    if isinstance(input, Mixed):
        return {name: _examples(kind, input.tokens_of(name), generator) for name, kind in input.parts.items()}
    if isinstance(input, Symbols):
        return torch.randint(0, input.count, (3, tokens), generator=generator)
    shape = (*input.size, input.channels) if isinstance(input, Grid) else (tokens, input.width)
    return torch.randn((3, *shape), generator=generator)


def check_task(task: Task, *, batch_size: int = 8) -> None:
    """Check a task.

    Args:
        task: the task.
        batch_size: examples per batch.

    Checked: every split keeps to ``input``, ``output`` and ``max_tokens``; the same generator state gives the same
    batch; an example does not depend on its batch; validation and test are finite; the loss is a scalar with a
    gradient, that of a kind a mean over examples; each metric gives one number, the same after ``reset()``; whether
    higher is better is known for ``best_metric``; a preparation is the same after it was saved, and declares the same.
    """
    name = type(task).__name__
    try:
        check_task_declarations(task)
        check_best_metric(task)
    except PluginError as err:
        raise AssertionError(str(err)) from err
    for split_name in ("train", "validation", *task.test_splits):
        split = task.split(split_name)
        where = f"{name}, split {split_name}"
        if split_name != "train" and task.sampled_evaluation is None:
            assert split.size, f"{where}: it must have a size, so that it can be evaluated in full"
        indices = list(range(min(batch_size, split.size or batch_size)))
        batch = split.batch(indices, generator_for(0, "check_task"))
        try:
            check_batch(task, batch, len(indices), where=where)
        except ShapeError as err:
            raise AssertionError(str(err)) from err
        again = split.batch(indices, generator_for(0, "check_task"))
        same = all(map(torch.equal, batch.tensors().values(), again.tensors().values()))
        assert same, f"{where}: the same generator state gave another batch"
        # Another protocol may read padding as data (D9): an example then depends on its batch.
        if split.size is not None and task.protocol == "clean":
            _check_counts(task, split, batch, indices, where)
    shape = task.output.prediction_shape(len(batch), task.input.tokens_in(batch.inputs))
    logits = torch.zeros(shape, requires_grad=True)
    loss = task.loss(logits, batch)
    assert isinstance(loss, Tensor), f"{name}: the loss is a {type(loss).__name__}, expected a tensor"
    assert loss.ndim == 0, f"{name}: the loss has shape {tuple(loss.shape)}, expected a scalar"
    assert loss.requires_grad, f"{name}: the loss does not depend on the logits; compute it from them, without detach()"
    loss.backward()
    assert logits.grad is not None, f"{name}: the loss gives no gradient"
    try:
        check_mean_of_examples(task, batch, torch.randn(shape, generator=generator_for(0, "check_task")))
    except PluginError as err:
        raise AssertionError(str(err)) from err
    _check_metrics(task, *task.output.for_metrics(logits.detach(), batch.targets))
    if task.preparation is not None:
        _check_preparation(task, task.preparation)


def _check_preparation(task: Task, preparation: Preparation) -> None:
    name = type(preparation).__name__
    read_back = type(preparation).model_validate_json(preparation.model_dump_json())
    assert read_back == preparation, f"{name}: it is not the same after it was saved as JSON and read back"
    for attribute in ("input", "output", "max_tokens"):
        ours, tasks = getattr(preparation, attribute), getattr(task, attribute)
        assert ours == tasks, f"{name}: {attribute} is {ours}, but that of the task is {tasks}"


def _check_metrics(task: Task, predictions: Tensor, targets: Tensor) -> None:
    """Each metric gives one number, and the same after `reset`; the loss or one of them selects the best step. Whether
    higher is better was checked before."""
    name, cpu = type(task).__name__, torch.device("cpu")
    metrics = Metrics.of(task)
    found = []
    for _ in range(2):
        metrics.fresh(cpu).update(predictions, targets)
        try:
            found.append(metrics.compute())
        except PluginError as err:
            raise AssertionError(str(err)) from err
    once, again = found
    for metric, value in once.items():
        same = value == again[metric] or math.isnan(value)
        assert same, f"{name}: metric '{metric}' gives {value}, and after reset() {again[metric]} for the same batch"
        fraction = not metrics.is_fraction(metric) or (not value < 0 and not value > 1)
        assert fraction, f"{name}: metric '{metric}' says it is a fraction, but gives {value}"
    best, _ = task.selection()
    assert best in {*once, "loss"}, f"{name}: best_metric '{best}' is not among its metrics"


def trained_roles(policy: FreezingPolicySpec) -> dict[str, float]:
    """The learning-rate multiplier of every role that a policy trains on a GPT-2 of two small blocks.

    Args:
        policy: its record. If a role has several multipliers, the result holds that of its last block.
    """
    kind = Vectors(3)
    backbone = random_gpt2(Gpt2Sizes(2, 8, 2, 16), positions=4, seed=0)
    model = CrossModalModel(
        LinearEncoder(LinearOptions(), input=kind, width=8), backbone, Head(Classes(2), 8, readout="last")
    )
    groups = apply_policy(model, policy)
    roles = model.parameter_roles()  # after it: a policy may add parameters
    return {roles[name].role: group.learning_rate_multiplier for group in groups for name in group.parameters}


def _check_counts(task: Task, split: Split, batch: Batch, indices: list[int], where: str) -> None:
    """``token_counts`` are the lengths, and one example alone is the same as in a batch."""
    if split.token_counts is not None:
        assert len(split.token_counts) == split.size, f"{where}: token_counts and size differ"
        whole = task.input.whole_lengths(batch.inputs) if batch.lengths is None else batch.lengths
        lengths = whole.reshape(len(indices), -1).sum(1).tolist()  # of all parts that vary
        assert split.token_counts[indices].tolist() == lengths, f"{where}: token_counts are not the lengths"
    last = len(indices) - 1
    alone = split.batch([indices[last]], generator_for(0, "check_task"))
    length = None if batch.lengths is None else batch.lengths[last]
    mine = alone.targets[0]
    among = batch.targets[last]
    if task.output.each_token and length is not None:
        among = among[: int(length)]
    same = torch.equal(mine.nan_to_num(), among.nan_to_num()) and torch.equal(mine.isnan(), among.isnan())
    assert same, f"{where}: an example's target depends on its batch"
    own = task.input.example(batch.inputs, last, length)
    parts = own.values() if isinstance(own, dict) else [own]
    for mine, among_others in zip(alone.tensors().values(), parts, strict=True):
        assert mine.shape == among_others.shape, f"{where}: an example's tokens depend on its batch"


def _close(left: Tensor, right: Tensor, broken: str) -> None:
    worst = float((left - right).detach().abs().max())
    assert worst <= TOLERANCE, f"{broken} (by up to {worst:.2g})"
