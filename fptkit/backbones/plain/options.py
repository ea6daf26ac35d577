"""Options of the backbones ``none`` and ``attention_layer``; light, so that recipe checks load no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fptkit.backbones.options import DROPOUT, WEIGHT_FORMS, Count, Probability, WeightEntries
from fptkit.options import Options

HEAD_WIDTH = 64
"""Numbers per token of one attention head. Source: every size of GPT-2, ViT and BERT, and of the packaged models."""


class PlainOptions(Options):
    """What both have."""

    weights: WeightEntries = Field(
        default=("random",),
        description="model whose width is taken over, nothing else of it; the first available; any of " + WEIGHT_FORMS,
    )
    width: Count = Field(default=256, description="numbers per token, for the weights 'random' only")
    init: Literal["random"] = Field(
        default="random", description="what the weights are set to: drawn, whatever model gives the width"
    )
    dropout: Probability = Field(default=0.1, description=DROPOUT)


class NoBackboneOptions(PlainOptions):
    """Options of the backbone ``none``.

    Source: "w/o LLM" of Tan et al. 2024, section 3, has neither positions nor norm; both stay here, since they are of
    the model around the blocks and are trained in the reference, too. ``width`` as the packaged models, dropout as
    GPT-2's configuration has it.
    """

    positions: bool = Field(default=True, description="add a trained vector to each position, as the blocks would get")
    norm: bool = Field(default=True, description="end with a layer norm, as GPT-2 and ViT do behind their blocks")


class AttentionLayerOptions(PlainOptions):
    """Options of the backbone ``attention_layer``.

    Source: "LLM2Attn" of Tan et al. 2024, section 3: one multi-head attention, added to its input, then a layer norm.
    Positions and the choice of ``causal`` are ours. ``width`` as the packaged models, dropout as GPT-2's configuration.
    """

    heads: Count | None = Field(
        default=None,
        description=f"attention heads, a divisor of the width; null: one for {HEAD_WIDTH} numbers, one in all where "
        f"the width is no multiple of {HEAD_WIDTH}",
    )
    causal: bool = Field(
        default=True, description="a token sees itself and those before it, as in GPT-2; false: it sees all, as in ViT"
    )
    attention_dropout: Probability = Field(
        default=0.0, description="probability of dropping an attention weight in training"
    )
