"""Reader of WAV files, the same on every version of Python: PCM, floating point, mu-law and A-law.

The standard library's ``wave`` reads PCM only, and ``WAVE_FORMAT_EXTENSIBLE`` only since Python 3.12.

Source: Microsoft, "Multiple Channel Audio Data and WAVE Files"; RFC 2361 for the numbers of formats.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.sources.decoding import read_bytes

Samples = NDArray[np.float32]

_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_GUID_END = bytes.fromhex("000000001000800000aa00389b71")
_OTHERS = (b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"NIST_1A", b"riff")
"""How files of other formats begin that a library may decode."""

_UNKNOWN_FROM = 0x7FFFF000
"""Declared sizes from which a program says that it did not know the size when it wrote the header."""


class UnreadWav(DataError):
    """A WAV file in a format that this reader does not decode, but a library may."""


@dataclass(frozen=True)
class _Format:
    """The chunk ``fmt``: number of the format, channels, samples per second, bytes of a sample."""

    number: int
    channels: int
    rate: int
    width: int


def read_wav(path: Path) -> tuple[Samples, int]:
    """Read a WAV file.

    Shapes: -> (samples, channels) float32, full scale is 1.

    Args:
        path: the file.

    Returns:
        samples: the samples of each channel.
        rate: samples per second.

    Raises:
        UnreadWav: the samples are in a format that is not decoded here.
        DataError: the file is damaged, truncated or empty.
    """
    data = read_bytes(path)
    if not data:
        raise DataError(f"{path}: the file is empty (0 bytes); copy or fetch it again")
    if data[:4] in (b"RIFX", b"RF64", b"BW64"):
        raise UnreadWav(f"{path}: a WAV file of the kind {data[:4].decode()}")
    if data.startswith(_OTHERS) or (data[0] == 0xFF and data[1:2] >= b"\xe0"):  # the latter: a frame of MP3
        raise UnreadWav(f"{path}: the ending says WAV, but the content is another format, which")
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise DataError(f"{path}: not a WAV file: it begins with {data[:4]!r}; rename it, or convert it to WAV")
    form, content = _chunks(path, data)
    decode = _decoder(path, form)
    frame = form.channels * form.width
    if not len(content) // frame:
        raise DataError(f"{path}: the recording has no samples; remove or replace it")
    # Some programs leave half a sample at the end.
    samples = decode(content[: len(content) // frame * frame]).reshape(-1, form.channels)
    return samples, form.rate


def _chunks(path: Path, data: bytes) -> tuple[_Format, bytes]:
    """The format and the bytes of the samples."""
    form: _Format | None = None
    place = 12
    while place + 8 <= len(data):
        name, size = data[place : place + 4], struct.unpack_from("<I", data, place + 4)[0]
        begin, left = place + 8, len(data) - place - 8
        if name == b"fmt ":
            form = _format(path, data[begin : begin + size])
        if name == b"data":
            if form is None:
                raise DataError(f"{path}: the samples come before their format (chunk 'fmt '); write the file again")
            return form, data[begin : begin + _data_size(path, data, size, left, form)]
        place = begin + size + size % 2
    lacking = "fmt " if form is None else "data"
    raise DataError(f"{path}: the file ends before its chunk '{lacking}'; it is truncated, copy or fetch it again")


def _data_size(path: Path, data: bytes, size: int, left: int, form: _Format) -> int:
    """Bytes of the samples; a size that was not known when the header was written means up to the end of the file."""
    whole = struct.unpack_from("<I", data, 4)[0]
    if size >= _UNKNOWN_FROM or (size == 0 and (whole == 0 or whole >= _UNKNOWN_FROM)):
        return left
    if size > left:
        frame = form.channels * form.width
        raise DataError(
            f"{path}: truncated: its header declares {size // frame:,} samples, but it has {left // frame:,}; copy or "
            "fetch it again"
        )
    return size


def _format(path: Path, chunk: bytes) -> _Format:
    if len(chunk) < 16:
        raise DataError(f"{path}: its chunk 'fmt ' has {len(chunk)} bytes instead of 16 or more; the file is damaged")
    number, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", chunk)
    if number == _EXTENSIBLE:
        if len(chunk) < 40 or chunk[26:40] != _GUID_END:
            raise UnreadWav(f"{path}: an extensible WAV file without a known format")
        number = struct.unpack_from("<H", chunk, 24)[0]
    if channels < 1 or rate < 1 or frame < 1 or frame % channels:
        raise DataError(
            f"{path}: its header declares {channels} channels, {rate} samples per second and {frame} bytes for a "
            "sample of all channels, which do not fit together; the file is damaged"
        )
    if number in (_PCM, _FLOAT) and not bits <= frame // channels * 8:
        raise DataError(f"{path}: its header declares {bits} bits in {frame // channels} bytes; the file is damaged")
    return _Format(number, channels, rate, frame // channels)


def _decoder(path: Path, form: _Format) -> Callable[[bytes], Samples]:
    """How the bytes of the samples become numbers.

    Raises:
        UnreadWav: this reader cannot decode them.
    """
    known: dict[tuple[int, int], Callable[[bytes], Samples]] = {
        (_PCM, 1): lambda data: _scaled(np.frombuffer(data, np.uint8).astype(np.int16) - 128, 8),
        (_PCM, 2): lambda data: _scaled(np.frombuffer(data, "<i2"), 16),
        (_PCM, 3): _pcm24,
        (_PCM, 4): lambda data: _scaled(np.frombuffer(data, "<i4"), 32),
        (_FLOAT, 4): lambda data: _finite(path, np.frombuffer(data, "<f4")),
        (_FLOAT, 8): lambda data: _finite(path, np.frombuffer(data, "<f8")),
        (_MU_LAW, 1): lambda data: _mu_law()[np.frombuffer(data, np.uint8)],
        (_A_LAW, 1): lambda data: _a_law()[np.frombuffer(data, np.uint8)],
    }
    if (form.number, form.width) not in known:
        raise UnreadWav(f"{path}: a WAV file of format {form.number} with {8 * form.width} bits per sample")
    return known[form.number, form.width]


def _scaled(samples: NDArray[np.signedinteger], bits: int) -> Samples:
    return (
        (samples / np.float64(2 ** (bits - 1))).astype(np.float32)
        if bits > 16
        else samples.astype(np.float32) / np.float32(2 ** (bits - 1))
    )


def _pcm24(data: bytes) -> Samples:
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return _scaled(wide.view("<i4")[:, 0], 32)


def _finite(path: Path, samples: NDArray[np.floating]) -> Samples:
    narrow = samples.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise DataError(f"{path}: a sample is not a finite number; convert the file to PCM")
    return narrow


def _mu_law() -> Samples:
    """The value of each byte. Source: ITU-T G.711, mu-law; 14 bits, scaled by 16 bits as usual."""
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = ((((code & 15).astype(np.int32) << 3) + 132) << ((code >> 4) & 7)) - 132
    return _scaled(np.where(code & 128, -magnitude, magnitude).astype(np.int16), 16)


def _a_law() -> Samples:
    """The value of each byte. Source: ITU-T G.711, A-law; 13 bits, scaled by 16 bits as usual."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = ((code >> 4) & 7).astype(np.int32)
    step = ((code & 15).astype(np.int32) << 4) + 8
    magnitude = np.where(exponent > 0, (step + 256) << np.maximum(exponent - 1, 0), step)
    return _scaled(np.where(code & 128, magnitude, -magnitude).astype(np.int16), 16)
