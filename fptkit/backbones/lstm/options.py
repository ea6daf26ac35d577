"""Options of the backbone ``lstm``; light, so that listings and recipe checks load no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from fptkit.backbones.options import BLOCKS, INIT, BlockOptions, Count, Init, Probability
from fptkit.options import Decides, Options


@dataclass(frozen=True)
class LstmSizes:
    """Sizes of a layer-norm LSTM.

    Args:
        layers: number of layers.
        width: H, numbers of the hidden state and, being the same, of a token.
    """

    layers: int
    width: int


LstmSize = Literal["nano", "paper"]

LSTM_SIZES = {"nano": LstmSizes(2, 256), "paper": LstmSizes(3, 768)}
"""``nano`` is as wide as the packaged transformers. Source of ``paper``: Lu et al. 2021, ``fpt.py``."""


def _check_weights(entry: str) -> str:
    if entry == "random" or (entry.startswith("path:") and entry[len("path:") :].strip()):
        return entry
    raise ValueError(f"unknown source of weights '{entry}'; an LSTM's are 'random' or 'path:DIR'")


LstmWeights = Annotated[
    tuple[Annotated[str, AfterValidator(_check_weights)], ...],
    Field(min_length=1),
    BeforeValidator(
        lambda value: (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value,
        json_schema_input_type=str | Annotated[list[str], Field(min_length=1)],
    ),
]


class LstmOptions(Options):
    """Options of the backbone ``lstm``.

    Source: three layers of 768 and dropout 0.1, Lu et al. 2021, section 3.1 and ``fpt.py``.
    """

    weights: LstmWeights = Field(
        default=("random",),
        description="where weights come from, the first available is taken; random, or path:DIR for a folder with the "
        "config.json and model.safetensors of an LSTM that was trained before",
    )
    size: LstmSize = Field(
        default="paper", description="nano: 2 layers of 256; paper: 3 layers of 768; for the weights 'random' only"
    )
    layers: Count | None = Field(
        default=None, description="number of layers, for the weights 'random' only; null: that of the size"
    )
    width: Count | None = Field(
        default=None,
        description="numbers of the hidden state and of a token, for the weights 'random' only; null: that of the size",
    )
    init: Init = Field(default="pretrained", description=INIT)
    blocks: BlockOptions = Field(default=BlockOptions(), description=BLOCKS + "; a block is a layer")
    dropout: Probability = Field(
        default=0.1, description="probability of dropping a number between two layers, in training"
    )
    # Both walk alike but for rounding, and auto depends on the machine.
    loop: Annotated[Literal["auto", "compiled", "torch"], Decides.NOTHING] = Field(
        default="auto",
        description="how time steps are computed. compiled: in C++, compiled on first use; torch: a Python loop, about "
        "twice as slow; auto: compiled on a CPU, if a C++ compiler is available and FPTKIT_KERNELS is not off",
    )
