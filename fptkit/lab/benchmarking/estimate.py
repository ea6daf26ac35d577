"""Estimates the memory and compute of a recipe without running it and without its weights.

The recipe is built from the config of its weights with fake tensors, which have shapes but no numbers, and one batch of
the task passes through it forward and backward. The figures are therefore counted on the step that a run would take,
not computed from a formula for the architecture. A model of billions of parameters takes seconds and no memory.

Memory is the sum of

- frozen weights in the precision they are stored in, and buffers;
- trained weights in float32, their gradients (as many bytes again) and Adam's two running means (twice as many);
- activations: every tensor that autograd saves for the backward pass, each storage once, of the largest micro-batch
  (``train.accumulate``). With ``train.activation_checkpointing``, the activations of the one block that is being
  recomputed are not counted.

Not counted are workspaces of single operations, the data set, Python and the libraries themselves (300 to 700 MiB).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fptkit.engine.batches import micro_batches
from fptkit.engine.build import Built, build, build_task, precision_for
from fptkit.engine.setup import training_batches
from fptkit.interfaces import Batch, Inputs, Task
from fptkit.lab.benchmarking.hours import Work
from fptkit.lab.benchmarking.skeletons import find_config, make_skeleton, place
from fptkit.numerics.flops import FlopCounter
from fptkit.numerics.precision import choose_device
from fptkit.recipe.load import LoadedRecipe
from fptkit.recipe.models import Component, Recipe, TrainOptions

ADAM_MEANS = 2
"""Numbers in the optimizer's state for each trained number."""


@dataclass(frozen=True)
class Estimate:
    """Estimated memory and compute of a recipe; sizes are in bytes.

    Args:
        recipe: its name.
        weights: source of the config that the sizes are from.
        device: ``cpu`` or ``cuda``.
        precision: of the frozen weights.
        parameters: number of parameters.
        trained: number of trained parameters.
        examples: batch size.
        tokens: tokens of each example in this batch, as the backbone sees them, padding included.
        max_tokens: tokens of the task's longest example, as the backbone sees it.
        steps: largest number of steps of the run.
        frozen_bytes: frozen weights and buffers.
        trained_bytes: trained weights.
        gradient_bytes: gradients of the trained weights.
        optimizer_bytes: state of the optimizer.
        activation_bytes: activations saved for the backward pass.
        flops_per_step: see `fptkit.freezing.counts.GradientPass`; the same as in a run's ``summary.json``.
        flops_per_example: of the forward pass alone, of an example as long as those of an average batch.
        evaluated: examples of all evaluations of a run that takes every step.
        in_turn: operations of the backbone that cannot run at the same time, those of an LSTM: time steps x layers;
            0 for a transformer.
        blocks, width: size of the backbone; None if it does not report them.
        notes: sources that were skipped, and differences from a run.
    """

    recipe: str
    weights: str
    device: str
    precision: str
    parameters: int
    trained: int
    examples: int
    tokens: int
    max_tokens: int
    steps: int
    frozen_bytes: int
    trained_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    flops_per_step: int
    flops_per_example: int
    evaluated: int
    in_turn: int
    blocks: int | None
    width: int | None
    notes: tuple[str, ...]

    @property
    def memory_bytes(self) -> int:
        """Sum of all sizes."""
        return (
            self.frozen_bytes + self.trained_bytes + self.gradient_bytes + self.optimizer_bytes + self.activation_bytes
        )

    @property
    def work(self) -> Work:
        """What a complete run computes, evaluations included."""
        return Work(self.steps, self.flops_per_step, self.flops_per_example * self.evaluated, self.in_turn)

    @property
    def flops_per_run(self) -> int:
        """Floating-point operations of all training steps, without evaluation."""
        return self.flops_per_step * self.steps


