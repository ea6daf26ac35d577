"""Making ``none`` and ``attention_layer``, as wide as the model they stand in for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from fptkit.backbones.gpt2_build import drawn_embedding_norm
from fptkit.backbones.plain.model import AttentionLayer, NoBackbone
from fptkit.backbones.plain.options import HEAD_WIDTH, AttentionLayerOptions, NoBackboneOptions, PlainOptions
from fptkit.errors import DataError, ShapeError
from fptkit.interfaces import Backbone
from fptkit.seeds import generator_for
from fptkit.sources import Choice, choose
from fptkit.sources.weights import open_weights

AnyBackbone = TypeVar("AnyBackbone", bound=Backbone)


def build_none(options: NoBackboneOptions, *, positions: int, seed: int, pinned: str | None = None) -> NoBackbone:
    """Build the backbone without blocks.

    Args:
        options: recipe options.
        positions: T, the task's longest example in tokens; rows of the position table.
        seed: draws the position table.
        pinned: weights entry an earlier run of this recipe took.

    Raises:
        SourceError: none of the weights that give the width is available.
        DataError: their config names no width.
    """
    width, choice = _width(options, "none", pinned)
    backbone = NoBackbone(width, positions if options.positions else 0, norm=options.norm, dropout=options.dropout)
    return _finished(backbone, choice, seed)


def build_attention_layer(
    options: AttentionLayerOptions, *, positions: int, seed: int, pinned: str | None = None
) -> AttentionLayer:
    """Build the backbone of one attention layer. Arguments and errors as `build_none`, and:

    Raises:
        ShapeError: the heads do not divide the width.
    """
    width, choice = _width(options, "attention_layer", pinned)
    heads = options.heads or (1 if width % HEAD_WIDTH else width // HEAD_WIDTH)
    if width % heads:
        raise ShapeError(f"backbone.heads: the width {width} is not a multiple of {heads} heads")
    backbone = AttentionLayer(
        width,
        positions,
        heads=heads,
        causal=options.causal,
        dropout=options.dropout,
        attention_dropout=options.attention_dropout,
    )
    return _finished(backbone, choice, seed)


def _width(options: PlainOptions, name: str, pinned: str | None) -> tuple[int, Choice[int]]:
    """The width, and the model that gave it."""
    choice = choose(
        options.weights,
        lambda entry: options.width if entry == "random" else _width_of(open_weights(entry).config, entry),
        what=f"weights that give the width of backbone {name}",
        pinned=pinned,
        advice="Add a fallback such as builtin:gpt2_nano to backbone.weights, or 'random' with backbone.width.",
    )
    return choice.found, choice


def _width_of(config: Mapping[str, Any], entry: str) -> int:
    """The width a config.json names: GPT-2's, timm's, T5's, this package's LSTM's, or that of most others.

    Raises:
        DataError: it names none.
    """
    arguments = config.get("model_args")
    found = [arguments["embed_dim"]] if isinstance(arguments, Mapping) and "embed_dim" in arguments else []
    found += [config[key] for key in ("n_embd", "hidden_size", "d_model", "num_features", "width") if key in config]
    if not found or not isinstance(found[0], int) or isinstance(found[0], bool) or found[0] < 1:
        raise DataError(f"{entry}: its config.json names no width (n_embd, hidden_size, d_model or num_features)")
    return int(found[0])


@torch.no_grad()
def _finished(backbone: AnyBackbone, choice: Choice[int], seed: int) -> AnyBackbone:
    """The backbone with its weights drawn: positions normal with deviation 0.02, maps uniform as Glorot and Bengio have
    it, biases 0, scales of norms 1.

    Source: positions: GPT-2's configuration; maps: torch.nn.MultiheadAttention.
    """
    generator = generator_for(seed, "backbone")
    for module in backbone.modules():
        if isinstance(module, nn.Embedding):
            module.weight.normal_(0.0, 0.02, generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            module.bias.zero_()
    backbone.embedding_norm = drawn_embedding_norm(backbone.width)
    backbone.weights, backbone.stand_in = choice.entry, choice.stand_in
    backbone.notes = tuple(f"{entry}: {reason}" for entry, reason in choice.skipped)
    return backbone
