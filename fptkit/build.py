"""From a checked recipe to the objects of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from fptkit.encoders.choice import check_accepts, default_encoder, encoded_tokens
from fptkit.encoders.norm import SAMPLE, match_norm
from fptkit.encoders.options import MixedOptions
from fptkit.errors import FptkitError, FreezingError, PluginError, ShapeError, UsageError
from fptkit.freezing import TrainedGroup, apply_policy
from fptkit.freezing.options import FreezingOptions
from fptkit.interfaces import (
    Backbone,
    Batch,
    Encoder,
    Inputs,
    Role,
    Task,
    check_batch,
    check_task_declarations,
    encode,
)
from fptkit.model import CrossModalModel, Head, default_readout
from fptkit.numerics.eight_bit import keep_in_eight_bits
from fptkit.numerics.precision import choose_precision
from fptkit.numerics.recompute import recompute_blocks
from fptkit.options import Options
from fptkit.recipe.models import Recipe
from fptkit.registry import Registry
from fptkit.seeds import derive_seed, generator_for
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
        precision: ``float32``, ``bfloat16`` or ``int8``: how frozen weights are stored; those in 8 bits are multiplied
            in bfloat16.
        encoded_tokens: tokens of the longest example as the backbone sees it; None for as many as the task's.
    """

    task: Task
    model: CrossModalModel
    groups: list[TrainedGroup]
    encoder_name: str
    readout: str
    precision: str
    encoded_tokens: int | None = None


def build(
    recipe: Recipe,
    registry: Registry,
    device: torch.device,
    *,
    task: Task | None = None,
    make_backbone: Callable[..., Backbone] | None = None,
    finish: Callable[[CrossModalModel], None] | None = None,
) -> Built:
    """Build everything a recipe names.

    Args:
        recipe: the recipe.
        registry: what its names mean.
        device: where the model goes.
        task: the recipe's task where it is there already; None builds it.
        make_backbone: called with ``positions`` and ``seed`` in place of the recipe's backbone, as an estimate does.
        finish: called with the model before it goes to the device, frozen and in its stored precision.

    Raises:
        FptkitError: of the kind that says what does not fit; its ``exit_code`` is that of a wrong recipe.
    """
    try:
        return _build(recipe, registry, device, task or build_task(recipe, registry), make_backbone, finish)
    except (ShapeError, FreezingError) as err:
        err.exit_code = UsageError.exit_code  # nothing was run: these parts do not go together
        raise


def _build(
    recipe: Recipe,
    registry: Registry,
    device: torch.device,
    task: Task,
    make_backbone: Callable[..., Backbone] | None,
    finish: Callable[[CrossModalModel], None] | None,
) -> Built:
    encoder_name = recipe.encoder.name if recipe.encoder else default_encoder(task.input)
    encoder_spec = registry.get(EncoderSpec, encoder_name)
    check_accepts(encoder_spec, task.input)
    encoder_options = recipe.encoder.options if recipe.encoder else encoder_spec.options_model()()
    tokens = encoded_tokens(encoder_spec, encoder_options, task.input, task.max_tokens, registry=registry)
    seed = recipe.train.seed
    make_backbone = make_backbone or partial(
        build_component,
        registry.get(BackboneSpec, recipe.backbone.name),
        recipe.backbone.options,
        pinned=recipe.pinned.weights,
    )
    backbone = make_backbone(positions=tokens, seed=derive_seed(seed, "backbone"))
    _check_backbone(backbone, recipe.backbone.name)
    readout = recipe.head.readout
    if readout == "auto":
        readout = default_readout(task.output, causal=backbone.causal)
    # Encoder and head draw from torch's global generator, as its modules do; it is seeded here and put back after.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "encoder"))
        # The encoder of a mixed input alone holds other components.
        further = {"registry": registry} if isinstance(encoder_options, MixedOptions) else {}
        encoder = build_component(encoder_spec, encoder_options, input=task.input, width=backbone.width, **further)
        if not isinstance(encoder, torch.nn.Module):
            raise PluginError(f"encoder '{encoder_name}': it gave a {type(encoder).__name__}, not a torch module")
        torch.manual_seed(derive_seed(seed, "head"))
        head = Head(
            task.output, backbone.width, readout=readout, hidden=recipe.head.hidden, dropout=recipe.head.dropout
        )
    if getattr(encoder_options, "match_norm", False):
        encoder = _match_norm(encoder, task, backbone, seed)
    shuffle_seed = derive_seed(seed, "shuffle_tokens") if recipe.shuffle_tokens else None
    model = CrossModalModel(encoder, backbone, head, shuffle_seed=shuffle_seed)
    freezing = recipe.freezing.options
    assert isinstance(freezing, FreezingOptions)  # the options model of every policy
    policy = registry.get(FreezingPolicySpec, recipe.freezing.name)
    groups = apply_policy(model, policy, freezing, seed=derive_seed(seed, "freezing"))
    if recipe.train.activation_checkpointing:
        recompute_blocks(model.backbone, recipe.backbone.name)
    precision = choose_precision(_wanted_precision(recipe), device)
    _store(model, precision)
    if finish is not None:
        finish(model)
    if any(parameter.device != device for parameter in model.parameters()):
        model.to(device)
    return Built(task, model, groups, encoder_name, readout, precision, tokens)


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


