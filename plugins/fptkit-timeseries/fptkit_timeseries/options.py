"""What a recipe may say under ``task``. Light: recipes are checked without loading torch."""

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
        raise ValueError(f"'{entry}' is no name of a data set; for a place of your own write path:FILE_OR_DIR")
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
    """How labelled series are made: each class is a sum of sines whose frequencies rise or fall (chirps)."""

    seed: int = Field(default=0, ge=0, description="draws the series; the run's own seed does not change the data")
    classes: int = Field(default=4, ge=2, le=100, description="number of classes")
    channels: int = Field(default=1, ge=1, description="channels of a series")
    waves: int = Field(default=3, ge=1, description="sines summed in each channel of a class")
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
        description=f"where the series come from, the first available is taken; any of {CLASSIFICATION_SOURCES}",
    )
    normalisation: Literal["channel", "series", "train", "none"] = Field(
        default="channel",
        description="what is scaled to mean 0 and standard deviation 1. channel: each channel of each series by "
        "itself; series: each series, all channels together; train: each channel by its mean and deviation over "
        "the training split; none: nothing",
    )
    missing: Literal["interpolate", "zero", "refuse"] = Field(
        default="interpolate",
        description="missing values. interpolate: a line between the known neighbours of the channel; zero: 0 after "
        "normalisation; refuse: an error",
    )
    max_length: int | None = Field(
        default=None, ge=1, description="steps kept of a longer series, its first ones; null keeps all"
    )
    validation_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="share of the training series, of every class, that is the validation split",
    )
    split_seed: int = Field(
        default=0, ge=0, description="draws the validation series; the run's own seed does not change the splits"
    )
    simulated: SimulatedClassesOptions = Field(
        default=SimulatedClassesOptions(), description="how the source 'simulated' makes its series"
    )


class SimulatedTrendOptions(Options):
    """How series to forecast are made: a trend, two seasonal waves and autoregressive noise of order 1."""

    seed: int = Field(default=0, ge=0, description="draws the series; the run's own seed does not change the data")
    series: int = Field(default=4, ge=1, description="number of series, the channels of one common time axis")
    length: int = Field(default=2000, ge=32, description="steps of every series")
    period: int = Field(default=24, ge=2, description="steps of the short season; the long one has seven times as many")
    trend: float = Field(
        default=2.0, ge=0, allow_inf_nan=False, description="largest rise or fall over the whole length, in amplitudes"
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

    Source of context and horizon: the shortest of Nie et al. 2023 (PatchTST) are 336 and 96; ours are for minutes on a
    laptop.
    """

    source: ForecastingSources = Field(
        default=("simulated",),
        min_length=1,
        description=f"where the series come from, the first available is taken; any of {FORECASTING_SOURCES}. "
        "FILE: .csv, .npz, .ts or .tsv",
    )
    columns: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="columns of a CSV file, each a series; null: all that hold numbers",
    )
    context: int = Field(default=96, ge=2, description="steps the model sees")
    horizon: int = Field(default=24, ge=1, description="steps it foretells")
    stride: int = Field(default=1, ge=1, description="steps from the start of one window to the next")
    channels: Literal["independent", "together"] = Field(
        default="independent",
        description="independent: every channel is a series of its own, read by one and the same model; together: a "
        "token holds all channels of a step, and all are foretold at once",
    )
    normalisation: Literal["window", "train", "none"] = Field(
        default="window",
        description="scale of inputs, targets and errors. window: mean 0 and standard deviation 1 over each window's "
        "context, by channel; train: over the channel's training steps; none: as stored",
    )
    season: int | None = Field(
        default=None,
        ge=1,
        description="steps of the season that the seasonal naive forecast repeats, at most context; null: that of the "
        "simulated series, else no such forecast",
    )
    validation_share: float = Field(
        default=0.15, gt=0, lt=1, description="share of each series' steps, after the training steps"
    )
    test_share: float = Field(default=0.15, gt=0, lt=1, description="share of each series' steps, its last ones")
    simulated: SimulatedTrendOptions = Field(
        default=SimulatedTrendOptions(), description="how the source 'simulated' makes its series"
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> ForecastingOptions:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing to train on: their sum must be below 1")
        if self.season is not None and self.season > self.context:
            raise ValueError(f"season {self.season} is above context {self.context}: the model could not see it either")
        return self
