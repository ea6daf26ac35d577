"""The promises of each kind of component as checks. fptkit's own tests run them over every registered entry; plugin
authors call them on theirs::

    from fptkit.testing import check_task
    def test_contract():
        check_task(MyTask(MyOptions(), seed=0, pinned=None))

Each check raises ``AssertionError`` with a sentence that says which promise is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.backbones.options import Gpt2Sizes
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.options import LinearOptions
from fptkit.engine.events import Event, Listener, RunEnded, RunStarted, Saving, SplitTested, StepsDone, Validated
from fptkit.errors import PluginError, ShapeError
from fptkit.freezing import apply_policy
from fptkit.heads import Head
from fptkit.interfaces import (
    Backbone,
    Batch,
    Classes,
    Split,
    Symbols,
    Task,
    Values,
    Vectors,
    check_batch,
    check_best_metric,
    check_task_declarations,
)
from fptkit.model import CrossModalModel
from fptkit.seeds import generator_for
from fptkit.specs import ROLES, ComponentSpec, FreezingPolicySpec

TOLERANCE = 1e-4


def check_options(spec: ComponentSpec) -> None:
    """The target imports, and every option has a description."""
    assert callable(spec.resolve()), f"{spec}: its target cannot be called"
    for name, field in spec.options_model().model_fields.items():
        assert field.description, f"{spec}: option '{name}' has no description"


def check_backbone(build: Callable[[int], Backbone], *, tokens: int = 9) -> None:
    """Check a backbone.

    Args:
        build: makes the backbone for a number of positions, always with the same weights.
        tokens: T of the check, the positions asked for; at least 6.

    Checked: shape and dtype; the same output twice in evaluation; batch independence; padding, and for a causal
    backbone any later token, changes nothing; ``keep`` picks tokens; a role for every parameter; a gradient to
    the input.
    """
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
            disturbed[row, length:] += 1
        for row, length in enumerate(lengths.tolist()):
            what = f"{name}: what stands in the padding changes real tokens"
            _close(backbone(disturbed, lengths)[row, :length], whole[row, :length], what)
        keep = torch.tensor([[0, tokens - 1], [1, tokens - 4], [0, tokens - 6]])
        picked = torch.stack([whole[row, positions] for row, positions in enumerate(keep)])
        _close(backbone(inputs, lengths, keep), picked, f"{name}: keep gives other tokens than it names")
        if backbone.causal:
            later = inputs.clone()
            later[:, -1] += 1
            what = f"{name}: it says causal, but a later token changes an earlier one"
            _close(backbone(later)[:, :-1], backbone(inputs)[:, :-1], what)
    roles = backbone.parameter_roles()
    names = {parameter for parameter, _ in backbone.named_parameters()}
    assert roles.keys() == names, f"{name}: roles and parameters differ in {sorted(roles.keys() ^ names)[:3]}"
    for parameter, role in roles.items():
        assert role.role in ROLES, f"{name}: '{role.role}' of {parameter} is no role"
        inside = role.block is None or 0 <= role.block < backbone.blocks
        assert inside, f"{name}: block {role.block} of {parameter} is not in 0 ... {backbone.blocks - 1}"
    inputs.requires_grad_()
    # Weighted: a plain sum, or a sum of squares, is constant behind a layer norm.
    weights = torch.randn(backbone.width, generator=generator)
    (backbone(inputs, lengths)[:, 0] * weights).sum().backward()
    reached = inputs.grad is not None and bool(torch.any(inputs.grad != 0))
    assert reached, f"{name}: no gradient reaches the tokens"


def check_encoder(build: Callable[[], nn.Module], *, input: Vectors | Symbols, width: int) -> None:
    """Check an encoder: (B, T, D) in float32, examples independent of one another, a gradient everywhere.

    Args:
        build: makes it.
        input: the input kind it is built for.
        width: D it is built for.
    """
    encoder = build().eval()
    name = type(encoder).__name__
    generator = generator_for(0, "check_encoder")
    inputs = (
        torch.randint(0, input.count, (3, 50), generator=generator)
        if isinstance(input, Symbols)
        else torch.randn((3, 50, input.width), generator=generator)
    )
    encoded = encoder(inputs)
    assert encoded.shape == (3, 50, width), f"{name}: gave {tuple(encoded.shape)}, expected (3, 50, {width})"
    assert encoded.dtype == torch.float32, f"{name}: gave {encoded.dtype}, expected float32"
    _close(encoder(inputs[1:2]), encoded[1:2], f"{name}: an example depends on the others of its batch")
    encoded.square().sum().backward()
    for parameter, value in encoder.named_parameters():
        assert value.grad is not None, f"{name}: no gradient reaches {parameter}"


def check_task(task: Task, *, batch_size: int = 8) -> None:
    """Check a task.

    Args:
        task: the task.
        batch_size: examples of the batches it is asked for.

    Checked: ``input``, ``output`` and ``max_tokens`` hold in every split; the same generator state gives the same
    batch; an example does not depend on its batch; validation and test are finite; loss is a scalar with a gradient;
    metrics can be computed and hold ``best_metric``.
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
            assert split.size, f"{where}: it must have a size, so that it can be evaluated whole"
        indices = list(range(min(batch_size, split.size or batch_size)))
        batch = split.batch(indices, generator_for(0, "check_task"))
        try:
            check_batch(task, batch, len(indices), where=where)
        except ShapeError as err:
            raise AssertionError(str(err)) from err
        again = split.batch(indices, generator_for(0, "check_task"))
        assert torch.equal(batch.inputs, again.inputs), f"{where}: the same generator state gave another batch"
        # Another protocol may read padding as data (D9): an example then depends on its batch.
        if split.size is not None and task.protocol == "clean":
            _check_counts(split, batch, indices, where)
    shape = batch.targets.shape
    logits = torch.zeros((*shape, task.output.count) if isinstance(task.output, Classes) else shape, requires_grad=True)
    loss = task.loss(logits, batch)
    assert loss.ndim == 0, f"{name}: the loss has shape {tuple(loss.shape)}, expected a scalar"
    loss.backward()
    assert logits.grad is not None, f"{name}: the loss gives no gradient"
    metrics = task.metrics()
    flat = (
        (logits, batch.targets) if isinstance(task.output, Values) else (logits.flatten(0, -2), batch.targets.flatten())
    )
    metrics.update(flat[0].detach(), flat[1])
    best, _ = task.selection()
    assert best in {*metrics.compute(), "loss"}, f"{name}: best_metric '{best}' is not among its metrics"


