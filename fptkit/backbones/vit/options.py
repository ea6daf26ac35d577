"""Options of the backbone ``vit``; light, so that listings and recipe checks load no torch."""

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
    WEIGHT_FORMS,
    BlockOptions,
    Init,
    PositionOptions,
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
"""``nano`` is the size of ``builtin:vit_nano``: half the blocks of ``tiny``, 2.67 million parameters, so that the file
stays below 6 MB in bfloat16. The others are timm's ``vit_SIZE_patch16_224``.

Source: base and large: Dosovitskiy et al. 2021, Table 1; tiny and small: Touvron et al. 2021, Table 1.
"""

VitSize = Literal["nano", "tiny", "small", "base", "large"]


class VitOptions(Options):
    """Options of the backbone ``vit``.

    Source: the first of ``weights`` are those the official code loads: timm 0.4.5, of the paper's month, gives
    ``jx_vit_base_p16_224-80ecf9dd`` for ``vit_base_patch16_224``, which the hub keeps under this name. Positions at
    zero and dropout 0.1: kzl/universal-computation, ``fpt.py``.
    """

    weights: WeightEntries = Field(
        default=("hub:timm/vit_base_patch16_224.orig_in21k_ft_in1k", "builtin:vit_nano"),
        description=f"where weights come from, the first available is taken; any of {WEIGHT_FORMS}",
    )
    size: VitSize = Field(default="base", description="size of the model, for the weights 'random' only")
    init: Init = Field(default="pretrained", description=INIT)
    blocks: BlockOptions = Field(default=BlockOptions(), description=BLOCKS)
    positions: PositionOptions = Field(default=PositionOptions(), description=POSITIONS)
    position_init: Literal["zeros", "pretrained"] = Field(
        default="zeros",
        description="what the position table starts as. zeros: as the official code has it; pretrained: the rows of "
        "the checkpoint's grid of patches, row by row, without the class token's; 'positions' says what to do where "
        "they do not reach. With weights 'random', pretrained means drawn as timm draws them",
    )
    dropout: Probability = Field(default=0.1, description=DROPOUT)
    attention_dropout: Probability = Field(default=0.0, description=ATTENTION_DROPOUT)
