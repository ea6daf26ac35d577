"""Options of the built-in backbones. Imports no torch, so that listings and recipe checks start fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fptkit.options import Options
from fptkit.sources.entries import BUILTIN_WEIGHTS as BUILTIN_WEIGHTS
from fptkit.sources.entries import check_entry
from fptkit.specs import BLOCK_SLICE, limits


@dataclass(frozen=True)
class Gpt2Sizes:
    """Sizes of a GPT-2 model.

    Args:
        blocks: number of blocks.
        width: D, numbers per token.
        heads: attention heads; divides ``width``.
        positions: rows of the position table.
    """

    blocks: int
    width: int
    heads: int
    positions: int = 1024


SIZES = {
    "nano": Gpt2Sizes(4, 256, 4),
    "base": Gpt2Sizes(12, 768, 12),
    "medium": Gpt2Sizes(24, 1024, 16),
    "large": Gpt2Sizes(36, 1280, 20),
    "xl": Gpt2Sizes(48, 1600, 25),
}
"""``nano`` is the size of ``builtin:gpt2_nano``; the others are the published sizes (Radford et al. 2019, Table 2)."""

WEIGHT_FORMS = "hub:ORG/NAME, hub:ORG/NAME@REVISION, path:DIR, path:FILE.gguf, package:NAME, builtin:NAME, random"
"""Those that fptkit itself brings; plugins may add others (``fptkit list weights``)."""


def _as_tuple(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


WeightEntry = Annotated[str, AfterValidator(check_entry)]
WeightEntries = Annotated[
    tuple[WeightEntry, ...],
    Field(min_length=1, max_length=limits.WEIGHT_SOURCES),
    BeforeValidator(_as_tuple, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)]),
]
Size = Literal["nano", "base", "medium", "large", "xl"]
Probability = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=limits.WIDTH)]
BlockCount = Annotated[int, Field(ge=1, le=limits.BLOCKS)]
HeadCount = Annotated[int, Field(ge=1, le=limits.HEADS)]
Length = Annotated[int, Field(ge=1, le=limits.LENGTH)]

Init = Literal["pretrained", "random", "flat_0.02", "statistics"]
RandomInit = Literal["random", "flat_0.02"]

INIT = (
    "initialisation of the weights. pretrained: as loaded; random: the library's initialisation of the architecture; "
    "flat_0.02: standard deviation 0.02 throughout, like the paper's random baseline; statistics: random, with each "
    "loaded tensor's mean and standard deviation. With weights 'random', pretrained means random"
)
"""Description of the option ``init`` of backbones that load weights."""

RANDOM_INIT = (
    "initialisation of the weights. random: the library's initialisation of the architecture; flat_0.02: standard "
    "deviation 0.02 throughout, like the paper's random baseline"
)
DROPOUT = "dropout probability of the embedding and of each block's output, in training"
ATTENTION_DROPOUT = (
    "dropout probability of attention weights, in training; above 0, attention of many tokens in float32 on a "
    "CPU is not fused: slower"
)


PositionKind = Literal["auto", "table", "learned", "none"]

POSITION_KIND = (
    "where the tokens' positions come from. table: the backbone's own position table; learned: trained vectors, one "
    "for each position, added to the tokens at the input (normal, standard deviation 0.02; role position); none: "
    "neither. A table that is not used is set to zero and frozen. auto: the table; learned where a transformer has "
    "none, as with rotary, ALiBi and relative positions"
)


class PositionOptions(Options):
    """The positions of the tokens. Without ``extend``, a task longer than the backbone's position table is an error.

    Source: learned positions are drawn like GPT-2's (its configuration, ``initializer_range``).

    Raises:
        ValueError: ``extend`` or ``length`` are given for a kind that has no such table.

    Example:
        >>> import fptkit
        >>> fptkit.PositionOptions(kind="learned").kind
        'learned'
    """

    kind: PositionKind = Field(default="auto", description=POSITION_KIND)
    length: Length | None = Field(
        default=None, description="rows of the table; null: as many as the task's longest example has tokens"
    )
    extend: Literal["tile", "interpolate"] | None = Field(
        default=None,
        description="if the backbone's table is too short: tile repeats its rows; interpolate stretches it linearly; "
        "null: error",
    )

    @model_validator(mode="after")
    def _for_a_table(self) -> PositionOptions:
        if self.kind in ("learned", "none") and self.extend is not None:
            raise ValueError(f"extend is for the backbone's own table, unused with kind: {self.kind}; leave it out")
        if self.kind == "none" and self.length is not None:
            raise ValueError("length is for a table of positions, and kind: none has none; leave it out")
        return self


class PrefixOptions(Options):
    """Vectors in front of the encoded tokens, which the head never reads.

    Source: bos: language models attend to the first token of a text when nothing else matters (Xiao et al. 2023,
    arXiv 2309.17453); learned: prompt tuning (Lester et al. 2021).

    Raises:
        ValueError: ``tokens`` are given for a kind other than learned.

    Example:
        >>> import fptkit
        >>> fptkit.PrefixOptions(kind="learned", tokens=3).count
        3
    """

    kind: Literal["none", "bos", "learned"] = Field(
        default="none",
        description="bos: the embedding of the token that begins a text in the checkpoint, frozen (with a random "
        "initialisation: a random vector of the same norm); learned: trained vectors (normal, standard deviation 0.02; "
        "role input)",
    )
    tokens: Length = Field(default=1, description="number of vectors, for learned")

    @model_validator(mode="after")
    def _one_begin(self) -> PrefixOptions:
        if self.kind != "learned" and self.tokens != 1:
            raise ValueError(f"tokens is for kind: learned; with kind: {self.kind} leave it out")
        return self

    @property
    def count(self) -> int:
        """Number of vectors in front."""
        return 0 if self.kind == "none" else self.tokens


@dataclass(frozen=True)
class FrontOptions:
    """The options of a backbone that say what is added to its tokens.

    Args:
        positions: of the tokens; None: those of the backbone, if it has any.
        prefix: vectors in front.
        drawn: the backbone's weights are random, whatever checkpoint gives its sizes.
    """

    positions: PositionOptions | None = None
    prefix: PrefixOptions = field(default_factory=PrefixOptions)
    drawn: bool = False

    @classmethod
    def of(cls, options: object) -> FrontOptions:
        """Find them among a backbone's options: ``positions``, or ``position_kind``, and ``prefix``."""
        positions, prefix = getattr(options, "positions", None), getattr(options, "prefix", None)
        if not isinstance(positions, PositionOptions):
            kind = getattr(options, "position_kind", None)
            positions = None if kind is None else PositionOptions(kind=kind)
        return cls(
            positions,
            prefix if isinstance(prefix, PrefixOptions) else PrefixOptions(),
            drawn=getattr(options, "init", "pretrained") != "pretrained",
        )


