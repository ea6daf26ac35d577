"""Options of ``table``; in a module of their own so that listings and recipe checks do not import NumPy."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from fptkit.options import ONE_OR_MORE
from fptkit.specs import limits
from fptkit.tasks.reading.options import CellOptions

ENDINGS = (".csv", ".tsv", ".tab", ".txt", ".parquet")
"""Endings of the files that are read."""


def one_character(text: str) -> str:
    """A check of the option ``delimiter``: one character, or the word ``tab``.

    Raises:
        ValueError: it is neither.
    """
    if text == "tab":
        return "\t"
    if len(text) != 1 or text in '"\r\n':
        raise ValueError(f"expected one character or 'tab', got {text!r}")
    return text


Columns = Annotated[
    tuple[str, ...],
    ONE_OR_MORE,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class TableOptions(CellOptions):
    """Options of the task ``table``."""

    target: Columns = Field(
        min_length=1, description="column to predict; several for regression of several numbers, or for labels"
    )
    ignore: Columns = Field(default=(), description="columns that are not used, such as identifiers")
    numeric: Columns = Field(default=(), description="columns to read as numbers, although they look like codes")
    categorical: Columns = Field(
        default=(), description="columns to read as categories, even if their cells look like numbers"
    )
    delimiter: Annotated[str, AfterValidator(one_character)] | None = Field(
        default=None, description="character between the cells of a text file, or the word tab; null: it is found"
    )
    header: bool = Field(
        default=True,
        description="whether the first line of a text file has column names; false: they are 1, 2, ...",
    )
    max_categories: int = Field(
        default=32,
        ge=1,
        le=limits.WIDTH,
        description="categories per column, the most frequent ones in train; all others become one further category",
    )

    @model_validator(mode="after")
    def _each_column_once(self) -> TableOptions:
        said: dict[str, str] = {}
        split = [name for name in (self.split.group, self.split.column) if name]
        for option, names in (
            ("target", self.target),
            ("ignore", self.ignore),
            ("numeric", self.numeric),
            ("categorical", self.categorical),
        ):
            for name in names:
                if said.get(name) == option:
                    raise ValueError(f"{option} names column '{name}' twice")
                if name in said:
                    raise ValueError(f"column '{name}' is both in {said[name]} and in {option}")
                said[name] = option
        for name in split:
            if said.get(name) == "target":
                raise ValueError(f"column '{name}' is both in target and in split")
        return self
