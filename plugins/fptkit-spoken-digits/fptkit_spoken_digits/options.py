"""Options of a recipe's section ``task``. Does not import torch, so that recipe checks are fast."""

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
        description="sources of the clips, of which the first available one is used. fsdd: fsdd.npz, or a clone of the "
        "data set in the folder fsdd, under $FPTKIT_DATA; path: an .npz file or a folder of WAV files; tones: "
        "synthesised chords, a fallback (stand-in)",
    )
    split: Literal["takes", "speakers"] = Field(
        default="takes",
        description="what is held out. takes: each speaker's first takes of each digit are test, the next ones "
        "validation; speakers: all clips of some speakers",
    )
    test_takes: int = Field(
        default=5, ge=1, description="number of takes of the test split, from take 0 (split: takes)"
    )
    validation_takes: int = Field(
        default=5, ge=1, description="number of takes of the validation split, after those of test (split: takes)"
    )
    test_speakers: Count | Names = Field(
        default=1,
        description="speakers of the test split: their names, or their number, from the end of the alphabet (split: "
        "speakers)",
    )
    validation_speakers: Count | Names = Field(
        default=1,
        description="speakers of the validation split: their names, or their number among the others, from the end of "
        "the alphabet (split: speakers)",
    )
    sample_rate: int = Field(
        default=8000, ge=1000, le=48000, description="samples per second; clips with another rate are resampled"
    )
    window_ms: float = Field(default=32.0, gt=0, le=200, description="length of a frame in milliseconds")
    hop_ms: float = Field(
        default=10.0, gt=0, le=200, description="time from one frame to the next (hop length), in milliseconds"
    )
    bands: int = Field(default=40, ge=1, description="mel bands per frame")
    frames_per_token: int = Field(
        default=2, ge=1, description="consecutive frames per token; a token has frames_per_token * bands numbers"
    )
    max_seconds: float = Field(
        default=1.2, gt=0, le=60, description="longer clips are cut to this many seconds; sets the maximum of tokens"
    )
    tone_takes: int = Field(default=20, ge=3, description="takes of each digit and speaker (source tones)")