def check_listener(listener: Listener) -> None:
    """Check a listener: it takes every event of a short run, in order, and answers nothing.

    Args:
        listener: built for a folder that exists.
    """
    name = type(listener).__name__
    facts: dict[str, Any] = {"task": {"name": "check"}, "backbone": {"name": "check"}, "seed": 0}
    metrics = {"loss": 0.5, "accuracy": 0.75}
    events: list[Event] = [
        RunStarted("check", Path("runs/check"), facts, ("a note",), step=0, max_steps=2, batch_size=4),
        StepsDone(step=1, loss=0.7, examples_per_second=10.0),
        Validated(step=1, metrics=metrics, best=True),
        Saving(step=1),
        StepsDone(step=2, loss=0.6, examples_per_second=10.0),
        Validated(step=2, metrics=metrics, best=False),
        Saving(step=2),
        SplitTested(split="test", step=1, metrics=metrics),
        RunEnded({**facts, "status": "finished", "metrics": {"validation": metrics, "test": {"test": metrics}}}),
    ]
    for event in events:
        # A caller that goes by the declared type cannot see what a listener returns; this looks all the same.
        handle: Callable[[Event], object] = listener.handle
        assert handle(event) is None, f"{name}: handle({type(event).__name__}) returned something; nobody takes it"


def trained_roles(policy: FreezingPolicySpec) -> dict[str, float]:
    """The learning-rate multiplier of every role that a policy trains on a GPT-2 of two small blocks.

    Args:
        policy: its record. Where a role has several multipliers, that of its last block is given.
    """
    kind = Vectors(3)
    backbone = random_gpt2(Gpt2Sizes(2, 8, 2, 16), positions=4, seed=0)
    model = CrossModalModel(
        LinearEncoder(LinearOptions(), input=kind, width=8), backbone, Head(Classes(2), 8, readout="last")
    )
    roles = model.parameter_roles()
    return {
        roles[name].role: group.learning_rate_multiplier
        for group in apply_policy(model, policy)
        for name in group.parameters
    }


def _check_counts(split: Split, batch: Batch, indices: list[int], where: str) -> None:
    """``token_counts`` are the lengths, and one example alone is the same as in a batch."""
    if split.token_counts is not None:
        assert len(split.token_counts) == split.size, f"{where}: token_counts and size differ"
        lengths = [batch.inputs.shape[1]] * len(indices) if batch.lengths is None else batch.lengths.tolist()
        assert split.token_counts[indices].tolist() == lengths, f"{where}: token_counts are not the lengths"
    last = len(indices) - 1
    alone = split.batch([indices[last]], generator_for(0, "check_task"))
    real = int(batch.lengths[last]) if batch.lengths is not None else batch.inputs.shape[1]
    assert torch.equal(alone.targets[0], batch.targets[last]), f"{where}: an example's target depends on its batch"
    same_shape = alone.inputs[0, :real].shape == batch.inputs[last, :real].shape
    assert same_shape, f"{where}: an example's tokens depend on its batch"


def _close(left: Tensor, right: Tensor, broken: str) -> None:
    worst = float((left - right).detach().abs().max())
    assert worst <= TOLERANCE, f"{broken} (by up to {worst:.2g})"