def _match_norm(encoder: torch.nn.Module, task: Task, backbone: Backbone, seed: int) -> torch.nn.Module:
    """The encoder with the norm of the backbone's word embeddings, measured on examples of the whole training split.

    Raises:
        ShapeError: the backbone has no word embeddings, or the encoder gives zeros.
    """
    if backbone.embedding_norm is None:
        raise ShapeError(
            f"encoder.match_norm: the backbone's weights '{backbone.weights}' came without word embeddings, so there "
            "is no norm to match; leave match_norm out"
        )
    split = task.split("train")
    where = f"{type(task).__name__}, split train"
    if split.size == 0:
        raise ShapeError(f"{where}: it holds no example")
    count = min(SAMPLE, split.size or SAMPLE)
    indices = [index * (split.size or count) // count for index in range(count)]
    batch = split.batch(indices, generator_for(seed, "match_norm"))
    check_batch(task, batch, count, where=where)
    return match_norm(encoder, batch, backbone.embedding_norm)


def _check_backbone(backbone: object, name: str) -> None:
    """Raise where a plugin gave something else than it promised."""
    if not isinstance(backbone, Backbone):
        raise PluginError(f"backbone '{name}': {type(backbone).__name__} is not a subclass of fptkit.Backbone")
    if not isinstance(getattr(backbone, "width", None), int):
        raise PluginError(f"backbone '{name}': its class {type(backbone).__name__} sets no 'width'")


def check_encoder_width(built: Built, batch: Batch) -> None:
    """Raise where the encoder gives another width than the backbone takes, or another number of tokens than it says.

    Raises:
        PluginError: it does.
    """
    encoder, kind = built.model.encoder, built.task.input
    one: Inputs = kind.example(batch.inputs, 0)
    with torch.no_grad():
        encoded, _ = encode(encoder, one, None)
    longest = built.task.max_tokens if built.encoded_tokens is None else built.encoded_tokens
    if not kind.varies:
        tokens = longest
    elif isinstance(encoder, Encoder):
        tokens = int(encoder.encoded_lengths(torch.tensor([kind.padded(one).shape[1]])))
    else:
        tokens = kind.tokens_in(one)  # token by token
    expected = (1, tokens, built.model.backbone.width)
    if tuple(encoded.shape) != expected:
        raise PluginError(f"encoder '{built.encoder_name}': it gave {tuple(encoded.shape)}, expected {expected}")
    if tokens > longest:
        raise PluginError(f"encoder '{built.encoder_name}': it gave {tokens} tokens, but said {longest} at most")


def _store(model: CrossModalModel, precision: str) -> None:
    """Keep the large frozen matrices in fewer bits; norms, positions and all that trains stay float32."""
    if precision == "float32":
        return
    model.mixed = True
    if precision == "int8":
        keep_in_eight_bits(model.backbone, _frozen(model, "attention", "feed_forward"))
    for parameter in _frozen(model, "attention", "feed_forward", "recurrent"):
        parameter.data = parameter.data.to(torch.bfloat16)


def _frozen(model: CrossModalModel, *wanted: Role) -> list[torch.nn.Parameter]:
    """The frozen float32 parameters of some roles."""
    roles = model.parameter_roles()
    return [
        parameter
        for name, parameter in model.named_parameters()
        if not parameter.requires_grad and parameter.dtype == torch.float32 and roles[name].role in wanted
    ]