def _check_keep(keep: int | str) -> int | str:
    if isinstance(keep, int) and not 1 <= keep <= limits.BLOCKS:
        raise ValueError(f"expected a number of blocks from 1 to {limits.BLOCKS:,}, got {keep}")
    if isinstance(keep, str) and not BLOCK_SLICE.fullmatch(keep):
        raise ValueError(f"'{keep}' is not of the form START:STOP or START:STOP:STEP")
    return keep


class BlockOptions(Options):
    """Which blocks of the model are used."""

    keep: Annotated[int | str, AfterValidator(_check_keep)] | None = Field(
        default=None,
        description='a number n: the first n blocks; a slice in quotes, such as "6:12" or "::2": those blocks; '
        "null: all",
    )


POSITIONS = "the positions of the tokens, and how the position table is fitted to the task's length"
PREFIX = "vectors in front of the encoded tokens; the head never reads them"
BLOCKS = "which blocks to keep; the others are dropped"


class Gpt2Options(Options):
    """Options of the backbone ``gpt2``.

    Source: dropout 0.1: GPT-2's configuration; sizes: Radford et al. 2019.
    """

    weights: WeightEntries = Field(
        default=("hub:openai-community/gpt2", "builtin:gpt2_nano"),
        description=f"sources of the weights; the first available one is used; any of {WEIGHT_FORMS}",
    )
    size: Size = Field(default="base", description="size of the model, only for the weights 'random'")
    init: Init = Field(default="pretrained", description=INIT)
    blocks: BlockOptions = Field(default=BlockOptions(), description=BLOCKS)
    positions: PositionOptions = Field(default=PositionOptions(), description=POSITIONS)
    prefix: PrefixOptions = Field(default=PrefixOptions(), description=PREFIX)
    dropout: Probability = Field(default=0.1, description=DROPOUT)
    attention_dropout: Probability = Field(default=0.0, description=ATTENTION_DROPOUT)


class RandomOptions(Options):
    """Options of the backbone ``random``."""

    like: Literal["gpt2", "vit", "lstm", "bert", "t5_encoder", "longformer"] = Field(
        default="gpt2", description="architecture"
    )
    size: Size = Field(default="base", description="size of the model; the four numbers below override parts of it")
    blocks: BlockCount | None = Field(default=None, description="number of blocks; null: as in the size")
    width: Count | None = Field(
        default=None, description="numbers per token, a multiple of heads; null: as in the size"
    )
    heads: HeadCount | None = Field(
        default=None, description="attention heads, a divisor of width; null: as in the size"
    )
    positions: Length | None = Field(
        default=None,
        description="rows of the position table before it is fitted to the task; null: as in the size, or the task's "
        "tokens if those are more",
    )
    position_kind: PositionKind = Field(default="auto", description=POSITION_KIND)
    prefix: PrefixOptions = Field(default=PrefixOptions(), description=PREFIX)
    dropout: Probability = Field(default=0.1, description=DROPOUT)
    attention_dropout: Probability = Field(default=0.0, description=ATTENTION_DROPOUT)
    init: RandomInit = Field(default="random", description=RANDOM_INIT)

    @model_validator(mode="after")
    def _numbers_fit(self) -> RandomOptions:
        if self.like != "gpt2":
            if self.positions is not None:
                raise ValueError(f"positions is for like: gpt2 only; the table of {self.like} follows from the task")
            return self  # its builder checks the numbers against its own sizes
        width, heads = self.width or SIZES[self.size].width, self.heads or SIZES[self.size].heads
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, but {width} is not one of {heads}")
        return self
