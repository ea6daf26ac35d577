"""Building ``none`` and ``attention_layer``, as wide as the model that they replace."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from fptkit.backbones.assemble import AnyBackbone, Family, Request, build
from fptkit.backbones.gpt2_build import drawn_embedding_norm
from fptkit.backbones.plain.model import AttentionLayer, NoBackbone
from fptkit.backbones.plain.options import HEAD_WIDTH, AttentionLayerOptions, NoBackboneOptions, PlainOptions
from fptkit.errors import DataError, ShapeError
from fptkit.seeds import generator_for
from fptkit.sources.weights import WeightFolder


def build_none(options: NoBackboneOptions, *, positions: int, seed: int, pinned: str | None = None) -> NoBackbone:
    """Build the backbone without blocks.

    Args:
        options: recipe options.
        positions: T, tokens of the task's longest example; rows of the position table.
        seed: seed of the position table's initialisation.
        pinned: weights entry that an earlier run of this recipe used.

    Raises:
        SourceError: none of the weights that give the width is available.
        DataError: their config does not state a width.
    """
    return build(NoBackboneFamily, options, positions=positions, seed=seed, pinned=pinned)


def build_attention_layer(
    options: AttentionLayerOptions, *, positions: int, seed: int, pinned: str | None = None
) -> AttentionLayer:
    """Build the backbone with one attention layer. Arguments and errors as for `build_none`.

    Raises:
        ShapeError: the width is not a multiple of the heads.
    """
    return build(AttentionLayerFamily, options, positions=positions, seed=seed, pinned=pinned)


AnyOptions = TypeVar("AnyOptions", bound=PlainOptions)


@dataclass(frozen=True)
class _PlainFamily(Family[int, AnyBackbone], Generic[AnyOptions, AnyBackbone]):
    """The shared part of both: the architecture is only a width, and the weights are randomly initialised.

    Args:
        options: the recipe's options.
        tokens: T, tokens of the task's longest example.
    """

    options: AnyOptions
    tokens: int

    advice = "Add a fallback such as builtin:gpt2_nano to backbone.weights, or 'random' with backbone.width."

    @classmethod
    def of(cls, options: AnyOptions, tokens: int) -> _PlainFamily[AnyOptions, AnyBackbone]:
        """See `Family.of`."""
        return cls(options, tokens)

    @classmethod
    def request(cls, options: AnyOptions, tokens: int, seed: int, pinned: str | None = None) -> Request:
        """See `Family.request`."""
        return Request(tokens, seed, options.weights, options.init, pinned=pinned)

    @abstractmethod
    def make(self, width: int) -> AnyBackbone:
        """Build the backbone with this width, before its weights are initialised."""

    def from_options(self) -> int:
        """See `Family.from_options`."""
        return self.options.width

    def from_config(self, config: Mapping[str, Any], entry: str) -> int:
        """See `Family.from_config`.

        Raises:
            DataError: the config does not state a width.
        """
        return _width_of(config, entry)

    @torch.no_grad()
    def draw(self, architecture: int, seed: int, folder: WeightFolder | None) -> AnyBackbone:
        """See `Family.draw`.

        Positions are normal with standard deviation 0.02, maps uniform (Xavier/Glorot), biases 0, norm scales 1.

        Source: positions: GPT-2's configuration; maps: torch.nn.MultiheadAttention.
        """
        backbone, generator = self.make(architecture), generator_for(seed, "backbone")
        for module in backbone.modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, 0.02, generator=generator)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                module.bias.zero_()
        backbone.embedding_norm = drawn_embedding_norm(backbone.width)
        return backbone

    def load(self, folder: WeightFolder, architecture: int) -> AnyBackbone:
        """Never called: a checkpoint gives only the width, and the only ``init`` of these backbones is ``random``."""
        raise AssertionError(f"{type(self).__name__} loads no weights")


class NoBackboneFamily(_PlainFamily[NoBackboneOptions, NoBackbone]):
    """The backbone ``none``."""

    name = "none"
    what = "weights that give the width of backbone none"

    def make(self, width: int) -> NoBackbone:
        """See `_PlainFamily.make`."""
        rows = self.tokens if self.options.positions else 0
        return NoBackbone(width, rows, norm=self.options.norm, dropout=self.options.dropout)


class AttentionLayerFamily(_PlainFamily[AttentionLayerOptions, AttentionLayer]):
    """The backbone ``attention_layer``."""

    name = "attention_layer"
    what = "weights that give the width of backbone attention_layer"

    def make(self, width: int) -> AttentionLayer:
        """See `_PlainFamily.make`.

        Raises:
            ShapeError: the width is not a multiple of the heads.
        """
        heads = self.options.heads or (1 if width % HEAD_WIDTH else width // HEAD_WIDTH)
        if width % heads:
            raise ShapeError(f"backbone.heads: the width {width} is not a multiple of {heads} heads")
        return AttentionLayer(
            width,
            self.tokens,
            heads=heads,
            causal=self.options.causal,
            dropout=self.options.dropout,
            attention_dropout=self.options.attention_dropout,
        )


def _width_of(config: Mapping[str, Any], entry: str) -> int:
    """The width in a config.json of GPT-2, timm, T5, fptkit's LSTM, or most other models.

    Raises:
        DataError: the config does not state a width.
    """
    arguments = config.get("model_args")
    found = [arguments["embed_dim"]] if isinstance(arguments, Mapping) and "embed_dim" in arguments else []
    found += [config[key] for key in ("n_embd", "hidden_size", "d_model", "num_features", "width") if key in config]
    if not found or not isinstance(found[0], int) or isinstance(found[0], bool) or found[0] < 1:
        raise DataError(f"{entry}: its config.json names no width (n_embd, hidden_size, d_model or num_features)")
    return int(found[0])
