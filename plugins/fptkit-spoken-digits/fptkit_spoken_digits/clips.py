"""Clips with their metadata: the common result of all readers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def ranked_takes(digits: NDArray[np.int64], speakers: tuple[str, ...]) -> NDArray[np.int64]:
    """Number the clips of each digit and speaker in the given order, from 0; for clips without take numbers."""
    counts: dict[tuple[int, str], int] = {}
    takes = np.zeros(len(digits), np.int64)
    for index, key in enumerate(zip(digits.tolist(), speakers, strict=True)):
        takes[index] = counts.get(key, 0)
        counts[key] = counts.get(key, 0) + 1
    return takes
