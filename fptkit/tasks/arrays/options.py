"""Options of ``arrays``; in a module of their own so that listings and recipe checks do not import NumPy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fptkit.options import ONE_OR_MORE, ONE_OR_MORE_SCHEMA
from fptkit.tasks.reading.options import HubOrPathSource, TargetOptions

ENDINGS = (".npz", ".npy", ".safetensors")
"""Endings of the files that are read."""

ReadAs = Literal["sequences", "symbols", "images", "features"]

_SOURCE = (
    "your data: path:FILE_OR_FOLDER, or hf:NAME for a data set of the library datasets (of the hub, in its cache, or a "
    "folder); a list of them, which are all read; or a mapping of splits, {train: path:..., validation: path:..., "
    "test: path:...}, where validation and test may be left out"
)


class ArraysOptions(TargetOptions):
    """Options of the task ``arrays``."""

    source: HubOrPathSource = Field(description=_SOURCE)
    problem: Literal["auto", "classification", "labels", "regression", "tagging"] = Field(  # type: ignore[assignment]
        default="auto",
        description="classification: one class per example; labels: any of several labels; regression: numbers; "
        "tagging: a class for each step. auto: tagging if there is a whole number or text for each step of a sequence; "
        "labels if several targets have 0 and 1 only; regression if the target has fractional numbers, more than 20 "
        "different numbers, or several columns; otherwise classification",
    )
    unlabelled: tuple[str, ...] = Field(default=("-100",), description="for tagging, targets that mean no label")
    inputs: str | None = Field(
        default=None,
        min_length=1,
        description="array or column of the inputs, without the name of a split; null: the one with a usual name, such "
        "as x, inputs, data or images",
    )
    target: Annotated[tuple[str, ...], ONE_OR_MORE, ONE_OR_MORE_SCHEMA] = Field(
        default=(),
        description="array or column of the targets, or several; empty: the one with a usual name, such as y, labels "
        "or target",
    )
    lengths: str | None = Field(
        default=None,
        min_length=1,
        description="array with the real length of each example, or with the offsets of examples that are concatenated "
        "in x; null: lengths or offsets, if there is one",
    )
    read_as: Literal["auto", "sequences", "symbols", "images", "features"] = Field(
        default="auto",
        description="what x has: sequences, (N, T) or (N, T, F) numbers; symbols, (N, T) whole numbers from 0; images, "
        "(N, H, W) or (N, H, W, C) numbers; features, (N, F) numbers of which each has a token of its own; auto: by "
        "shape and type",
    )
    config: str | None = Field(default=None, min_length=1, description="configuration of a data set hf:NAME")
    revision: str | None = Field(default=None, min_length=1, description="revision of a data set hf:NAME of the hub")
