"""Options of a recipe's section ``task``. Does not import torch, so that recipe checks are fast."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from fptkit import Options

CLASSIFICATION_SOURCES = "archive:NAME, path:FILE_OR_DIR, simulated"
FORECASTING_SOURCES = "path:FILE, simulated"


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _check_entry(entry: str, kinds: tuple[str, ...], allowed: str) -> str:
    kind, colon, place = entry.partition(":")
    if entry == "simulated" or (colon and kind in kinds and place.strip()):
        return entry
    if colon and kind in kinds:
        raise ValueError(f"'{entry}' names nothing; allowed: {allowed}")
    raise ValueError(f"unknown source '{entry}'; allowed: {allowed}")


def _check_classification(entry: str) -> str:
    if entry.startswith("archive:") and any(sign in entry for sign in ("/", "\\", "..")):
        raise ValueError(f"'{entry}' is not the name of a data set; for your own files write path:FILE_OR_DIR")
    return _check_entry(entry, ("archive", "path"), CLASSIFICATION_SOURCES)


def _check_forecasting(entry: str) -> str:
    return _check_entry(entry, ("path",), FORECASTING_SOURCES)


def _ascending(span: tuple[int, int]) -> tuple[int, int]:
    if span[0] > span[1]:
        raise ValueError(f"expected [shortest, longest], got [{span[0]}, {span[1]}]")
    return span


_JSON = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]})
ClassificationSources = Annotated[
    tuple[Annotated[str, AfterValidator(_check_classification)], ...], BeforeValidator(_as_tuple), _JSON
]
ForecastingSources = Annotated[
    tuple[Annotated[str, AfterValidator(_check_forecasting)], ...], BeforeValidator(_as_tuple), _JSON
]
Span = Annotated[tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]], AfterValidator(_ascending)]


class SimulatedClassesOptions(Options):
    """Options of simulated labelled series: a class is a sum of sines with rising or falling frequencies (chirps)."""

    seed: int = Field(default=0, ge=0, description="seed of the series; the run's own seed does not change the data")
    classes: int = Field(default=4, ge=2, le=100, description="number of classes")
    channels: int = Field(default=1, ge=1, description="channels per series")
    waves: int = Field(default=3, ge=1, description="number of sines that are added in each channel")
    length: Span = Field(default=(96, 128), description="shortest and longest series, in steps")
    train: int = Field(default=400, ge=8, description="series of train and validation together")
    test: int = Field(default=400, ge=2, description="series of the test split")
    noise: float = Field(
        default=0.5, ge=0, allow_inf_nan=False, description="standard deviation of white noise; a wave's amplitude is 1"
    )


class ClassificationOptions(Options):
    """Options of the task ``time_series_classification``."""

    source: ClassificationSources = Field(
        default=("simulated",),
        min_length=1,
        description=f"sources of the series, of which the first available one is used; any of {CLASSIFICATION_SOURCES}",
    )
    normalisation: Literal["channel", "series", "train", "none"] = Field(
        default="channel",
        description="standardisation to mean 0 and standard deviation 1. channel: each channel of each series; "
        "series: each series over all channels; train: each channel by its mean and standard deviation over the "
        "training split; none: no scaling",
    )
    missing: Literal["interpolate", "zero", "refuse"] = Field(
        default="interpolate",
        description="missing values. interpolate: linear between known neighbours of the channel; zero: 0 after "
        "normalisation; refuse: an error",
    )
    max_length: int | None = Field(
        default=None, ge=1, description="longer series are cropped to this many steps; null: no limit"
    )
    validation_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="fraction of the training series for validation, stratified by class",
    )
    split_seed: int = Field(
        default=0, ge=0, description="seed of the validation split; the run's own seed does not change the splits"
    )
    simulated: SimulatedClassesOptions = Field(
        default=SimulatedClassesOptions(), description="options of the source 'simulated'"
    )


class SimulatedTrendOptions(Options):
    """Options of simulated series to forecast: a trend, two seasonal waves and autoregressive noise of order 1."""

    seed: int = Field(default=0, ge=0, description="seed of the series; the run's own seed does not change the data")
    series: int = Field(default=4, ge=1, description="number of series, the channels of one common time axis")
    length: int = Field(default=2000, ge=32, description="steps of every series")
    period: int = Field(default=24, ge=2, description="steps of the short season; the long one is seven times as long")
    trend: float = Field(
        default=2.0, ge=0, allow_inf_nan=False, description="largest rise or fall over the full length, in amplitudes"
    )
    noise: float = Field(
        default=0.4,
        ge=0,
        allow_inf_nan=False,
        description="standard deviation of the noise, in amplitudes of the short season",
    )
    autoregression: float = Field(
        default=0.7, ge=0, lt=1, description="correlation of the noise from one step to the next"
    )


class ForecastingOptions(Options):
    """Options of the task ``time_series_forecasting``.

    Source of context and horizon: the shortest of Nie et al. 2023 (PatchTST) are 336 and 96; ours train in minutes on a
    laptop.
    """

    source: ForecastingSources = Field(
        default=("simulated",),
        min_length=1,
        description=f"sources of the series, of which the first available one is used; any of {FORECASTING_SOURCES}. "
        "FILE: .csv, .npz, .ts or .tsv",
    )
    columns: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="columns of a CSV file, each a series; null: all numeric columns",
    )
    context: int = Field(default=96, ge=2, description="steps that the model sees")
    horizon: int = Field(default=24, ge=1, description="steps to predict")
    stride: int = Field(default=1, ge=1, description="steps from the start of one window to the next")
    channels: Literal["independent", "together"] = Field(
        default="independent",
        description="independent: every channel is a separate series for the same model; together: a token has all "
        "channels of a step, and all are predicted together",
    )
    normalisation: Literal["window", "train", "none"] = Field(
        default="window",
        description="scale of inputs, targets and errors. window: mean 0 and standard deviation 1 over each window's "
        "context, per channel; train: over the channel's training steps; none: as stored",
    )
    season: int | None = Field(
        default=None,
        ge=1,
        description="season in steps, at most context, for the seasonal naive forecast; null: that of simulated "
        "series, otherwise no seasonal forecast",
    )
    validation_share: float = Field(
        default=0.15, gt=0, lt=1, description="fraction of each series' steps for validation, after the training steps"
    )
    test_share: float = Field(
        default=0.15, gt=0, lt=1, description="fraction of each series' steps for test, the last ones"
    )
    simulated: SimulatedTrendOptions = Field(
        default=SimulatedTrendOptions(), description="options of the source 'simulated'"
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> ForecastingOptions:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share plus test_share must be below 1, so that steps are left for training")
        if self.season is not None and self.season > self.context:
            raise ValueError(f"season {self.season} is above context {self.context}; lower it or raise context")
        return self
