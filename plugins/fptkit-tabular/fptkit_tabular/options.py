"""What a recipe may say under ``task``. Light: recipes are checked without loading torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from fptkit import Options

TABLES = ("breast_cancer", "diabetes", "iris", "wine")
"""Tables that lie inside scikit-learn."""

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
        raise ValueError(f"expected one character, or the word tab, got {text!r}")
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
        description=f"the table, the first available is taken; any of {SOURCES}",
    )
    target: str = Field(
        default="target",
        min_length=1,
        description="column to foretell; scikit-learn's tables call it target",
    )
    problem: Literal["auto", "classification", "regression"] = Field(
        default="auto",
        description="auto: regression where the target holds numbers that are not whole, or more than 20 different "
        "ones, else classification",
    )
    numeric: tuple[str, ...] = Field(
        default=(), description="columns that hold numbers, where cells alone would not say so"
    )
    categorical: tuple[str, ...] = Field(
        default=(), description="columns whose cells are names of categories, even where they look like numbers"
    )
    ignore: tuple[str, ...] = Field(default=(), description="columns left out, such as identifiers")
    missing: tuple[str, ...] = Field(
        default=("", "?", "NA", "NaN", "nan"), description="cells that stand for a missing value"
    )
    delimiter: Annotated[str, AfterValidator(_one_character)] = Field(
        default=",", description="character between the cells of a CSV file, or the word tab"
    )
    max_categories: int = Field(
        default=32,
        ge=1,
        description="categories of a column that are told apart, the commonest of train; all others are one",
    )
    column_identity: Literal["one_hot", "positions"] = Field(
        default="one_hot",
        description="how a token says which column it is. one_hot: by numbers of its own; positions: by its place "
        "alone, which the backbone's position table must tell",
    )
    validation_share: float = Field(
        default=0.15, gt=0, lt=1, description="share of the rows, of every class in proportion, for validation"
    )
    test_share: float = Field(
        default=0.25, gt=0, lt=1, description="share of the rows, of every class in proportion, for test"
    )
    split_seed: int = Field(default=0, ge=0, description="draws the splits; the run's own seed does not change them")

    @model_validator(mode="after")
    def _parts_fit(self) -> TabularOptions:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing to train on: their sum must be below 1")
        said: dict[str, str] = {}
        for option, names in (
            ("target", (self.target,)),
            ("numeric", self.numeric),
            ("categorical", self.categorical),
            ("ignore", self.ignore),
        ):
            for name in names:
                # A target may be declared numeric or categorical: that says what the problem is.
                if said.get(name, option) != option and not (said[name] == "target" and option != "ignore"):
                    raise ValueError(f"column '{name}' is both in {said[name]} and in {option}")
                said[name] = option
        return self
