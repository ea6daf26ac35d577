"""Recordings as one channel at a given rate."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from fptkit.errors import DataError, UsageError
from fptkit.tasks.audio.sound import read_mono, resample


def tone(rate: int, hertz: float, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize(("rate", "wanted"), [(44_100, 16_000), (8000, 16_000), (22_050, 8000), (16_000, 11_025)])
def test_a_tone_stays_the_same_tone(rate: int, wanted: int) -> None:
    changed = resample(tone(rate, 440.0), rate, wanted, where="x")
    expected = tone(wanted, 440.0)
    assert abs(len(changed) - len(expected)) <= 1
    inner = slice(200, min(len(changed), len(expected)) - 200)  # the filter has no samples beyond the ends
    np.testing.assert_allclose(changed[inner], expected[inner], atol=0.01)


def test_a_tone_above_half_the_rate_vanishes() -> None:
    assert np.abs(resample(tone(16_000, 7000.0), 16_000, 8000, where="x")[100:-100]).max() < 0.02


def test_channels_are_averaged(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "a.wav", 8000, np.array([[0.5, -0.1], [0.2, 0.4]], np.float32))
    np.testing.assert_allclose(read_mono(tmp_path / "a.wav", 8000), [0.2, 0.3], rtol=1e-6)


def test_a_damaged_rate(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "a.wav", 3, np.zeros(9, np.int16))
    with pytest.raises(DataError, match=r"a.wav: 3 samples per second, expected 100 to 1,000,000"):
        read_mono(tmp_path / "a.wav", 8000)


def test_other_formats_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.flac").write_bytes(b"fLaC")
    with pytest.raises(UsageError, match=r"a.flac: files .flac need soundfile: pip install 'fptkit\[audio\]'"):
        read_mono(tmp_path / "a.flac", 8000)


@pytest.mark.parametrize(("name", "kind"), [("a.flac", "PCM_16"), ("a.ogg", "VORBIS"), ("a.wav", "IMA_ADPCM")])
def test_formats_of_soundfile(tmp_path: Path, name: str, kind: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    samples = 0.5 * tone(16_000, 300.0)
    soundfile.write(tmp_path / name, samples, 16_000, subtype=kind)
    found = read_mono(tmp_path / name, 16_000)
    assert np.corrcoef(found[: len(samples)], samples[: len(found)])[0, 1] > 0.99
    if kind == "PCM_16":
        np.testing.assert_allclose(found, samples, atol=1 / 32768)


@pytest.mark.parametrize("kind", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("format", ["WAV", "WAVEX"])
def test_wav_as_soundfile_decodes_it(tmp_path: Path, kind: str, format: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    samples = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype=kind, format=format)
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    np.testing.assert_array_equal(read_mono(tmp_path / "a.wav", 8000), expected.mean(1, dtype=np.float32))


@pytest.mark.parametrize("content", [b"", b"fLaC" + bytes(20), b"not a recording"])
def test_damaged_files_of_soundfile(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("soundfile")
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(DataError, match=r"a.flac: (not readable as a recording: \w|the file is empty)"):
        read_mono(tmp_path / "a.flac", 8000)


def test_a_rate_that_would_make_a_recording_huge() -> None:
    with pytest.raises(DataError, match="a: 100 samples per second would become 16,000, 320,000,000 in all"):
        resample(np.zeros(2_000_000, np.float32), 100, 16_000, where="a")
