"""Options of the backbone ``lstm``. Imports no torch, so that listings and recipe checks start fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fptkit.backbones.options import (
    BLOCKS,
    INIT,
    PREFIX,
    BlockCount,
    BlockOptions,
    Count,
    Init,
    PrefixOptions,
    Probability,
)
from fptkit.options import Decides, Options
from fptkit.specs import limits


@dataclass(frozen=True)
class LstmSizes:
    """Sizes of a layer-norm LSTM.

    Args:
        layers: number of layers.
        width: H, numbers in the hidden state, equal to D, the numbers per token.
    """

    layers: int
    width: int


LstmSize = Literal["nano", "paper"]
Variant = Literal["ba2016", "official"]

LSTM_SIZES = {"nano": LstmSizes(2, 256), "paper": LstmSizes(3, 768)}
"""``nano`` is as wide as the packaged transformers. Source of ``paper``: Lu et al. 2021, ``fpt.py``."""


def _check_weights(entry: str) -> str:
    if entry == "random" or (entry.startswith("path:") and entry[len("path:") :].strip()):
        return entry
    raise ValueError(f"unknown source of weights '{entry}'; an LSTM's are 'random' or 'path:DIR'")


LstmWeights = Annotated[
    tuple[Annotated[str, AfterValidator(_check_weights)], ...],
    Field(min_length=1, max_length=limits.WEIGHT_SOURCES),
    BeforeValidator(
        lambda value: (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value,
        json_schema_input_type=str | Annotated[list[str], Field(min_length=1)],
    ),
]


class LstmOptions(Options):
    """Options of the backbone ``lstm``.

    Source: three layers of 768 and dropout 0.1, Lu et al. 2021, section 3.1 and ``fpt.py``.

    Raises:
        ValueError: ``loop`` is ``compiled`` with the variant ``official``.
    """

    weights: LstmWeights = Field(
        default=("random",),
        description="sources of the weights; the first available one is used; random, or path:DIR for a folder with "
        "the config.json and model.safetensors of a pretrained LSTM",
    )
    size: LstmSize = Field(
        default="paper", description="nano: 2 layers of 256; paper: 3 layers of 768; only for the weights 'random'"
    )
    layers: BlockCount | None = Field(
        default=None, description="number of layers, only for the weights 'random'; null: as in the size"
    )
    width: Count | None = Field(
        default=None,
        description="width of the hidden state and of a token, only for the weights 'random'; null: as in the size",
    )
    variant: Variant = Field(
        default="ba2016",
        description="ba2016: the norms of Ba et al. 2016, a zero initial state; official: that of the paper's code: "
        "norms with random initial scales and shifts and the variance of a sample, the normalised cell fed back, "
        "random initial states for every training batch and one drawn once for evaluation; a Python loop",
    )
    init: Init = Field(default="pretrained", description=INIT)
    blocks: BlockOptions = Field(default=BlockOptions(), description=BLOCKS + "; a block is a layer")
    prefix: PrefixOptions = Field(default=PrefixOptions(), description=PREFIX)
    dropout: Probability = Field(
        default=0.1,
        description="dropout probability between two layers, in training; with variant: official of every hidden "
        "state, and the next step gets the result",
    )
    # Both loops compute the same but for rounding, and auto depends on the machine.
    loop: Annotated[Literal["auto", "compiled", "torch"], Decides.NOTHING] = Field(
        default="auto",
        description="how time steps are computed. compiled: in C++, compiled on first use; torch: a Python loop, about "
        "twice as slow; auto: compiled on a CPU, if a C++ compiler is available and FPTKIT_KERNELS is not off",
    )

    @model_validator(mode="after")
    def _loop_of_variant(self) -> LstmOptions:
        if self.variant == "official" and self.loop == "compiled":
            raise ValueError("loop 'compiled' computes variant ba2016 only; with variant: official use auto")
        return self
