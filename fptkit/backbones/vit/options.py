"""Options of the backbone ``vit``. Imports no torch, so that listings and recipe checks start fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from fptkit.backbones.options import (
    ATTENTION_DROPOUT,
    BLOCKS,
    DROPOUT,
    INIT,
    POSITIONS,
    PREFIX,
    WEIGHT_FORMS,
    BlockOptions,
    Init,
    PositionOptions,
    PrefixOptions,
    Probability,
    WeightEntries,
)
from fptkit.options import Options


@dataclass(frozen=True)
class VitSizes:
    """Sizes of a vision transformer.

    Args:
        blocks: number of blocks.
        width: D, numbers per token.
        heads: attention heads; divides ``width``.
    """

    blocks: int
    width: int
    heads: int


SIZES = {
    "nano": VitSizes(6, 192, 3),
    "tiny": VitSizes(12, 192, 3),
    "small": VitSizes(12, 384, 6),
    "base": VitSizes(12, 768, 12),
    "large": VitSizes(24, 1024, 16),
}
"""``nano`` is the size of ``builtin:vit_nano``: half the blocks of ``tiny``, 2.67 million parameters, less than 6 MB in
bfloat16. The others are timm's ``vit_SIZE_patch16_224``.

Source: base and large: Dosovitskiy et al. 2021, Table 1; tiny and small: Touvron et al. 2021, Table 1.
"""

VitSize = Literal["nano", "tiny", "small", "base", "large"]
PositionInit = Literal["auto", "zeros", "pretrained"]


class VitOptions(Options):
    """Options of the backbone ``vit``.

    Source: the first entry of ``weights`` is what the official code loads: timm 0.4.5, of the paper's month, loads
    ``jx_vit_base_p16_224-80ecf9dd`` for ``vit_base_patch16_224``, which is on the hub under this name. Zero positions
    and dropout 0.1: kzl/universal-computation, ``fpt.py``. Random weights differ from it: a random model has no biases,
    so that an example of zeros stays zero in every block, and the gradient of twelve blocks is not finite.
    """

    weights: WeightEntries = Field(
        default=("hub:timm/vit_base_patch16_224.orig_in21k_ft_in1k", "builtin:vit_nano"),
        description=f"sources of the weights; the first available one is used; any of {WEIGHT_FORMS}",
    )
    size: VitSize = Field(default="base", description="size of the model, only for the weights 'random'")
    init: Init = Field(default="pretrained", description=INIT)
    blocks: BlockOptions = Field(default=BlockOptions(), description=BLOCKS)
    positions: PositionOptions = Field(default=PositionOptions(), description=POSITIONS)
    prefix: PrefixOptions = Field(default=PrefixOptions(), description=PREFIX)
    position_init: PositionInit = Field(
        default="auto",
        description="initial values of the position table. zeros: as in the official code; pretrained: the rows of the "
        "checkpoint's grid of patches, without the class token; 'positions' says how to extend a table that is too "
        "short. With weights 'random', pretrained means timm's random initialisation. auto: zeros for loaded weights, "
        "timm's random initialisation for random ones, in which zero tokens would stay zero in every block",
    )
    dropout: Probability = Field(default=0.1, description=DROPOUT)
    attention_dropout: Probability = Field(default=0.0, description=ATTENTION_DROPOUT)
