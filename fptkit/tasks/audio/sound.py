"""Any recording as one channel of samples at a given rate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError, UsageError
from fptkit.tasks.audio.options import WAV
from fptkit.tasks.audio.wav import UnreadWav, read_wav

Samples = NDArray[np.float32]

LOWEST_RATE, HIGHEST_RATE = 100, 1_000_000
"""Samples per second of recordings that are read; others are taken for damaged headers."""


def read_sound(path: Path) -> tuple[Samples, int]:
    """Read a recording in its own rate.

    Shapes: -> (samples, channels) float32, full scale is 1.

    Args:
        path: a WAV file, or any other if soundfile is installed.

    Returns:
        samples: the samples of each channel.
        rate: samples per second.

    Raises:
        DataError: the file is damaged or has no samples.
        UsageError: soundfile is needed and not installed.
    """
    if path.suffix.lower() not in WAV:
        return _read_by_library(path, f"{path}: files {path.suffix.lower() or 'without an ending'}")
    try:
        return read_wav(path)
    except UnreadWav as err:
        return _read_by_library(path, str(err))


def read_mono(path: Path, rate: int) -> Samples:
    """Read a recording as the mean of its channels at a given rate.

    Shapes: -> (samples,) float32.

    Args:
        path: the recording.
        rate: samples per second of the result.

    Raises:
        DataError: as `read_sound`; or its rate is not plausible.
        UsageError: as `read_sound`.
    """
    samples, own = read_sound(path)
    return resample(samples.mean(1, dtype=np.float32), own, rate, where=str(path))


def resample(samples: Samples, rate: int, wanted: int, *, where: str) -> Samples:
    """Resample by a polyphase filter, without aliasing.

    Shapes: samples (S,) -> (ceil(S * wanted / rate),).

    Args:
        samples: one channel.
        rate: samples per second of the recording.
        wanted: samples per second of the result.
        where: the recording, for messages.

    Raises:
        DataError: ``rate`` is not plausible.
    """
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise DataError(
            f"{where}: {rate:,} samples per second, expected {LOWEST_RATE:,} to {HIGHEST_RATE:,}; its header is damaged"
        )
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    changed: Samples = resample_poly(samples, wanted // common, rate // common).astype(np.float32)
    return changed


def _read_by_library(path: Path, what: str) -> tuple[Samples, int]:
    try:
        import soundfile
    except (ImportError, OSError) as err:  # OSError: its library libsndfile is missing
        raise UsageError(f"{what} need soundfile: pip install 'fptkit[audio]', or convert to WAV with PCM") from err
    if not path.stat().st_size:
        raise DataError(f"{path}: the file is empty (0 bytes); copy or fetch it again")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except PermissionError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror or err}); check its permissions") from err
    except (soundfile.SoundFileError, RuntimeError, OSError) as err:
        reason = str(getattr(err, "error_string", "") or err or "unknown format").rstrip(".")
        if "does not exist" in reason:  # what the library says of an MP3 without a whole frame
            reason = "damaged or truncated"
        raise DataError(f"{path}: not readable as a recording: {reason}; convert it to WAV, or replace it") from err
    if not len(samples):
        raise DataError(f"{path}: the recording has no samples; remove or replace it")
    if not np.isfinite(samples).all():
        raise DataError(f"{path}: a sample is not a finite number; convert the file to PCM")
    return samples, int(rate)
