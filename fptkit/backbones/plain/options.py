"""Options of the backbones ``none`` and ``attention_layer``. Imports no torch, so that recipe checks start fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fptkit.backbones.options import (
    DROPOUT,
    PREFIX,
    WEIGHT_FORMS,
    Count,
    HeadCount,
    PrefixOptions,
    Probability,
    WeightEntries,
)
from fptkit.options import Options

HEAD_WIDTH = 64
"""Width of one attention head. Source: every size of GPT-2, ViT and BERT, and of the packaged models."""


class PlainOptions(Options):
    """Options of both backbones."""

    weights: WeightEntries = Field(
        default=("random",),
        description="model that gives the width, and nothing else; the first available one is used; any of "
        + WEIGHT_FORMS,
    )
    width: Count = Field(default=256, description="numbers per token, only for the weights 'random'")
    init: Literal["random"] = Field(
        default="random", description="initialisation of the weights: random, whatever model gives the width"
    )
    dropout: Probability = Field(default=0.1, description=DROPOUT)


class NoBackboneOptions(PlainOptions):
    """Options of the backbone ``none``.

    Source: "w/o LLM" of Tan et al. 2024, section 3, has no positions and no norm. Both are kept here, since they are
    outside the blocks and train in the reference as well. ``width``: the packaged models; dropout: GPT-2's
    configuration.
    """

    positions: bool = Field(default=True, description="add a trained vector to each position, as before the blocks")
    norm: bool = Field(default=True, description="end with a layer norm, as GPT-2 and ViT do after their blocks")


class AttentionLayerOptions(PlainOptions):
    """Options of the backbone ``attention_layer``.

    Source: "LLM2Attn" of Tan et al. 2024, section 3: one multi-head attention, added to its input, then a layer norm.
    Positions and the option ``causal`` are fptkit's. ``width``: the packaged models; dropout: GPT-2's configuration.
    """

    heads: HeadCount | None = Field(
        default=None,
        description=f"attention heads, a divisor of the width; null: width / {HEAD_WIDTH}, or one head if the width is "
        f"not a multiple of {HEAD_WIDTH}",
    )
    causal: bool = Field(
        default=True,
        description="a token sees itself and earlier tokens, as in GPT-2; false: it sees all tokens, as in ViT",
    )
    attention_dropout: Probability = Field(
        default=0.0, description="dropout probability of attention weights, in training"
    )
    prefix: PrefixOptions = Field(default=PrefixOptions(), description=PREFIX)
