"""The reader of WAV files: every form against values that follow from the format, or from Python's and scipy's code."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from fptkit.errors import DataError
from fptkit.tasks.audio.wav import UnreadWav, read_wav

_GUID_END = bytes.fromhex("000000001000800000aa00389b71")


def build(
    number: int, bits: int, data: bytes, *, channels: int = 1, rate: int = 8000, extensible: bool = False
) -> bytes:
    """A WAV file, written here by the format's description."""
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else number, channels, rate, rate * frame, frame, bits)
    if extensible:
        form += struct.pack("<HHIH", 22, bits, 0, number) + _GUID_END
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read(tmp_path: Path, content: bytes) -> tuple[np.ndarray, int]:
    (tmp_path / "a.wav").write_bytes(content)
    return read_wav(tmp_path / "a.wav")


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(
    ("number", "bits", "data", "values"),
    [
        (1, 8, bytes([0, 128, 192, 255]), [-1, 0, 0.5, 127 / 128]),
        (1, 16, struct.pack("<3h", -32768, 16384, 1), [-1, 0.5, 1 / 32768]),
        (1, 24, b"\x00\x00\x80" + b"\x00\x00\x40" + b"\x01\x00\x00", [-1, 0.5, 2**-23]),
        (1, 32, struct.pack("<2i", -(2**31), 2**30), [-1, 0.5]),
        (3, 32, struct.pack("<2f", -1.5, 0.25), [-1.5, 0.25]),
        (3, 64, struct.pack("<2d", -1.0, 1e-3), [-1, np.float32(1e-3)]),
        # Source of the values: ITU-T G.711, tables 1a and 2a, in the scale of 16 bits.
        (7, 8, bytes([0x00, 0x7F, 0x80, 0xFF]), [-32124 / 32768, 0, 32124 / 32768, 0]),
        (6, 8, bytes([0x55, 0xD5, 0x2A, 0xAA]), [-8 / 32768, 8 / 32768, -32256 / 32768, 32256 / 32768]),
    ],
)
def test_forms(tmp_path: Path, number: int, bits: int, data: bytes, values: list[float], extensible: bool) -> None:
    samples, rate = read(tmp_path, build(number, bits, data, extensible=extensible))
    assert rate == 8000
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples[:, 0], np.array(values, np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_as_scipy_reads_and_writes(tmp_path: Path, dtype: type) -> None:
    chance = np.random.default_rng(0)
    values = chance.normal(size=(50, 3)) if np.dtype(dtype).kind == "f" else chance.integers(0, 200, (50, 3))
    wavfile.write(tmp_path / "a.wav", 22_050, values.astype(dtype))
    samples, rate = read_wav(tmp_path / "a.wav")
    expected = values.astype(np.float64)
    if np.dtype(dtype).kind != "f":
        expected = (expected - 128 * (dtype is np.uint8)) / 2 ** (8 * np.dtype(dtype).itemsize - 1)
    assert rate == 22_050
    np.testing.assert_allclose(samples, expected, rtol=1e-6)


def test_other_chunks_are_skipped_also_those_of_odd_length(tmp_path: Path) -> None:
    plain = build(1, 16, struct.pack("<2h", 100, 200))
    body = (
        plain[12:36] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + plain[36:] + b"id3 " + struct.pack("<I", 2) + b"xy"
    )
    samples, _ = read(tmp_path, b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body)
    np.testing.assert_array_equal(samples[:, 0] * 32768, [100, 200])


def test_a_stream_does_not_know_its_size(tmp_path: Path) -> None:
    content = bytearray(build(1, 16, struct.pack("<4h", 1, 2, 3, 4)))
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    assert len(read(tmp_path, bytes(content))[0]) == 4


def ordinary() -> bytes:
    stored = io.BytesIO()
    with wave.open(stored, "wb") as clip:
        clip.setnchannels(2)
        clip.setsampwidth(2)
        clip.setframerate(8000)
        clip.writeframes(bytes(400))
    return stored.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"only text, no recording", "not a WAV file"),
        (ordinary()[:20], "the file is damaged"),
        (ordinary()[:40], "ends before its chunk 'data'; it is truncated"),
        (ordinary()[:-200], "truncated: its header declares 100 samples, but it has 50"),
        (build(1, 16, b""), "has no samples"),
        (build(1, 16, b"ab", rate=0), "do not fit together"),
        (build(3, 32, struct.pack("<f", float("nan"))), "not a finite number"),
        (b"RIFF" + bytes(4) + b"WAVEdata" + struct.pack("<I", 2) + b"ab", "before their format"),
    ],
)
def test_faults_say_why(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"^{tmp_path}/a.wav: .*{message}") as caught:
        read(tmp_path, content)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("content", [build(2, 8, b"abcd"), build(3, 16, b"abcd"), b"RF64" + ordinary()[4:]])
def test_what_a_library_may_read(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadWav):
        read(tmp_path, content)
