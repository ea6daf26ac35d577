"""What a recipe may say under ``task``. Light: recipes are checked without loading torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from fptkit import Options


def _as_tuple(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _check_source(entry: str) -> str:
    kind, colon, rest = entry.partition(":")
    if entry not in ("fsdd", "tones") and not (kind == "path" and colon and rest.strip()):
        raise ValueError(f"unknown source '{entry}'\nallowed: fsdd, path:FOLDER, path:FILE.npz, tones")
    return entry


Source = Annotated[str, AfterValidator(_check_source)]
Sources = Annotated[
    tuple[Source, ...],
    Field(min_length=1),
    BeforeValidator(_as_tuple, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)]),
]
Count = Annotated[int, Field(ge=1)]
Names = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(_as_tuple, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)]),
]


class SpokenDigitsOptions(Options):
    """Options of the task ``spoken_digits``.

    Source: test takes 0 to 4 as in the data set's README; windows and bands are usual for speech at 8 kHz.
    """

    source: Sources = Field(
        default=("fsdd", "tones"),
        description="where clips come from, the first available is taken. fsdd: fsdd.npz, or a clone of the data set "
        "in the folder fsdd, under $FPTKIT_DATA; path: an .npz file or a folder of WAV files; tones: chords made on "
        "the spot, a stand-in",
    )
    split: Literal["takes", "speakers"] = Field(
        default="takes",
        description="what is held out. takes: each speaker's first takes of each digit are the test, the next ones "
        "validation; speakers: whole speakers, who are in no other split",
    )
    test_takes: int = Field(
        default=5, ge=1, description="takes 0 to this, exclusive, are the test split (split: takes)"
    )
    validation_takes: int = Field(
        default=5, ge=1, description="so many takes after those of the test are validation (split: takes)"
    )
    test_speakers: Count | Names = Field(
        default=1,
        description="speakers of the test split: their names, or how many, from the end of the alphabet (split: "
        "speakers)",
    )
    validation_speakers: Count | Names = Field(
        default=1,
        description="speakers of the validation split: their names, or how many of the rest, from the end of the "
        "alphabet (split: speakers)",
    )
    sample_rate: int = Field(
        default=8000, ge=1000, le=48000, description="samples per second; clips of another rate are resampled to it"
    )
    window_ms: float = Field(default=32.0, gt=0, le=200, description="length of a frame in milliseconds")
    hop_ms: float = Field(default=10.0, gt=0, le=200, description="from one frame to the next, in milliseconds")
    bands: int = Field(default=40, ge=1, description="mel bands of a frame")
    frames_per_token: int = Field(
        default=2, ge=1, description="frames side by side in one token; a token holds as many times the bands"
    )
    max_seconds: float = Field(
        default=1.2, gt=0, le=60, description="of a longer clip the first so many seconds are used; sets the tokens"
    )
    tone_takes: int = Field(default=20, ge=3, description="takes of each digit and speaker that tones makes")
