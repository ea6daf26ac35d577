"""Options of ``audio``; in a module of their own so that listings and recipe checks do not import NumPy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fptkit.options import ONE_OR_MORE, ONE_OR_MORE_SCHEMA
from fptkit.specs import limits
from fptkit.tasks.reading.options import CellOptions

WAV = (".wav", ".wave")
"""Endings of the files that fptkit reads itself."""

SOUND = (
    *WAV,
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".aiff",
    ".aif",
    ".aifc",
    ".au",
    ".snd",
    ".caf",
    ".w64",
    ".rf64",
)
"""Endings of recordings; all but WAV need soundfile."""

TABLES = (".csv", ".tsv", ".tab", ".parquet")
"""Endings of tables that list recordings."""

Columns = Annotated[tuple[str, ...], ONE_OR_MORE, ONE_OR_MORE_SCHEMA]


class AudioOptions(CellOptions):
    """Options of the task ``audio``.

    Source of the defaults: windows of 25 ms every 10 ms are usual for speech (Young et al., The HTK Book); 40 bands.
    """

    target: Columns = Field(
        default=(),
        description="column of a table to predict; several for regression of several numbers, or for labels. Empty: "
        "the folders' names, or a column label, class, target and the like, else the only one left",
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description="column of a table with the recordings' paths, relative to the table; null: the one with a usual "
        "name, such as path or file_name, or whose cells all end like recordings",
    )
    root: str | None = Field(
        default=None,
        min_length=1,
        description="for a table, the folder that its paths start from; null: the folder of the table",
    )
    rate: int = Field(
        default=16_000,
        ge=1000,
        le=192_000,
        description="samples per second; recordings of another rate are resampled",
    )
    max_seconds: float = Field(
        default=4.0,
        gt=0,
        le=600,
        description="longer recordings are cut to this many seconds; shorter ones keep their length",
    )
    crop: Literal["start", "centre"] = Field(
        default="start",
        description="which part of a longer recording is kept: its first seconds, or those in its middle",
    )
    features: Literal["log_mel", "raw"] = Field(
        default="log_mel",
        description="log_mel: logarithm of the energy in mel bands, frame by frame; raw: the samples themselves, a "
        "patch of patch_ms per token",
    )
    window_ms: float = Field(default=25.0, gt=0, le=500, description="length of a frame in milliseconds (log_mel)")
    hop_ms: float = Field(
        default=10.0, gt=0, le=500, description="time from one frame to the next in milliseconds (log_mel)"
    )
    bands: int = Field(default=40, ge=1, le=512, description="mel bands per frame (log_mel)")
    lowest_hz: float = Field(
        default=60.0, ge=0, allow_inf_nan=False, description="lower edge of the mel bands in hertz (log_mel)"
    )
    frames_per_token: int = Field(
        default=4,
        ge=1,
        le=limits.LENGTH,
        description="frames per token, which has frames_per_token * bands numbers (log_mel)",
    )
    patch_ms: float = Field(default=10.0, gt=0, le=500, description="length of a token in milliseconds (raw)")

    @model_validator(mode="after")
    def _sizes_fit(self) -> AudioOptions:
        if self.features == "raw":
            if round(self.patch_ms * self.rate / 1000) < 1:
                raise ValueError(f"patch_ms {self.patch_ms:g} is shorter than a sample at rate {self.rate:,}; raise it")
            return self
        window, hop = (round(value * self.rate / 1000) for value in (self.window_ms, self.hop_ms))
        if window < 2 or hop < 1:
            raise ValueError(
                f"window_ms {self.window_ms:g} and hop_ms {self.hop_ms:g} are {window} and {hop} samples at rate "
                f"{self.rate:,}; a window needs 2 samples or more, a hop 1"
            )
        if self.lowest_hz >= self.rate / 2:
            raise ValueError(f"lowest_hz {self.lowest_hz:g} is not below half of rate {self.rate:,}; lower it")
        return self
