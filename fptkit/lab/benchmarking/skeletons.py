"""Backbones of shapes only, from the config of their weights: neither the weights nor the memory are needed.

Everything here is called under `FakeTensorMode`, where a tensor has a shape, a format and a device but no numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from fptkit.backbones.huggingface.options import HuggingFaceOptions
from fptkit.backbones.options import Gpt2Options, PositionOptions, RandomOptions
from fptkit.backbones.vit.options import SIZES, VitOptions
from fptkit.build import build_component
from fptkit.errors import SourceError
from fptkit.interfaces import Backbone
from fptkit.options import Options
from fptkit.recipe.models import Component
from fptkit.registry import Registry
from fptkit.sources import choose
from fptkit.sources.weights import open_config
from fptkit.specs import BackboneSpec

if TYPE_CHECKING:
    from fptkit.backbones.vit.model import VitArchitecture

HUGGING_FACE = ("huggingface", "bert", "t5_encoder", "longformer")


@dataclass(frozen=True)
class Config:
    """Where the sizes of a backbone come from.

    Args:
        entry: the weights the sizes are those of; ``random`` where the options themselves give them.
        content: their config.json; None for ``random``.
        notes: what was passed over, and why.
    """

    entry: str
    content: dict[str, Any] | None
    notes: tuple[str, ...] = ()


def find_config(backbone: Component, pinned: str | None) -> Config:
    """The config of the first weights that have one here or on the hub.

    Raises:
        SourceError: of none of the weights is it known.
        DataError: a config is broken.
    """
    entries = getattr(backbone.options, "weights", ("random",))
    choice = choose(
        entries,
        lambda entry: None if entry == "random" else open_config(entry),
        what=f"config.json of backbone {backbone.name}",
        pinned=pinned,
        advice="Without it neither parameters nor memory can be known. A folder with the config.json alone is enough: "
        "--set backbone.weights=path:FOLDER",
    )
    return Config(choice.entry, choice.found, tuple(f"{entry}: {reason}" for entry, reason in choice.skipped))


def make_skeleton(backbone: Component, config: Config, registry: Registry, *, positions: int, seed: int) -> Backbone:
    """The backbone of a recipe without numbers.

    Args:
        backbone: section of the recipe.
        config: its sizes.
        registry: what its name means.
        positions: T, the task's longest example in tokens.
        seed: of draws, which draw nothing.

    Raises:
        FptkitError: the config is none of the backbone's, or the task does not fit it.
    """
    options = backbone.options
    if config.content is None:
        architecture = _vit_of_options(options)
        if architecture is not None and isinstance(options, (VitOptions, RandomOptions)):
            return _vit(options, architecture, positions)
        return _drawn(backbone.name, _without_numbers(options), registry, positions, seed)
    if isinstance(options, Gpt2Options):
        return _gpt2(options, config.content, config.entry, positions)
    if isinstance(options, VitOptions):
        from fptkit.backbones.vit.checkpoint import read_architecture

        return _vit(options, read_architecture(config.content, config.entry), positions)
    if backbone.name in HUGGING_FACE:
        kept = {name: getattr(options, name) for name in ("blocks", "positions", "dropout", "attention_dropout")}
        further = HuggingFaceOptions(weights=("random",), config=config.content, **kept)
        return _drawn("huggingface", further, registry, positions, seed)
    raise SourceError(
        f"size of backbone {backbone.name}",
        [(config.entry, "only the backbone itself can read its config.json")],
        "Estimate it with --set backbone.weights=random where it knows that, or measure it: fptkit bench",
    )


def _drawn(name: str, options: Options, registry: Registry, positions: int, seed: int) -> Backbone:
    """As any backbone is built from random weights."""
    made: Backbone = build_component(
        registry.get(BackboneSpec, name), options, positions=positions, seed=seed, pinned=None
    )
    return made


def _without_numbers(options: Options) -> Options:
    """The same options for weights that are drawn: there are no statistics to draw by, and no compiled code to run."""
    replaced = {"weights": ("random",), "loop": "torch"}
    if "weights" in type(options).model_fields:
        replaced["init"] = "pretrained"
    return options.model_copy(
        update={name: value for name, value in replaced.items() if name in type(options).model_fields}
    )


def _gpt2(options: Gpt2Options, content: dict[str, Any], entry: str, positions: int) -> Backbone:
    from fptkit.backbones.gpt2 import Gpt2Backbone
    from fptkit.backbones.gpt2_build import _sizes_of, keep_blocks, with_positions

    sizes = _sizes_of(content, entry)
    backbone = Gpt2Backbone(sizes, dropout=options.dropout, attention_dropout=options.attention_dropout)
    keep_blocks(backbone, options.blocks)
    return with_positions(backbone, positions, options.positions)


def _vit_of_options(options: Options) -> VitArchitecture | None:
    """The vision transformer that the options themselves describe; None where they describe another backbone."""
    from fptkit.backbones.vit.build import architecture_of

    if isinstance(options, VitOptions):
        return architecture_of(SIZES[options.size])
    if isinstance(options, RandomOptions) and options.like == "vit" and options.size in SIZES:
        given = {"blocks": options.blocks, "width": options.width, "heads": options.heads}
        return architecture_of(
            replace(SIZES[options.size], **{name: value for name, value in given.items() if value is not None})
        )
    return None


def _vit(options: VitOptions | RandomOptions, architecture: VitArchitecture, positions: int) -> Backbone:
    """A ViT. timm reads numbers while it builds: on the device ``meta``, which has shapes only as well, it may."""
    from fptkit.backbones.vit import build

    with unset_fake_temporarily(), torch.device("meta"):
        backbone = build.draw_vit(architecture, 0, dropout=options.dropout, attention_dropout=options.attention_dropout)
    place(backbone, torch.device("cpu"))
    table = PositionOptions(length=options.positions) if isinstance(options, RandomOptions) else options.positions
    if isinstance(options, VitOptions):
        build.keep_blocks(backbone, options.blocks)
    # A table of the checkpoint's own is as long as the task all the same.
    return build.with_positions(backbone, positions, table, from_zero=True)


def place(model: nn.Module, device: torch.device) -> None:
    """Put skeletons of all parameters and buffers on a device: torch's own way of moving a module refuses skeletons."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            moved = torch.empty_like(parameter, device=device)
            setattr(module, name, nn.Parameter(moved, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty_like(buffer, device=device))
