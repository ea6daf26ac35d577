"""Backbones of shapes only, from the config of their weights: neither the weights nor the memory are needed.

Everything here is called under `FakeTensorMode`, where a tensor has a shape, a format and a device but no numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from fptkit.backbones.assemble import Family, Request, family_named, finish
from fptkit.backbones.options import RandomOptions
from fptkit.backbones.random import as_draw
from fptkit.backbones.vit.build import VitFamily
from fptkit.build import build_component
from fptkit.errors import SourceError
from fptkit.interfaces import Backbone
from fptkit.options import Options
from fptkit.recipe.models import Component
from fptkit.registry import Registry
from fptkit.sources import choose
from fptkit.sources.weights import open_config
from fptkit.specs import BackboneSpec


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
    options = _without_numbers(backbone.options)
    if isinstance(options, RandomOptions):
        kind, draw = family_named(options.like), as_draw(options, positions, seed)
        assert kind is not None  # the options name known ones only
        return _assembled(kind.random(draw), Request(positions, seed), config)
    if kind := family_named(backbone.name):
        return _assembled(kind.of(options, positions), kind.request(options, positions, seed), config)
    if config.content is not None:
        raise SourceError(
            f"size of backbone {backbone.name}",
            [(config.entry, "only the backbone itself can read its config.json")],
            "Estimate it with --set backbone.weights=random if it supports that, or measure it: fptkit bench",
        )
    made: Backbone = build_component(
        registry.get(BackboneSpec, backbone.name), options, positions=positions, seed=seed, pinned=None
    )
    return made


def _without_numbers(options: Options) -> Options:
    """The same options for a model of shapes only: there are no statistics to draw by, no rows of a checkpoint's
    position table, and no compiled code to run."""
    replaced = {"weights": ("random",), "init": "pretrained", "loop": "torch", "position_init": "zeros"}
    fields = type(options).model_fields
    if "weights" not in fields:
        del replaced["init"]  # that of a backbone without weights has other values
    return options.model_copy(update={name: value for name, value in replaced.items() if name in fields})


def _assembled(family: Family[Any, Any], request: Request, config: Config) -> Backbone:
    """As `fptkit.backbones.assemble.assemble` builds it from weights that are drawn."""
    architecture = family.from_options() if config.content is None else family.from_config(config.content, config.entry)
    if isinstance(family, VitFamily):
        # timm reads numbers while it builds: on the device ``meta``, which has shapes only as well, it may.
        with unset_fake_temporarily(), torch.device("meta"):
            backbone: Backbone = family.draw(architecture, request.seed, None)
        place(backbone, torch.device("cpu"))
    else:
        backbone = family.draw(architecture, request.seed, None)
    finish(family, backbone, architecture, request)
    return backbone


def place(model: nn.Module, device: torch.device) -> None:
    """Put skeletons of all parameters and buffers on a device: torch's own way of moving a module refuses skeletons."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            moved = torch.empty_like(parameter, device=device)
            setattr(module, name, nn.Parameter(moved, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty_like(buffer, device=device))
