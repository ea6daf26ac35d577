"""From a checked recipe to the objects of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from fptkit.backbones.front import make_front
from fptkit.backbones.options import FrontOptions
from fptkit.encoders.choice import check_accepts, default_encoder, encoded_tokens
from fptkit.encoders.norm import SAMPLE, match_norm, scaled_later
from fptkit.encoders.options import MixedOptions, WordOptions
from fptkit.engine.component import build_component
from fptkit.engine.opening import draw_batch, open_split
from fptkit.engine.training.choice import chosen_head, set_loss_and_metrics
from fptkit.errors import FreezingError, PluginError, ShapeError, UsageError
from fptkit.freezing import TrainedGroup, apply_policy
from fptkit.freezing.options import FreezingOptions
from fptkit.interfaces import (
    Backbone,
    Role,
    Task,
    check_task_declarations,
    checked_roles,
)
from fptkit.model import CrossModalModel
from fptkit.numerics.eight_bit import keep_in_eight_bits, linear_maps
from fptkit.numerics.precision import IN_FEWER_BITS, MATRIX, choose_precision, set_float32_products
from fptkit.numerics.recompute import recompute_blocks
from fptkit.options import Options
from fptkit.recipe.models import Recipe
from fptkit.recipe.splits import with_split_seed
from fptkit.recipe.tokenizers import with_tokenizer
from fptkit.registry import Registry
from fptkit.seeds import derive_seed, generator_for, seeded
from fptkit.sources.activity import doing
from fptkit.sources.places import TaskData
from fptkit.specs import BackboneSpec, EncoderSpec, FreezingPolicySpec, TaskSpec
from fptkit.specs.guard import during


@dataclass(frozen=True)
class Built:
    """The built parts of a run.

    Args:
        task: the task, with its source opened.
        model: the model on the device, with the policy applied and frozen weights in their stored precision.
        groups: the trained parameters.
        encoder_name: the encoder used; a recipe need not name one.
        readout: the read-out used.
        precision: how frozen weights are stored and multiplied: ``float32``, ``bfloat16``, ``int8`` or
            ``int8_storage``, which is multiplied in bfloat16.
        encoded_tokens: tokens of the longest example after the encoder; None: as many as before it.

    Example:
        >>> import fptkit
        >>> built = fptkit.build("bit_xor_gpt2", profile="smoke")
        >>> built.encoder_name, built.readout
        ('linear', 'last_k')
        >>> sorted({name.split(".")[0] for group in built.groups for name in group.parameters})
        ['backbone', 'encoder', 'head']
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
    measure: bool = True,
) -> Built:
    """Build everything that a recipe names.

    Args:
        recipe: the recipe.
        registry: resolves the names in the recipe.
        device: device of the model.
        task: the recipe's task if it is already built; None builds it.
        make_backbone: builds the backbone instead of the recipe's builder; called with ``positions`` and ``seed``.
        finish: called with the model when it is frozen and in its stored precision, before it moves to the device.
        measure: whether constants are measured on training data; false if trained tensors, which include them, are
            restored afterwards.

    Raises:
        FptkitError: parts cannot be built or do not fit together. Errors of shape and freezing get the exit code of a
            wrong recipe.
    """
    registry.use()
    try:
        if task is None:
            task = build_task(recipe, registry)
        else:
            set_loss_and_metrics(task, recipe, registry)
        doing(f"building backbone {recipe.backbone.name}")
        return _build(recipe, registry, device, task, make_backbone, finish, measure=measure)
    except (ShapeError, FreezingError) as err:
        err.exit_code = UsageError.exit_code  # nothing was run: the parts do not fit together
        raise


def _build(
    recipe: Recipe,
    registry: Registry,
    device: torch.device,
    task: Task,
    make_backbone: Callable[..., Backbone] | None,
    finish: Callable[[CrossModalModel], None] | None,
    *,
    measure: bool,
) -> Built:
    """Build the model, freeze it, convert its frozen weights, and move it to the device."""
    chosen = _choose_encoder(recipe, registry, task)
    backbone = _build_backbone(recipe, registry, make_backbone, tokens=chosen.tokens)
    _check_causal(recipe, task, backbone)
    model = _build_model(recipe, registry, task, chosen, backbone, measure=measure)
    groups = _freeze(recipe, registry, model)
    precision = precision_for(recipe, task, backbone.weights, device)
    if recipe.precision == "auto" and precision == "int8" and not linear_maps(backbone, _maps_of(model)):
        precision = "bfloat16"  # everything trains: who asked for int8 gets an error, who did not, none
    _store(model, precision)
    set_float32_products(recipe.float32_products, device, precision)
    if finish is not None:
        finish(model)
    if any(parameter.device != device for parameter in model.parameters()):
        model.to(device)
    readout = recipe.readout.name if recipe.readout else model.head.readout
    return Built(task, model, groups, chosen.name, readout, precision, chosen.tokens)


