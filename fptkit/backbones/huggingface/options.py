"""Options of the backbones ``huggingface``, ``bert``, ``t5_encoder`` and ``longformer``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from fptkit.backbones.options import (
    BLOCKS,
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
from fptkit.specs import limits


@dataclass(frozen=True)
class EncoderSizes:
    """Sizes of a transformer encoder; its feed-forward layers are four times as wide as its tokens.

    Args:
        blocks: number of blocks.
        width: D, numbers per token.
        heads: attention heads; divides ``width``.
    """

    blocks: int
    width: int
    heads: int


ENCODER_SIZES = {
    "nano": EncoderSizes(4, 256, 4),
    "base": EncoderSizes(12, 768, 12),
    "large": EncoderSizes(24, 1024, 16),
}
"""``nano`` is fptkit's own size, that of ``builtin:gpt2_nano``; ``base`` and ``large`` are those of the papers.

Source: Devlin et al. 2019, section 3; Raffel et al. 2020, section 3.7; Beltagy et al. 2020, section 5.
"""

EncoderSize = Literal["nano", "base", "large"]

WEIGHTS = f"sources of the weights; the first available one is used; any of {WEIGHT_FORMS}"

BERT_POSITIONS = 512
LONGFORMER_POSITIONS = 4096
"""Rows of the published position tables. Source: the checkpoints' config.json."""

ATTENTION_WINDOWS = {"nano": 64, "base": 512, "large": 512}
"""Attention window in tokens, by size. Source: Beltagy et al. 2020, section 5, for 512."""


class _TransformerOptions(Options):
    """Options of every backbone from transformers."""

    weights: WeightEntries = Field(description=WEIGHTS)
    init: Init = Field(default="pretrained", description=INIT)
    blocks: BlockOptions = Field(default=BlockOptions(), description=BLOCKS)
    positions: PositionOptions = Field(default=PositionOptions(), description=POSITIONS)
    prefix: PrefixOptions = Field(default=PrefixOptions(), description=PREFIX)
    dropout: Probability | None = Field(
        default=None,
        description="dropout probability, in training, everywhere that the model has dropout outside its attention "
        "weights; null: as in its config",
    )
    attention_dropout: Probability | None = Field(
        default=None, description="dropout probability of attention weights, in training; null: as in its config"
    )


BodyRole = Literal["position", "attention", "feed_forward", "norm", "recurrent", "embedding", "other"]
"""Roles of a backbone's parameters; ``input`` and ``output`` are those of encoder and head."""


class HuggingFaceOptions(_TransformerOptions):
    """Options of the backbone ``huggingface``.

    Source: huggingface/transformers, ``AutoModel``; code from model repositories is never run.
    """

    config: dict[str, Any] | str | None = Field(
        default=None,
        description="architecture for the weights 'random': keys and values of a config.json, including model_type, "
        "or the path of a config.json",
    )
    roles: dict[str, BodyRole] = Field(
        default={},
        description="roles of parameters, by pattern of their names as errors and `fptkit show` print them: * stands "
        "for any text, the first pattern that matches counts, and each must match; for models whose modules do not say "
        "what they are for, and to count a part of the body as another, such as {'*.A_log': recurrent}",
    )

    part: str | None = Field(
        default=None,
        description="which model of a checkpoint that combines several, such as text or vision of CLIP; null: the "
        "checkpoint is of one model",
    )

    @model_validator(mode="after")
    def _config_where_random(self) -> HuggingFaceOptions:
        if "random" in self.weights and self.config is None:
            raise ValueError(
                "the weights 'random' need config: the path of a config.json, or its keys and values, such as "
                "{model_type: llama, hidden_size: 256, num_hidden_layers: 4, num_attention_heads: 4}"
            )
        if "random" not in self.weights and self.config is not None:
            raise ValueError("config is for the weights 'random' only; other weights have their own config.json")
        return self


class BertOptions(_TransformerOptions):
    """Options of the backbone ``bert``.

    Source: Devlin et al. 2019; google-bert/bert-base-uncased.
    """

    weights: WeightEntries = Field(default=("hub:google-bert/bert-base-uncased",), description=WEIGHTS)
    size: EncoderSize = Field(default="base", description="size of the model, only for the weights 'random'")


class T5EncoderOptions(_TransformerOptions):
    """Options of the backbone ``t5_encoder``. T5 has one dropout probability: ``dropout`` includes attention weights.

    Source: Raffel et al. 2020; google-t5/t5-base.
    """

    weights: WeightEntries = Field(default=("hub:google-t5/t5-base",), description=WEIGHTS)
    size: EncoderSize = Field(default="base", description="size of the model, only for the weights 'random'")


def _check_even(window: int) -> int:
    if not 4 <= window <= limits.LENGTH or window % 2:  # the library's own computation fails on 2
        raise ValueError(f"must be an even number of 4 to {limits.LENGTH:,} tokens, got {window}")
    return window


class LongformerOptions(_TransformerOptions):
    """Options of the backbone ``longformer``.

    Source: Beltagy et al. 2020; allenai/longformer-base-4096.
    """

    weights: WeightEntries = Field(default=("hub:allenai/longformer-base-4096",), description=WEIGHTS)
    size: EncoderSize = Field(default="base", description="size of the model, only for the weights 'random'")
    attention_window: Annotated[int, AfterValidator(_check_even)] | None = Field(
        default=None,
        description="attention window in every block: the number of tokens that a token sees, half of them on each "
        "side. Cost grows with it; sequences are padded to a multiple of it, or of twice the task's tokens if that is "
        "less; null: as in the model's config",
    )
