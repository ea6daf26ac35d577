"""Any recording as one channel of samples at a given rate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError, UsageError
from fptkit.sources.decoding import SMALL_BYTES, check_not_empty, decoding
from fptkit.tasks.audio.options import WAV
from fptkit.tasks.audio.wav import UnreadWav, read_wav

Samples = NDArray[np.float32]

_MOST_EXPANSION = 10_000
"""Bytes of float32 samples for a byte of a packed recording; silence packs best."""

_FEW_SAMPLES, _MOST_STRETCH = 1 << 28, 16
"""Samples up to which any recording is resampled, and factor beyond which longer ones are refused."""

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
    if len(samples) * wanted > max(_FEW_SAMPLES, _MOST_STRETCH * len(samples)) * rate:
        raise DataError(
            f"{where}: {rate:,} samples per second would become {wanted:,}, {len(samples) * wanted // rate:,} in all; "
            "its header is damaged, or lower the option rate"
        )
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    changed: Samples = resample_poly(samples, wanted // common, rate // common).astype(np.float32)
    return changed


def _check_length(path: Path, file: Any) -> None:
    """Refuse a recording whose header claims much more than its bytes can hold: the library makes room for it all."""
    size, channels, frames = path.stat().st_size, int(file.channels), int(file.frames)
    if 4 * channels * frames > max(SMALL_BYTES, _MOST_EXPANSION * size):
        raise DataError(
            f"{path}: its header declares {frames:,} samples of {channels} channels in {size:,} bytes; it is damaged, "
            "replace it"
        )


def _read_by_library(path: Path, what: str) -> tuple[Samples, int]:
    try:
        import soundfile
    except (ImportError, OSError) as err:  # OSError: its library libsndfile is missing
        raise UsageError(f"{what} need soundfile: pip install 'fptkit[audio]', or convert to WAV with PCM") from err
    check_not_empty(path)
    with decoding(path, "a recording", advice="convert it to WAV, or replace it"), soundfile.SoundFile(path) as file:
        _check_length(path, file)
        samples, rate = file.read(dtype="float32", always_2d=True), file.samplerate
    if not len(samples):
        raise DataError(f"{path}: the recording has no samples; remove or replace it")
    if not np.isfinite(samples).all():
        raise DataError(f"{path}: a sample is not a finite number; convert the file to PCM")
    return samples, int(rate)
