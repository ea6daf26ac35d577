"""Options of ``series``, and how files are read; light, so that listings and recipe checks do not import NumPy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fptkit.options import ONE_OR_MORE, ONE_OR_MORE_SCHEMA
from fptkit.specs import limits
from fptkit.tasks.reading.options import CellOptions

ENDINGS = (".ts", ".tsv", ".txt", ".npz", ".csv", ".tab", ".parquet")
"""Endings of the files that are read. Of a folder with several formats, the first one in this order is used."""

Columns = Annotated[tuple[str, ...], ONE_OR_MORE, ONE_OR_MORE_SCHEMA]


class Layout(BaseModel):
    """How files are read, as a part of the preparation; the fields are those of `SeriesOptions`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: Literal["auto", "rows", "columns", "long"]
    forecasting: bool
    target: tuple[str, ...]
    id: str | None
    time: str | None
    channel: str | None
    values: tuple[str, ...]
    ignore: tuple[str, ...]
    channels_first: bool
    missing: tuple[str, ...]
    decimal: str
    delimiter: str | None
    header: bool


class SeriesOptions(CellOptions):
    """Options of the task ``series``.

    Source of history and horizon: the shortest of Nie et al. 2023 (PatchTST) are 336 and 96; ours train in minutes on a
    laptop.
    """

    problem: Literal["auto", "classification", "labels", "regression", "forecasting"] = Field(  # type: ignore[assignment]
        default="auto",
        description="classification: one class per series; labels: any of several labels; regression: numbers; "
        "forecasting: the next values. auto: forecasting if horizon is set; otherwise as the labels suggest: labels if "
        "separator is set or several targets have 0 and 1 only; regression if the target has fractional numbers, more "
        "than 20 different numbers, or several columns; otherwise classification",
    )
    target: Columns = Field(
        default=(),
        description="column of a table to predict, or of forecasting the columns or channels to forecast. Empty: the "
        "column label, class or target, of rows also y; of forecasting all channels",
    )
    layout: Literal["auto", "rows", "columns", "long"] = Field(
        default="auto",
        description="how a table holds series. rows: a row is a series, its columns are the steps; columns: a row is a "
        "step, its columns are channels; long: a row is a step of the series that column id names. auto: long if there "
        "is such a column, otherwise rows, of forecasting columns",
    )
    id: str | None = Field(
        default=None,
        min_length=1,
        description="column that tells series apart (long); null: a column id, series, series_id, unique_id, case_id "
        "or sample_id whose cells repeat",
    )
    time: str | None = Field(
        default=None,
        min_length=1,
        description="column with the time of a step, by which rows are sorted (long, columns); null: a column of "
        "dates, or one named time, timestamp, date, step and the like",
    )
    channel: str | None = Field(
        default=None,
        min_length=1,
        description="column that names the channel of a row's value (long); null: a column channel, dim, dimension or "
        "variable next to a single column of values",
    )
    values: Columns = Field(
        default=(), description="columns of the values (steps of rows, otherwise channels); empty: all other numbers"
    )
    ignore: Columns = Field(default=(), description="columns that are not used")
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        default=None, description="character between the cells of a text file; null: it is found"
    )
    header: bool = Field(
        default=True, description="whether the first line of a CSV file has column names; false: they are 1, 2, ..."
    )
    channels_first: bool = Field(
        default=False,
        description="whether arrays of an .npz file are (series, channels, steps), as those of aeon and sktime; false: "
        "(series, steps, channels)",
    )
    normalisation: Literal["train", "channel", "series", "window", "none"] = Field(
        default="train",
        description="scaling to mean 0 and standard deviation 1. train: each channel over all training steps; channel: "
        "each channel of each series; series: each series over all channels; window: each window of a forecast by its "
        "history, per channel; none: as stored",
    )
    fill: Literal["interpolate", "mask", "refuse"] = Field(
        default="interpolate",
        description="missing values. interpolate: linear between known neighbours of the channel, in forecasting the "
        "last known value, since later ones are not known yet; mask: the same, and one more channel for each that is 1 "
        "where a value was missing; refuse: an error",
    )
    max_steps: int | None = Field(
        default=None,
        ge=1,
        le=limits.LENGTH,
        description="longer series are cut to this many steps, their first ones; null: no limit",
    )
    history: int = Field(default=96, ge=2, le=limits.LENGTH, description="steps that a forecast sees (forecasting)")
    horizon: int | None = Field(
        default=None, ge=1, le=limits.LENGTH, description="steps to forecast; null: no forecasting"
    )
    stride: int = Field(
        default=1, ge=1, le=limits.LENGTH, description="steps from one window to the next (forecasting)"
    )
    season: int | None = Field(
        default=None,
        ge=1,
        le=limits.LENGTH,
        description="season in steps, for the seasonal naive forecast; null: from the dates (24 hours, 7 days, 12 "
        "months or 4 quarters), if there are any",
    )

    @property
    def forecasts(self) -> bool:
        """Whether the problem is forecasting."""
        return self.problem == "forecasting" or (self.problem == "auto" and self.horizon is not None)

    def reading(self) -> Layout:
        """What the readers need."""
        return Layout(
            shape=self.layout,
            forecasting=self.forecasts,
            target=self.target,
            id=self.id,
            time=self.time,
            channel=self.channel,
            values=self.values,
            ignore=self.ignore,
            channels_first=self.channels_first,
            missing=self.missing,
            decimal=self.decimal,
            delimiter=self.delimiter,
            header=self.header,
        )

    @model_validator(mode="after")
    def _fits_the_problem(self) -> SeriesOptions:
        if self.horizon is not None and not self.forecasts:
            raise ValueError(f"horizon is for forecasting, but problem is {self.problem}; leave one of them out")
        if self.problem == "forecasting" and self.horizon is None:
            raise ValueError("forecasting needs horizon, the number of steps to forecast")
        if self.forecasts and self.normalisation in ("channel", "series"):
            raise ValueError(f"normalisation {self.normalisation} would see the future; use train, window or none")
        if not self.forecasts and self.normalisation == "window":
            raise ValueError("normalisation window is for forecasting; use channel, which scales each series by itself")
        if self.fill == "mask" and self.normalisation == "window":
            raise ValueError("fill mask needs normalisation train or none")
        if self.forecasts and self.layout == "rows":
            raise ValueError("layout rows has one row per series; forecasting needs columns or long")
        if not self.forecasts and self.layout == "columns":
            raise ValueError("layout columns holds one series per file; use rows or long, or set horizon to forecast")
        if self.season is not None and self.season > self.history:
            raise ValueError(f"season {self.season} is above history {self.history}; lower it or raise history")
        return self

    @model_validator(mode="after")
    def _split_by_time_only(self) -> SeriesOptions:
        ways = [name for name in ("group", "column", "stratified", "time") if getattr(self.split, name)]
        if self.forecasts and ways:
            raise ValueError(f"forecasting is split by time, by the shares alone; leave split.{ways[0]} out")
        return self
