"""What a recipe would take, without running it and without its weights.

The recipe is built with tensors that have shapes but no numbers, from the config of its weights, and one batch of the
task goes through it forward and backward. So the figures are those of the step a run would take, counted, not guessed
from a formula of the architecture; a model of billions of parameters takes seconds and no memory.

Memory is the sum of

- frozen weights in the precision they are stored in, and buffers;
- trained weights in float32, their gradients, as many bytes again, and Adam's two running means, twice as many;
- activations: every tensor that autograd keeps from the forward to the backward, each storage once, of the largest of
  the parts that ``train.accumulate`` cuts a batch into. With ``train.activation_checkpointing`` what one block keeps
  while it is run once more comes on top, and is left out.

Left out are the working space of single operations, the data set, Python and the libraries themselves (300 to 700 MiB).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fptkit.build import Built, build, build_task
from fptkit.engine.batches import micro_batches
from fptkit.engine.setup import training_batches
from fptkit.interfaces import Batch, Inputs, Task
from fptkit.lab.benchmarking.skeletons import find_config, make_skeleton, place
from fptkit.numerics.flops import FlopCounter
from fptkit.numerics.precision import choose_device, choose_precision
from fptkit.recipe.load import LoadedRecipe
from fptkit.recipe.models import Component, Recipe

ADAM_MEANS = 2
"""Numbers the optimiser keeps for each trained one."""


@dataclass(frozen=True)
class Estimate:
    """What a recipe takes. Sizes are in bytes.

    Args:
        recipe: its name.
        weights: the weights whose config gave the sizes.
        device: ``cpu`` or ``cuda``.
        precision: of the frozen weights.
        parameters: numbers in all parameters.
        trained: numbers that train.
        examples: of the batch.
        tokens: of its examples as the backbone sees them, padding counted.
        max_tokens: of the task's longest example, as the backbone sees it.
        steps: of the run, at most.
        frozen_bytes: frozen weights and buffers.
        trained_bytes: trained weights.
        gradient_bytes: of those.
        optimizer_bytes: state of the optimiser.
        activation_bytes: kept from forward to backward.
        flops_per_step: see `fptkit.freezing.counts.GradientPass`; as a run's ``summary.json`` has it.
        notes: what was passed over, and what differs from a run.
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
    notes: tuple[str, ...]

    @property
    def memory_bytes(self) -> int:
        """All of it."""
        return (
            self.frozen_bytes + self.trained_bytes + self.gradient_bytes + self.optimizer_bytes + self.activation_bytes
        )

    @property
    def flops_per_run(self) -> int:
        """Operations of all steps, evaluation left out."""
        return self.flops_per_step * self.steps


def estimate(loaded: LoadedRecipe) -> Estimate:
    """Estimate a recipe. Its data are opened, since they say how long a batch is; its weights are not.

    Raises:
        SourceError: the data or the config of the weights cannot be had.
        FptkitError: the parts do not go together, as when the recipe is run.
    """
    recipe, registry = loaded.recipe, loaded.registry
    device = choose_device(recipe.device)
    precision = choose_precision(
        recipe.pinned.precision or "auto" if recipe.precision == "auto" else recipe.precision, device
    )
    config = find_config(recipe.backbone, recipe.pinned.weights)
    task = build_task(recipe, registry)
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
        precision=precision,
        parameters=sum(parameter.numel() for parameter in parameters),
        trained=sum(parameter.numel() for parameter in trained),
        examples=len(batch),
        tokens=passes[0].tokens,
        max_tokens=task.max_tokens if built.encoded_tokens is None else built.encoded_tokens,
        steps=recipe.train.max_steps,
        frozen_bytes=_bytes(parameters) - trained_bytes + _bytes(list(built.model.buffers())),
        trained_bytes=trained_bytes,
        gradient_bytes=trained_bytes,
        optimizer_bytes=ADAM_MEANS * trained_bytes,
        activation_bytes=max(seen.activation_bytes for seen in passes),
        flops_per_step=round(sum(seen.flops for seen in passes) * batches.step_cost()),
        notes=(*config.notes, *_notes(task)),
    )


@dataclass(frozen=True)
class _Pass:
    """What one forward and backward of skeletons shows."""

    tokens: int
    activation_bytes: int
    flops: int


def _watch(built: Built, batch: Batch) -> _Pass:
    """One forward in training mode, for what is kept; then forward and backward in evaluation mode, for the operations.

    As in `fptkit.freezing.counts.gradient_pass`: blocks that the backward of training would run again count once.
    """
    model = built.model
    own = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}
    tokens, uncounted = 0, 0

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            kept[_storage(tensor)] = tensor  # held, so that no other storage takes its place
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
            built.task.loss(model(batch.inputs, batch.lengths), batch).backward()
    finally:
        hook.remove()
    return _Pass(tokens, activations, counter.total + uncounted)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensors: list[Tensor] | list[torch.nn.Parameter]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _without_numbers(recipe: Recipe, precision: str) -> Recipe:
    """The recipe without what measures numbers and changes no size."""
    encoder = recipe.encoder
    if encoder is not None and getattr(encoder.options, "match_norm", False):
        encoder = Component(name=encoder.name, options=encoder.options.model_copy(update={"match_norm": False}))
    return recipe.model_copy(update={"encoder": encoder, "precision": precision})


def _skeleton_of(batch: Batch, mode: FakeTensorMode, device: torch.device) -> Batch:
    """A batch of shapes only. All its tokens are taken for real: how many are cannot be asked of shapes."""

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
        yield f"the data are a stand-in ({task.source}): the recipe's first source may have longer examples"
