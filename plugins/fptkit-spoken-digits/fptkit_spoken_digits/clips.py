"""Clips with what is known of each: the common form that every reader gives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from fptkit.errors import DataError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Clips:
    """Recordings of single digits, in no order that counts.

    Args:
        audio: samples of each clip (samples,) float32, full scale is 1.
        digits: (N,) int64, 0 to 9.
        speakers: who said it; empty text where that is not known.
        takes: (N,) int64, which of the speaker's recordings of this digit it is, from 0.
        notes: lines worth showing, such as what was passed over.
    """

    audio: tuple[NDArray[np.float32], ...]
    digits: NDArray[np.int64]
    speakers: tuple[str, ...]
    takes: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def resampled(samples: NDArray[np.float32], rate: int, wanted: int, *, where: str) -> NDArray[np.float32]:
    """Samples at the rate that is wanted, by a polyphase filter that keeps higher tones from folding down.

    Args:
        samples: (samples,) at ``rate`` per second.
        rate: of the recording.
        wanted: of the result.
        where: the clip, for the error.

    Raises:
        DataError: the recording's rate is none for speech.
    """
    if not 1000 <= rate <= 384_000:
        raise DataError(f"{where}: {rate} samples per second is no rate of speech, expected 1,000 to 384,000")
    if rate == wanted:
        return samples
    common = math.gcd(rate, wanted)
    changed: NDArray[np.float32] = resample_poly(samples, wanted // common, rate // common).astype(np.float32)
    return changed


def ranked_takes(digits: NDArray[np.int64], speakers: tuple[str, ...]) -> NDArray[np.int64]:
    """Take numbers where none are given: the place among clips of the same digit and speaker, in the order given."""
    counts: dict[tuple[int, str], int] = {}
    takes = np.zeros(len(digits), np.int64)
    for index, key in enumerate(zip(digits.tolist(), speakers, strict=True)):
        takes[index] = counts.get(key, 0)
        counts[key] = counts.get(key, 0) + 1
    return takes
