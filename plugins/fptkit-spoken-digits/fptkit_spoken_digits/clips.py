"""Clips with their metadata: the common result of all readers."""

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
    """Recordings of single digits, in arbitrary order.

    Args:
        audio: samples of each clip (samples,) float32, full scale is 1.
        digits: (N,) int64, 0 to 9.
        speakers: speaker of each clip; empty text if unknown.
        takes: (N,) int64, number of the recording among those of its speaker and digit, from 0.
        notes: lines for the run header, such as what was skipped.
    """

    audio: tuple[NDArray[np.float32], ...]
    digits: NDArray[np.int64]
    speakers: tuple[str, ...]
    takes: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def resampled(samples: NDArray[np.float32], rate: int, wanted: int, *, where: str) -> NDArray[np.float32]:
    """Resample by a polyphase filter, without aliasing.

    Args:
        samples: (samples,) at ``rate`` per second.
        rate: samples per second of the recording.
        wanted: samples per second of the result.
        where: the clip, for messages.

    Raises:
        DataError: ``rate`` is not a plausible rate for speech, 1,000 to 384,000.
    """
    if not 1000 <= rate <= 384_000:
        raise DataError(f"{where}: expected 1,000 to 384,000 samples per second, got {rate}")
    if rate == wanted:
        return samples
    common = math.gcd(rate, wanted)
    changed: NDArray[np.float32] = resample_poly(samples, wanted // common, rate // common).astype(np.float32)
    return changed


def ranked_takes(digits: NDArray[np.int64], speakers: tuple[str, ...]) -> NDArray[np.int64]:
    """Number the clips of each digit and speaker in the given order, from 0; for clips without take numbers."""
    counts: dict[tuple[int, str], int] = {}
    takes = np.zeros(len(digits), np.int64)
    for index, key in enumerate(zip(digits.tolist(), speakers, strict=True)):
        takes[index] = counts.get(key, 0)
        counts[key] = counts.get(key, 0) + 1
    return takes
