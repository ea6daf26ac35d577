"""Options of ``images``; in a module of their own so that listings and recipe checks do not import NumPy."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from fptkit.options import ONE_OR_MORE, ONE_OR_MORE_SCHEMA
from fptkit.tasks.reading.options import CellOptions
from fptkit.tasks.table.options import ENDINGS as TABLES
from fptkit.tasks.table.options import one_character

__all__ = ["TABLES", "ImagesOptions", "colour_of"]

Side = Annotated[int, Field(ge=1, le=4096)]
Resize = Literal["crop", "stretch", "pad", "none"]


def colour_of(text: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour as CSS writes it: ``white``, ``#ff8000``, ``rgb(255, 128, 0)``.

    Raises:
        ValueError: it is none.
    """
    from PIL import ImageColor

    red, green, blue, *_ = ImageColor.getrgb(text)
    return red, green, blue


def _check_colour(text: str) -> str:
    try:
        colour_of(text)
    except ValueError as err:
        raise ValueError(f"'{text}' is not a colour; write a name such as white, or '#rrggbb'") from err
    return text


def _both_sides(value: Any) -> Any:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


_SIDE_SCHEMA = {"type": "integer", "minimum": 1, "maximum": 4096}

Size = Annotated[
    tuple[Side, Side],
    BeforeValidator(_both_sides),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 4096},
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 1, "maximum": 4096},
                    "minItems": 2,
                    "maxItems": 2,
                },
            ]
        }
    ),
]
"""Height and width in pixels; one number for both."""


class ImagesOptions(CellOptions):
    """Options of the task ``images``."""

    target: Annotated[tuple[str, ...], ONE_OR_MORE, ONE_OR_MORE_SCHEMA] = Field(
        default=(),
        description="for a table, the column to predict, or several; empty: a column label, class, target and the "
        "like, else the only one left. For class folders the class is predicted",
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description="for a table, the column of paths; null: the one with a usual name, such as path or file_name, "
        "or whose cells all end like pictures",
    )
    root: str | None = Field(
        default=None,
        min_length=1,
        description="for a table, the folder that its paths start from; null: the folder of the table",
    )
    delimiter: Annotated[str, AfterValidator(one_character)] | None = Field(
        default=None, description="character between the cells of a table, or the word tab; null: it is found"
    )
    class_folder: Literal["first", "deepest"] = Field(
        default="first",
        description="which folder is the class: first, the one directly in the source, with everything in it; deepest, "
        "the one that holds the picture, named by its path",
    )
    size: Size | None = Field(
        default=None,
        description="height and width that all pictures get, in pixels: one number or [height, width]; null: their "
        "own, if they all have the same one, up to 64 and a multiple of 4, otherwise 64",
    )
    resize: Resize = Field(
        default="crop",
        description="how pictures get this size: crop, the shorter side is scaled and the longer one cropped at the "
        "centre; stretch, both sides are scaled; pad, the longer side is scaled and the rest filled with background; "
        "none, no scaling, but cropped or filled at the centre",
    )
    colour: Literal["auto", "rgb", "grey"] = Field(
        default="auto", description="rgb: three numbers per pixel; grey: one; auto: grey if all pictures are grey"
    )
    background: Annotated[str, AfterValidator(_check_colour)] = Field(
        default="white",
        description="colour behind transparent pixels and around filled pictures: a name or '#rrggbb'",
    )
    augment: bool = Field(
        default=False,
        description="random crop (padding 4), horizontal flip and rotation up to 20 degrees of training pictures; for "
        "pictures that mean the same when mirrored",
    )
