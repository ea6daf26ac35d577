"""Options that all tasks with users' files share. Light: recipe checks import this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from fptkit.options import Options
from fptkit.tasks.reading.numbers import MISSING

SPLIT_NAMES = ("train", "validation", "test")


class SplitOptions(Options):
    """Options ``split`` of tasks with users' files: which examples are for training, validation and test.

    Splits that the source has of its own are used as they are: its folders, files or keys ``train``, ``val``,
    ``valid``, ``validation``, ``dev``, ``test``, or the paths that ``source`` names. Only what is missing is drawn,
    from ``train``, as a share of it.
    """

    train: float | None = Field(
        default=None, gt=0, le=1, description="fraction of the examples for training; null: all that is left"
    )
    validation: float = Field(default=0.15, gt=0, lt=1, description="fraction of the examples for validation")
    test: float = Field(default=0.15, gt=0, lt=1, description="fraction of the examples for test")
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="seed of a random split; null: train.seeds.data, else 0, so that the run's own seed does not "
        "change the splits",
    )
    stratified: bool | None = Field(
        default=None,
        description="true: every class in the same proportion in each split; null: true for classes, unless the split "
        "is by time",
    )
    group: str | None = Field(
        default=None,
        min_length=1,
        description="column whose equal cells stay in one split, such as a patient or a speaker; null: none",
    )
    time: str | None = Field(
        default=None,
        min_length=1,
        description="column by which the split is made in time: the earliest examples are for training, the latest for "
        "test; null: the split is random",
    )
    column: str | None = Field(
        default=None,
        min_length=1,
        description="column whose cells name the split of each example (train, validation, test); null: none",
    )
    own: bool = Field(
        default=True,
        description="whether to use the source's own folders, files or keys for splits; false: all of its examples are "
        "pooled and divided",
    )

    @model_validator(mode="after")
    def _shares_fit(self) -> SplitOptions:
        total = (self.train or 0.0) + self.validation + self.test
        if total > 1 + 1e-9 or (self.train is None and total >= 1):
            raise ValueError(
                f"the shares of train, validation and test add up to {total:g}"
                + ("" if self.train else " and leave nothing for training")
                + "; they must not exceed 1"
            )
        return self

    @model_validator(mode="after")
    def _one_way(self) -> SplitOptions:
        ways = [name for name in ("time", "column") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError("the split is either by time or by a column that names it; leave out time or column")
        if ways and self.group:
            raise ValueError(f"the split is either by group or by {ways[0]}; leave out one of the two")
        if ways and self.stratified:
            raise ValueError(f"a split by {ways[0]} cannot be stratified; leave stratified out")
        return self


def _check_path(entry: str) -> str:
    place = entry.removeprefix("path:")
    if place == entry:
        raise ValueError(f"'{entry}' is not a source; write path:FILE_OR_FOLDER")
    if not place.strip():
        raise ValueError("'path:' names nothing; write path:FILE_OR_FOLDER")
    return entry


def _check_hub_or_path(entry: str) -> str:
    if not entry.startswith("hf:"):
        return _check_path(entry)
    if not entry.removeprefix("hf:").strip():
        raise ValueError("'hf:' names nothing; write hf:OWNER/NAME, or hf:FOLDER for a data set on this machine")
    return entry


def _as_splits(value: Any) -> Any:
    """One text or a list as the only entry of a mapping; inside a mapping, one text as a list."""
    if isinstance(value, (str, list, tuple)):
        value = {"all": value}
    if isinstance(value, Mapping):
        return {name: (some,) if isinstance(some, str) else some for name, some in value.items()}
    return value


def _known_splits(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    if not value:
        raise ValueError("name a file or folder: path:FILE_OR_FOLDER")
    names = [name for name in value if name not in SPLIT_NAMES and not name.startswith("test_")]
    if value.keys() != {"all"} and names:
        raise ValueError(f"'{names[0]}' is not a split; allowed: train, validation, test, test_NAME")
    if value.keys() != {"all"} and "train" not in value:
        raise ValueError("a source by split needs train")
    if empty := [name for name, entries in value.items() if not entries]:
        raise ValueError(f"'{empty[0]}' names no file; write path:FILE_OR_FOLDER")
    return value


def as_written(source: Mapping[str, tuple[str, ...]]) -> Any:
    """A source as it is written in a recipe: one text, a list, or a mapping of these."""
    short = {name: entries[0] if len(entries) == 1 else list(entries) for name, entries in source.items()}
    return short["all"] if set(short) == {"all"} else short


_ENTRY_SCHEMA = {"type": "string"}
_ENTRIES_SCHEMA = {"anyOf": [_ENTRY_SCHEMA, {"type": "array", "items": _ENTRY_SCHEMA, "minItems": 1}]}

PathSource = Annotated[
    dict[str, tuple[Annotated[str, AfterValidator(_check_path)], ...]],
    BeforeValidator(_as_splits),
    AfterValidator(_known_splits),
    PlainSerializer(lambda value: as_written(value)),
    WithJsonSchema({"anyOf": [*_ENTRIES_SCHEMA["anyOf"], {"type": "object", "additionalProperties": _ENTRIES_SCHEMA}]}),
]
"""Type of the option ``source``: the paths of each split by its name, or of all examples under ``all``.

Written as one ``path:``, as a list of them, which are all read, or as ``{train: path:..., test: path:...}``.
"""

HubOrPathSource = Annotated[
    dict[str, tuple[Annotated[str, AfterValidator(_check_hub_or_path)], ...]],
    BeforeValidator(_as_splits),
    AfterValidator(_known_splits),
    PlainSerializer(lambda value: as_written(value)),
    WithJsonSchema({"anyOf": [*_ENTRIES_SCHEMA["anyOf"], {"type": "object", "additionalProperties": _ENTRIES_SCHEMA}]}),
]
"""As `PathSource`; entries may also be ``hf:NAME``, a data set of the library ``datasets``."""

SOURCE = (
    "your data: path:FILE_OR_FOLDER; a list of them, which are all read; or a mapping of splits, {train: path:..., "
    "validation: path:..., test: path:...}, where validation and test may be left out"
)
"""Description of the option ``source``."""


class OwnDataOptions(Options):
    """Options of every task with users' files; the options of a format are a subclass."""

    source: PathSource = Field(description=SOURCE)
    split: SplitOptions = Field(default=SplitOptions(), description="training, validation and test examples")


class TargetOptions(OwnDataOptions):
    """Options of what is predicted, for formats whose labels may be classes, several labels, or numbers."""

    problem: Literal["auto", "classification", "labels", "regression"] = Field(
        default="auto",
        description="classification: one class per example; labels: any of several labels; regression: numbers. auto: "
        "labels if separator is set or several targets have 0 and 1 only; regression if the target has fractional "
        "numbers, more than 20 different numbers, or several columns; otherwise classification",
    )
    separator: str | None = Field(
        default=None,
        min_length=1,
        description="what separates the labels of an example in one cell, for example ';'; null: no such cells",
    )


class CellOptions(TargetOptions):
    """Options of tasks that read cells of text, such as tables."""

    missing: tuple[str, ...] = Field(default=MISSING, description="cells that mean a missing value")
    decimal: str = Field(default=".", pattern="^[.,]$", description="decimal mark of numbers, '.' or ','")
