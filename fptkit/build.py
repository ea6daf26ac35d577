"""From a checked recipe to the objects of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fptkit.errors import FptkitError, FreezingError, PluginError, ShapeError, UsageError
from fptkit.freezing import TrainedGroup, apply_policy
from fptkit.freezing.options import FreezingOptions
from fptkit.heads import Head, default_readout
from fptkit.interfaces import Backbone, Batch, Symbols, Task, Vectors, check_task_declarations
from fptkit.model import CrossModalModel
from fptkit.options import Options
from fptkit.precision import choose_precision
from fptkit.recipe.models import Recipe
from fptkit.registry import Registry
from fptkit.seeds import derive_seed
from fptkit.specs import BackboneSpec, ComponentSpec, EncoderSpec, FreezingPolicySpec, TaskSpec


@dataclass(frozen=True)
class Built:
    """The parts of a run.

    Args:
        task: with its source opened.
        model: on the device, frozen weights in their stored precision, policy applied.
        groups: the trained parameters.
        encoder_name: the encoder taken, which the recipe may leave open.
        readout: the read-out taken.
        precision: ``float32`` or ``bfloat16``: how frozen weights are stored and multiplied.
    """

    task: Task
    model: CrossModalModel
    groups: list[TrainedGroup]
    encoder_name: str
    readout: str
    precision: str


def build(recipe: Recipe, registry: Registry, device: torch.device) -> Built:
    """Build everything a recipe names.

    Raises:
        FptkitError: of the kind that says what does not fit; its ``exit_code`` is that of a wrong recipe.
    """
    try:
        return _build(recipe, registry, device)
    except (ShapeError, FreezingError) as err:
        err.exit_code = UsageError.exit_code  # nothing was run: these parts do not go together
        raise


def _build(recipe: Recipe, registry: Registry, device: torch.device) -> Built:
    task = build_task(recipe, registry)
    backbone_spec = registry.get(BackboneSpec, recipe.backbone.name)
    seed = recipe.train.seed
    backbone: Backbone = build_component(
        backbone_spec,
        recipe.backbone.options,
        positions=task.max_tokens,
        seed=derive_seed(seed, "backbone"),
        pinned=recipe.pinned.weights,
    )
    _check_backbone(backbone, recipe.backbone.name)
    encoder_name = recipe.encoder.name if recipe.encoder else _default_encoder(task)
    encoder_spec = registry.get(EncoderSpec, encoder_name)
    _check_input(encoder_spec, task)
    readout = recipe.head.readout
    if readout == "auto":
        readout = default_readout(task.output, causal=backbone.causal)
    # Encoder and head draw from torch's global generator, as its modules do; it is seeded here and put back after.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "encoder"))
        options = recipe.encoder.options if recipe.encoder else encoder_spec.options_model()()
        encoder = build_component(encoder_spec, options, input=task.input, width=backbone.width)
        if not isinstance(encoder, torch.nn.Module):
            raise PluginError(f"encoder '{encoder_name}': it gave a {type(encoder).__name__}, not a torch module")
        torch.manual_seed(derive_seed(seed, "head"))
        head = Head(
            task.output, backbone.width, readout=readout, hidden=recipe.head.hidden, dropout=recipe.head.dropout
        )
    model = CrossModalModel(encoder, backbone, head)
    freezing = recipe.freezing.options
    assert isinstance(freezing, FreezingOptions)  # the options model of every policy
    groups = apply_policy(model, registry.get(FreezingPolicySpec, recipe.freezing.name), freezing)
    precision = choose_precision(_wanted_precision(recipe), device)
    _store(model, precision)
    return Built(task, model.to(device), groups, encoder_name, readout, precision)


def build_task(recipe: Recipe, registry: Registry) -> Task:
    """Build the recipe's task alone.

    Raises:
        SourceError: none of its sources is available.
        PluginError: it does not say what a task must.
    """
    task = build_component(
        registry.get(TaskSpec, recipe.task.name),
        recipe.task.options,
        seed=recipe.train.seed,
        pinned=recipe.pinned.source,
    )
    if not isinstance(task, Task):
        raise PluginError(f"task '{recipe.task.name}': {type(task).__name__} is not a subclass of fptkit.Task")
    check_task_declarations(task)
    return task


def build_component(spec: ComponentSpec, options: Options, **arguments: Any) -> Any:
    """Build a component from its record and options.

    Args:
        spec: its record.
        options: of the record's options model.
        arguments: the further arguments of its kind, see the record's class.

    Raises:
        PluginError: the target does not take these arguments.
    """
    target: Callable[..., Any] = spec.resolve()
    try:
        return target(options, **arguments)
    except FptkitError:
        raise
    except TypeError as err:
        # Only a call that failed at the border is a wrong signature; a TypeError from inside goes on as it is.
        if err.__traceback__ is not None and err.__traceback__.tb_next is None:
            raise PluginError(f"{spec}: {err}; it is called with (options, *, {', '.join(arguments)})") from err
        raise


def _wanted_precision(recipe: Recipe) -> str:
    """What the recipe asks for; where it leaves the choice, what an earlier run of it took."""
    return recipe.pinned.precision or "auto" if recipe.precision == "auto" else recipe.precision


def _default_encoder(task: Task) -> str:
    return "symbols" if isinstance(task.input, Symbols) else "linear"


def _check_backbone(backbone: object, name: str) -> None:
    """Raise where a plugin gave something else than it promised."""
    if not isinstance(backbone, Backbone):
        raise PluginError(f"backbone '{name}': {type(backbone).__name__} is not a subclass of fptkit.Backbone")
    if not isinstance(getattr(backbone, "width", None), int):
        raise PluginError(f"backbone '{name}': its class {type(backbone).__name__} sets no 'width'")


def check_encoder_width(built: Built, batch: Batch) -> None:
    """Raise where the encoder gives another width than the backbone takes.

    Raises:
        PluginError: it does.
    """
    with torch.no_grad():
        encoded = built.model.encoder(batch.inputs[:1])
    expected = (1, batch.inputs.shape[1], built.model.backbone.width)
    if tuple(encoded.shape) != expected:
        raise PluginError(f"encoder '{built.encoder_name}': it gave {tuple(encoded.shape)}, expected {expected}")


def _check_input(spec: EncoderSpec, task: Task) -> None:
    kind = "symbols" if isinstance(task.input, Symbols) else "vectors" if isinstance(task.input, Vectors) else "?"
    if kind not in spec.accepts:
        raise ShapeError(f"encoder '{spec.name}' takes {' or '.join(spec.accepts)}, but the task's tokens are {kind}")


def _store(model: CrossModalModel, precision: str) -> None:
    """Keep the large frozen matrices in bfloat16; norms, positions and all that trains stay float32."""
    if precision != "bfloat16":
        return
    model.mixed = True
    roles = model.parameter_roles()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad and roles[name].role in ("attention", "feed_forward", "recurrent"):
            parameter.data = parameter.data.to(torch.bfloat16)