def estimate(loaded: LoadedRecipe) -> Estimate:
    """Estimate a recipe. Its data are opened, since the length of a batch depends on them; its weights are not.

    Args:
        loaded: the recipe.

    Raises:
        SourceError: the data or the config of the weights is not available.
        FptkitError: the components do not fit together; the same error as when the recipe is run.
    """
    recipe, registry = loaded.recipe, loaded.registry
    device = choose_device(recipe.device)
    config = find_config(recipe.backbone, recipe.pinned.weights)
    task = build_task(recipe, registry)
    precision = precision_for(recipe, task, config.entry, device)
    batches, _ = training_batches(recipe, task, task.split("train"))
    batch = batches.batch(0)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        built = build(
            _without_numbers(recipe, precision),
            registry,
            torch.device("cpu"),
            task=task,
            make_backbone=partial(make_skeleton, recipe.backbone, config, registry),
        )
        if device.type != "cpu":
            place(built.model, device)
        parts = micro_batches(batch, recipe.train.accumulate)
        passes = [_watch(built, _skeleton_of(part, mode, device)) for part in parts]
    parameters = list(built.model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    trained_bytes = _bytes(trained)
    return Estimate(
        recipe=loaded.name,
        weights=config.entry,
        device=device.type,
        precision=built.precision,
        parameters=sum(parameter.numel() for parameter in parameters),
        trained=sum(parameter.numel() for parameter in trained),
        examples=len(batch),
        tokens=passes[0].tokens,
        max_tokens=_longest(built),
        steps=recipe.train.max_steps,
        frozen_bytes=_bytes(parameters) - trained_bytes + _bytes(list(built.model.buffers())),
        trained_bytes=trained_bytes,
        gradient_bytes=trained_bytes,
        optimizer_bytes=ADAM_MEANS * trained_bytes,
        activation_bytes=max(seen.activation_bytes for seen in passes),
        flops_per_step=round(sum(seen.flops for seen in passes) * batches.step_cost()),
        flops_per_example=round(sum(seen.forward_flops for seen in passes) * batches.step_cost() / len(batch)),
        evaluated=evaluated(task, recipe.train),
        in_turn=_in_turn(built, passes[0].tokens),
        blocks=getattr(built.model.backbone, "blocks", None) or None,
        width=getattr(built.model.backbone, "width", None),
        notes=(*config.notes, *_notes(task)),
    )


def evaluated(task: Task, options: TrainOptions) -> int:
    """Number of examples that all evaluations of a run see: a validation after every ``validate_every`` steps and at
    the end, and the test splits once. A split without an end counts as nothing.

    Args:
        task: the task.
        options: of its training.
    """

    def size(name: str) -> int:
        if sample := task.sampled_evaluation:
            return sample.batches * sample.size_factor * options.batch_size
        return task.split(name).size or 0

    return -(-options.max_steps // options.validate_every) * size("validation") + sum(map(size, task.test_splits))


def _in_turn(built: Built, tokens: int) -> int:
    """Time steps x layers of a recurrent backbone; 0 for others."""
    backbone = built.model.backbone
    recurrent = any(role.role == "recurrent" for role in backbone.parameter_roles().values())
    return tokens * max(backbone.blocks, 1) if recurrent else 0


@dataclass(frozen=True)
class _Pass:
    """What one forward and backward pass with fake tensors shows."""

    tokens: int
    activation_bytes: int
    flops: int
    forward_flops: int


def _watch(built: Built, batch: Batch) -> _Pass:
    """A forward pass in training mode counts activations; forward and backward in evaluation mode count operations.

    As in `fptkit.freezing.counts.gradient_pass`, blocks that training recomputes in the backward pass count once.
    """
    model = built.model
    own = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}
    tokens, uncounted = 0, 0

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            kept[_storage(tensor)] = tensor  # a reference, so that the address of its storage is not reused
        return tensor

    def ask(backbone: Any, given: tuple[Any, ...]) -> None:
        nonlocal tokens, uncounted
        tokens = given[0].shape[1]
        uncounted += backbone.uncounted_flops(given[0])

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        built.task.loss(model(batch.inputs, batch.lengths), batch)
    activations = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    model.eval()
    hook = model.backbone.register_forward_pre_hook(ask)
    try:
        with FlopCounter() as counter:
            loss = built.task.loss(model(batch.inputs, batch.lengths), batch)
            forward = counter.total
            loss.backward()
    finally:
        hook.remove()
    # Operations that torch does not count are of forward and backward together; skeletons of our own have none.
    return _Pass(tokens, activations, counter.total + uncounted, forward + uncounted)


def _longest(built: Built) -> int:
    """Tokens of the task's longest example as the backbone sees it, with the prefix."""
    encoded = built.task.max_tokens if built.encoded_tokens is None else built.encoded_tokens
    return encoded + (0 if built.model.front is None else built.model.front.prefix_tokens)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensors: list[Tensor] | list[torch.nn.Parameter]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _without_numbers(recipe: Recipe, precision: str) -> Recipe:
    """The recipe without options that need numbers and do not change any size."""
    encoder = recipe.encoder
    if encoder is not None and getattr(encoder.options, "match_norm", False):
        encoder = Component(name=encoder.name, options=encoder.options.model_copy(update={"match_norm": False}))
    pinned = recipe.pinned.model_copy(update={"precision": precision})
    return recipe.model_copy(update={"encoder": encoder, "pinned": pinned, "shuffle_tokens": False})


def _skeleton_of(batch: Batch, mode: FakeTensorMode, device: torch.device) -> Batch:
    """A batch of fake tensors, without lengths: they are numbers, so padding counts as real tokens."""

    def fake(tensor: Tensor) -> Tensor:
        return mode.from_tensor(tensor).to(device)

    inputs: Inputs = (
        {name: fake(part) for name, part in batch.inputs.items()}
        if not isinstance(batch.inputs, Tensor)
        else fake(batch.inputs)
    )
    return Batch(inputs=inputs, targets=fake(batch.targets))


def _notes(task: Task) -> Iterator[str]:
    if task.stand_in:
        yield f"fallback (stand-in) data ({task.source}): the recipe's first source may have longer examples"