@dataclass(frozen=True)
class _ChosenEncoder:
    """The encoder of a run before it is built.

    Args:
        name: its registered name.
        spec: its record.
        options: its options.
        tokens: encoded tokens of the task's longest example; the backbone is built for this length.
    """

    name: str
    spec: EncoderSpec
    options: Options
    tokens: int


def _choose_encoder(recipe: Recipe, registry: Registry, task: Task) -> _ChosenEncoder:
    """The recipe's encoder, or the default of the task or of its input kind."""
    name = recipe.encoder.name if recipe.encoder else task.default_encoder or default_encoder(task.input)
    spec = registry.get(EncoderSpec, name)
    check_accepts(spec, task.input)
    options = recipe.encoder.options if recipe.encoder else spec.options_model()()
    tokens = encoded_tokens(spec, options, task.input, task.max_tokens, registry=registry)
    if task.output.each_token:
        _check_each_token(recipe, name, tokens, task.max_tokens)
    return _ChosenEncoder(name, spec, options, tokens)


def _check_each_token(recipe: Recipe, encoder: str, encoded: int, raw: int) -> None:
    """Raise if a task with an answer at every token would lose the place of its tokens."""
    if encoded != raw:
        raise ShapeError(
            f"encoder '{encoder}' makes {encoded} tokens of {raw}, but the task has an answer at every token; choose "
            "one that keeps them, such as symbols or linear"
        )
    if recipe.shuffle_tokens:
        raise ShapeError("shuffle_tokens: the task has an answer at every token, which shuffling separates from it")


def _check_causal(recipe: Recipe, task: Task, backbone: Backbone) -> None:
    """Raise if a backbone would see what it should predict."""
    if task.output.needs_causal and not backbone.causal:
        raise ShapeError(
            f"backbone '{recipe.backbone.name}' is not causal: a token sees those after it, which the task asks for "
            f"({type(task.output).__name__}); choose a causal one, such as gpt2 or lstm"
        )


def _build_backbone(
    recipe: Recipe, registry: Registry, make_backbone: Callable[..., Backbone] | None, *, tokens: int
) -> Backbone:
    """The recipe's backbone, or that of ``make_backbone``, for sequences of up to ``tokens`` tokens."""
    make_backbone = make_backbone or partial(
        build_component,
        registry.get(BackboneSpec, recipe.backbone.name),
        recipe.backbone.options,
        pinned=recipe.pinned.weights,
    )
    added = FrontOptions.of(recipe.backbone.options).prefix.count
    seed = derive_seed(recipe.train.seed_of("init"), "backbone")
    try:
        with seeded(seed):
            backbone = make_backbone(positions=tokens + added, seed=seed)
    except ShapeError as err:
        if added:
            raise ShapeError(f"{err} (backbone.prefix adds {added} to the task's {tokens} tokens)") from err
        raise
    with during(of=registry.get(BackboneSpec, recipe.backbone.name)):
        _check_backbone(backbone, recipe.backbone.name)
    return backbone


def _build_model(
    recipe: Recipe,
    registry: Registry,
    task: Task,
    chosen: _ChosenEncoder,
    backbone: Backbone,
    *,
    measure: bool,
) -> CrossModalModel:
    """Build encoder, front and head around the backbone."""
    seed = recipe.train.seed_of("init")
    encoder = _build_encoder(registry, chosen, task, backbone, derive_seed(seed, "encoder"))
    with seeded(derive_seed(seed, "head")):
        head = chosen_head(recipe, registry, task.output, backbone)
    if getattr(chosen.options, "match_norm", False):
        data_seed = recipe.train.seed_of("data")
        matched = partial(_match_norm, encoder, task, backbone, seed=seed, data_seed=data_seed)
        encoder = matched() if measure else scaled_later(encoder)
    shuffle_seed = derive_seed(seed, "shuffle_tokens") if recipe.shuffle_tokens else None
    given = FrontOptions.of(recipe.backbone.options)
    front = make_front(given, backbone, tokens=chosen.tokens, seed=derive_seed(seed, "front"))
    return CrossModalModel(encoder, backbone, head, shuffle_seed=shuffle_seed, front=front)


def _build_encoder(
    registry: Registry, chosen: _ChosenEncoder, task: Task, backbone: Backbone, seed: int
) -> torch.nn.Module:
    further: dict[str, Any] = {}
    if isinstance(chosen.options, MixedOptions):  # builds other components
        further = {"registry": registry}
    elif isinstance(chosen.options, WordOptions):
        further = {"weights": backbone.weights}
    with seeded(seed):
        encoder = build_component(chosen.spec, chosen.options, input=task.input, width=backbone.width, **further)
    with during(of=chosen.spec):
        if not isinstance(encoder, torch.nn.Module):
            raise PluginError(f"encoder '{chosen.name}': it returned a {type(encoder).__name__}, not a torch module")
    return encoder


