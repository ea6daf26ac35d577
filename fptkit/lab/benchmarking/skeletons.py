"""Backbones with shapes only, built from the config of their weights, without the weights and without their memory.

Everything here runs under `FakeTensorMode`, where a tensor has shape, dtype and device but no numbers.
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
from fptkit.engine.component import build_component
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
    """The source of a backbone's sizes.

    Args:
        entry: source of weights whose config.json was found; ``random`` if the options give the sizes.
        content: the config.json; None for ``random``.
        notes: sources that were skipped, and why.
    """

    entry: str
    content: dict[str, Any] | None
    notes: tuple[str, ...] = ()


def find_config(backbone: Component, pinned: str | None) -> Config:
    """Find the first source of weights whose config.json is available.

    Args:
        backbone: section of the recipe.
        pinned: the only source to look at; None looks at all of them.

    Raises:
        SourceError: no source has a config.json.
        DataError: a config.json is damaged.
    """
    entries = getattr(backbone.options, "weights", ("random",))
    choice = choose(
        entries,
        lambda entry: None if entry == "random" else open_config(entry),
        what=f"config.json of backbone {backbone.name}",
        pinned=pinned,
        advice="Parameters and memory cannot be estimated without it. A folder with only the config.json is enough: "
        "--set backbone.weights=path:FOLDER",
    )
    return Config(choice.entry, choice.found, tuple(f"{entry}: {reason}" for entry, reason in choice.skipped))


def make_skeleton(backbone: Component, config: Config, registry: Registry, *, positions: int, seed: int) -> Backbone:
    """Build the backbone of a recipe from fake tensors.

    Args:
        backbone: section of the recipe.
        config: its sizes.
        registry: where the backbone is registered.
        positions: T, tokens of the task's longest example.
        seed: passed on; fake tensors have no numbers to initialise.

    Raises:
        FptkitError: the config is of another kind of backbone, or the task does not fit the backbone.
    """
    options = _without_numbers(backbone.options)
    if isinstance(options, RandomOptions):
        kind, draw = family_named(options.like), as_draw(options, positions, seed)
        assert kind is not None  # options are checked: the name is known
        return _assembled(kind.random(draw), Request(positions, seed), config)
    if kind := family_named(backbone.name):
        return _assembled(kind.of(options, positions), kind.request(options, positions, seed), config)
    if config.content is not None:
        raise SourceError(
            f"size of backbone {backbone.name}",
            [(config.entry, "only the backbone itself can read its config.json")],
            "Estimate it with --set backbone.weights=random if it supports that, or measure it with fptkit bench",
        )
    made: Backbone = build_component(
        registry.get(BackboneSpec, backbone.name), options, positions=positions, seed=seed, pinned=None
    )
    return made


def _without_numbers(options: Options) -> Options:
    """The same options for fake tensors, which have no statistics to match, no position table to copy rows from, and
    cannot run compiled code."""
    replaced = {"weights": ("random",), "init": "pretrained", "loop": "torch", "position_init": "zeros"}
    fields = type(options).model_fields
    if "weights" not in fields:
        del replaced["init"]  # a backbone without weights has other values for it
    return options.model_copy(update={name: value for name, value in replaced.items() if name in fields})


def _assembled(family: Family[Any, Any], request: Request, config: Config) -> Backbone:
    """Like `fptkit.backbones.assemble.assemble` with random weights."""
    architecture = family.from_options() if config.content is None else family.from_config(config.content, config.entry)
    if family.reads_numbers:
        # Fake tensors refuse that, but tensors on the device ``meta`` allow it.
        with unset_fake_temporarily(), torch.device("meta"):
            backbone: Backbone = family.draw(architecture, request.seed, None)
        place(backbone, torch.device("cpu"))
    else:
        backbone = family.draw(architecture, request.seed, None)
    finish(family, backbone, architecture, request)
    backbone.weights = config.entry  # word embeddings are those of the same weights
    return backbone


def place(model: nn.Module, device: torch.device) -> None:
    """Move a model of fake tensors to a device, in place: ``Module.to`` refuses fake tensors."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            moved = torch.empty_like(parameter, device=device)
            setattr(module, name, nn.Parameter(moved, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty_like(buffer, device=device))
