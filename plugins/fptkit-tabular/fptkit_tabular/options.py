"""Options of a recipe's section ``task``. Does not import torch, so that recipe checks are fast."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from fptkit import Options
from fptkit.tasks.reading.numbers import MISSING

TABLES = ("breast_cancer", "diabetes", "iris", "wine")
"""Tables that are included in scikit-learn."""

SOURCES = f"path:FILE.csv, {', '.join(f'sklearn:{name}' for name in TABLES)}"


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _check_entry(entry: str) -> str:
    kind, colon, place = entry.partition(":")
    if colon and ((kind == "path" and place.strip()) or (kind == "sklearn" and place in TABLES)):
        return entry
    raise ValueError(f"unknown source '{entry}'; allowed: {SOURCES}")


def _one_character(text: str) -> str:
    if text == "tab":
        return "\t"
    if len(text) != 1 or text in '"\r\n':
        raise ValueError(f"expected one character or 'tab', got {text!r}")
    return text


Sources = Annotated[
    tuple[Annotated[str, AfterValidator(_check_entry)], ...],
    BeforeValidator(_as_tuple),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]


class TabularOptions(Options):
    """Options of the task ``tabular``."""

    source: Sources = Field(
        default=("sklearn:breast_cancer",),
        min_length=1,
        description=f"sources of the table, of which the first available one is used; any of {SOURCES}",
    )
    target: str = Field(
        default="target",
        min_length=1,
        description="column to predict; in scikit-learn's tables its name is target",
    )
    problem: Literal["auto", "classification", "regression"] = Field(
        default="auto",
        description="auto: regression if the target has fractional numbers or more than 20 different numbers, "
        "otherwise classification",
    )
    numeric: tuple[str, ...] = Field(
        default=(), description="columns to read as numbers, if they would not be detected as such"
    )
    categorical: tuple[str, ...] = Field(
        default=(), description="columns to read as categories, even if their cells look like numbers"
    )
    ignore: tuple[str, ...] = Field(default=(), description="columns that are not used, such as identifiers")
    missing: tuple[str, ...] = Field(default=MISSING, description="cells that mean a missing value")
    delimiter: Annotated[str, AfterValidator(_one_character)] = Field(
        default=",", description="character that separates the cells of a CSV file, or the word tab"
    )
    max_categories: int = Field(
        default=32,
        ge=1,
        description="categories per column, the most frequent ones in train; all others become one further category",
    )
    column_identity: Literal["one_hot", "positions"] = Field(
        default="one_hot",
        description="how tokens identify their column. one_hot: by a one-hot vector; positions: only by the backbone's "
        "position embeddings",
    )
    validation_share: float = Field(
        default=0.15, gt=0, lt=1, description="fraction of the rows for validation, stratified by class"
    )
    test_share: float = Field(
        default=0.25, gt=0, lt=1, description="fraction of the rows for test, stratified by class"
    )
    split_seed: int = Field(default=0, ge=0, description="seed of the splits; the run's own seed does not change them")

    @model_validator(mode="after")
    def _parts_fit(self) -> TabularOptions:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share plus test_share must be below 1, so that rows are left for training")
        said: dict[str, str] = {}
        for option, names in (
            ("target", (self.target,)),
            ("numeric", self.numeric),
            ("categorical", self.categorical),
            ("ignore", self.ignore),
        ):
            for name in names:
                # A target may be declared numeric or categorical, which decides the problem.
                if said.get(name, option) != option and not (said[name] == "target" and option != "ignore"):
                    raise ValueError(f"column '{name}' is both in {said[name]} and in {option}")
                said[name] = option
        return self