def _freeze(recipe: Recipe, registry: Registry, model: CrossModalModel) -> list[TrainedGroup]:
    """Apply the freezing policy, then activation checkpointing."""
    options = recipe.freezing.options
    assert isinstance(options, FreezingOptions)  # the options model of every policy
    policy = registry.get(FreezingPolicySpec, recipe.freezing.name)
    groups = apply_policy(model, policy, options, seed=derive_seed(recipe.train.seed_of("init"), "freezing"))
    if recipe.train.activation_checkpointing:
        recompute_blocks(model.backbone, recipe.backbone.name)
    return groups


def build_task(recipe: Recipe, registry: Registry) -> Task:
    """Build only the task of a recipe, and identify its data by content.

    Raises:
        SourceError: none of its sources is available.
        DataError: a file changed while the task read it.
        PluginError: it is not a `Task`, or lacks a declaration that every task needs.
    """
    spec, pinned = registry.get(TaskSpec, recipe.task.name), recipe.pinned.source
    options = with_tokenizer(with_split_seed(recipe.task.options, recipe.train.seeds.data), recipe)
    doing(f"opening the data of task {recipe.task.name}")
    data = TaskData(spec, options, pinned)
    seed = recipe.train.seed_of("data")
    with seeded(derive_seed(seed, "task")):
        task = build_component(spec, options, seed=seed, pinned=pinned)
    with during(of=spec):
        if not isinstance(task, Task):
            raise PluginError(f"task '{recipe.task.name}': {type(task).__name__} is not a subclass of fptkit.Task")
        check_task_declarations(task)
    set_loss_and_metrics(task, recipe, registry)
    task.source = data.stated_source(task.source)
    task.data = data.identity(task.source, task.content)
    return task


def precision_for(recipe: Recipe, task: Task, weights: str, device: torch.device) -> str:
    """The precision of a run: the recipe's; where it depends on the machine, that of an earlier run of the recipe.

    Args:
        recipe: the recipe; for ``auto`` and ``auto_float``, its task's protocol may have a precision.
        task: its task.
        weights: the weights of its backbone.
        device: the device of the run.
    """
    automatic = recipe.precision in ("auto", "auto_float")
    if (automatic or recipe.precision == "int8") and recipe.pinned.precision:
        return recipe.pinned.precision
    as_loaded = getattr(recipe.backbone.options, "init", "pretrained") == "pretrained"
    return choose_precision((automatic and task.precision) or recipe.precision, device, weights if as_loaded else "")


def _match_norm(
    encoder: torch.nn.Module, task: Task, backbone: Backbone, *, seed: int, data_seed: int
) -> torch.nn.Module:
    """Scale the encoder's output to the norm of the backbone's word embeddings.

    The scale is measured on examples spread evenly over the training split.

    Raises:
        ShapeError: the backbone has no word embeddings, the split is empty, or the encoder returns zeros.
    """
    if backbone.embedding_norm is None:
        raise ShapeError(
            f"encoder.match_norm: the backbone's weights '{backbone.weights}' came without word embeddings, so there "
            "is no norm to match; leave match_norm out"
        )
    split = open_split(task, "train", data_seed)
    if split.size == 0:
        raise ShapeError(f"{type(task).__name__}, split train: it has no examples")
    count = min(SAMPLE, split.size or SAMPLE)
    indices = [index * (split.size or count) // count for index in range(count)]
    batch = draw_batch(task, "train", split, indices, generator_for(seed, "match_norm"))
    return match_norm(encoder, batch, backbone.embedding_norm)


def _check_backbone(backbone: object, name: str) -> None:
    """Raise if a plugin's backbone is not one, or has no width."""
    if not isinstance(backbone, Backbone):
        raise PluginError(f"backbone '{name}': {type(backbone).__name__} is not a subclass of fptkit.Backbone")
    if not isinstance(getattr(backbone, "width", None), int):
        raise PluginError(f"backbone '{name}': its class {type(backbone).__name__} does not set 'width'")
    checked_roles(backbone, backbone.blocks)


def _store(model: CrossModalModel, precision: str) -> None:
    """Store the large frozen matrices in fewer bits; vectors, positions and everything that trains stay float32."""
    if precision == "float32":
        return
    model.mixed = True
    if precision in ("int8", "int8_storage"):
        # Without a name for the list, since the parameters in it take memory.
        keep_in_eight_bits(model.backbone, _maps_of(model), products=precision == "int8")
    for parameter in _frozen(model, *IN_FEWER_BITS):
        parameter.data = parameter.data.to(torch.bfloat16)


def _maps_of(model: CrossModalModel) -> list[torch.nn.Parameter]:
    """The frozen matrices that may be stored in 8 bits."""
    return _frozen(model, "attention", "feed_forward")


def _frozen(model: CrossModalModel, *wanted: Role) -> list[torch.nn.Parameter]:
    """The frozen float32 matrices, of two or more dimensions, with one of the wanted roles."""
    roles = model.parameter_roles()
    return [
        parameter
        for name, parameter in model.named_parameters()
        if not parameter.requires_grad
        and parameter.dtype == torch.float32
        and parameter.ndim >= MATRIX
        and roles[name].role in wanted
    ]
