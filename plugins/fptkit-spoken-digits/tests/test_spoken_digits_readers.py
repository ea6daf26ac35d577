"""WAV folders and archives, written here byte by byte; and files that are damaged."""

from __future__ import annotations

import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fptkit_spoken_digits.archive import KEYS, read_archive
from fptkit_spoken_digits.wav import read_folder, read_wav

from fptkit.errors import DataError
from fptkit.sources import Unavailable
from fptkit.tasks.audio.sound import resample


def write_wav(file: Path, values: list[int], *, width: int = 2, channels: int = 1, rate: int = 8000) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(file), "wb") as clip:
        clip.setnchannels(channels)
        clip.setsampwidth(width)
        clip.setframerate(rate)
        clip.writeframes(struct.pack(f"<{len(values)}{'h' if width == 2 else 'B'}", *values))


def test_sixteen_bits(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", [0, 16384, -32768, 32767])
    found = read_wav(tmp_path / "a.wav", sample_rate=8000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0, 0.5, -1, 32767 / 32768])


def test_eight_bits_are_unsigned(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", [128, 192, 0, 255], width=1)
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav", sample_rate=8000), [0, 0.5, -1, 127 / 128])


def test_channels_become_their_mean(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", [16384, 0, -16384, -16384, 100, -100], channels=2)
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav", sample_rate=8000), [0.25, -0.5, 0])


@pytest.mark.parametrize("rate", [16000, 11025, 4000])
def test_another_rate_is_resampled(tmp_path: Path, rate: int) -> None:
    """A tone keeps pitch and strength: compared with the tone itself at the new rate."""
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    write_wav(tmp_path / "a.wav", [round(20000 * value) for value in tone], rate=rate)
    found = read_wav(tmp_path / "a.wav", sample_rate=8000)
    assert len(found) == 8000
    expected = 20000 / 32768 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    np.testing.assert_allclose(found[200:-200], expected[200:-200], atol=0.02)


def test_tones_above_half_the_new_rate_do_not_fold_down() -> None:
    tone = np.sin(2 * np.pi * 6000 * np.arange(16000) / 16000).astype(np.float32)
    assert np.abs(resample(tone, 16000, 8000, where="a")[200:-200]).max() < 0.02


def test_the_names_of_the_data_set(tmp_path: Path) -> None:
    write_wav(tmp_path / "7_jackson_32.wav", [1] * 10)
    write_wav(tmp_path / "0_theo_4.WAV", [1] * 20)
    (tmp_path / "._0_theo_4.wav").write_bytes(b"left over by another system")
    (tmp_path / "readme.md").write_text("no clip")
    clips = read_folder(tmp_path, sample_rate=8000)
    assert clips.digits.tolist() == [0, 7]
    assert clips.speakers == ("theo", "jackson")
    assert clips.takes.tolist() == [4, 32]
    assert [len(clip) for clip in clips.audio] == [20, 10]


def test_a_folder_for_each_digit(tmp_path: Path) -> None:
    for name in ("b.wav", "a.wav"):
        write_wav(tmp_path / "seven" / name, [1] * 10)
    write_wav(tmp_path / "3" / "x.wav", [1] * 10)
    write_wav(tmp_path / "bed" / "x.wav", [1] * 10)
    clips = read_folder(tmp_path, sample_rate=8000)
    assert sorted(zip(clips.digits.tolist(), clips.takes.tolist(), strict=True)) == [(3, 0), (7, 0), (7, 1)]
    assert set(clips.speakers) == {""}
    assert clips.notes == ("folders that are not named after a digit are skipped: bed",)


def test_speakers_of_speech_commands(tmp_path: Path) -> None:
    write_wav(tmp_path / "nine" / "0a7c2a8d_nohash_1.wav", [1] * 10)
    clips = read_folder(tmp_path, sample_rate=8000)
    assert (clips.speakers, clips.takes.tolist(), clips.digits.tolist()) == (("0a7c2a8d",), [1], [9])


def test_no_clips_are_an_absent_source(tmp_path: Path) -> None:
    (tmp_path / "bed").mkdir()
    with pytest.raises(Unavailable, match=r"no .wav files"):
        read_folder(tmp_path, sample_rate=8000)


def test_a_name_that_says_no_digit(tmp_path: Path) -> None:
    write_wav(tmp_path / "hello.wav", [1] * 10)
    with pytest.raises(DataError, match=r"hello.wav: the name has no digit"):
        read_folder(tmp_path, sample_rate=8000)


def whole(tmp_path: Path) -> bytes:
    write_wav(tmp_path / "whole.wav", list(range(100)))
    return (tmp_path / "whole.wav").read_bytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda content: b"", "the file is empty"),
        (lambda content: b"no wave at all, only text", "not a WAV file"),
        (lambda content: content[:30], "the file is damaged"),
        (lambda content: content[:-50], "truncated: its header declares 100 samples, but it has 75"),
    ],
)
def test_damaged_files(tmp_path: Path, make: Any, message: str) -> None:
    (tmp_path / "bad.wav").write_bytes(make(whole(tmp_path)))
    with pytest.raises(DataError, match=message) as told:
        read_wav(tmp_path / "bad.wav", sample_rate=8000)
    assert "bad.wav" in str(told.value)
    assert told.value.exit_code == 3


def test_other_forms(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as clip:
        clip.setnchannels(1)
        clip.setsampwidth(3)
        clip.setframerate(8000)
        clip.writeframes(b"\0\0\x40" * 10)
    assert read_wav(tmp_path / "a.wav", sample_rate=8000).tolist() == [0.5] * 10
    write_wav(tmp_path / "empty.wav", [])
    with pytest.raises(DataError, match="has no samples"):
        read_wav(tmp_path / "empty.wav", sample_rate=8000)
    write_wav(tmp_path / "slow.wav", [1] * 10, rate=10)
    with pytest.raises(DataError, match="10 samples per second"):
        read_wav(tmp_path / "slow.wav", sample_rate=8000)


def arrays(**changed: Any) -> dict[str, Any]:
    return {
        "audio": np.array([100, 200, 300, -32768, 5], np.int16),
        "offsets": np.array([0, 3, 5]),
        "labels": np.array([4, 9]),
        "speaker": np.array([1, 0]),
        "take": np.array([7, 0]),
        "speakers": np.array(["ann", "bob"]),
        "sample_rate": np.array(8000),
        **changed,
    }


def test_an_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    clips = read_archive(tmp_path / "a.npz", sample_rate=8000)
    np.testing.assert_allclose(clips.audio[1], [-1, 5 / 32768])
    assert (clips.digits.tolist(), clips.speakers, clips.takes.tolist()) == ([4, 9], ("bob", "ann"), [7, 0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"audio": np.zeros(5, np.float32)}, "audio is float32"),
        ({"offsets": np.array([0, 3, 6])}, "offsets run from 0 to 6, expected 0 to 5"),
        ({"offsets": np.array([0, 0, 5])}, "clip 0 has no samples"),
        ({"offsets": np.array([0, 6, 5])}, "clip 1 has no samples"),
        ({"offsets": np.array([0])}, "no clips"),
        ({"labels": np.array([4, 10])}, "a label is not in 0"),
        ({"labels": np.array([4.0, 1.0])}, "labels is float64"),
        ({"labels": np.array([4])}, "labels has 1 numbers for 2 clips"),
        ({"speaker": np.array([0, 2])}, "a speaker is not in 0"),
        ({"take": np.array([0, -1])}, "a take is negative"),
        ({"speakers": np.array([1, 2])}, "speakers is int64"),
        ({"sample_rate": np.array([8000, 8000])}, "sample_rate"),
        ({"sample_rate": np.array(3)}, "3 samples per second"),
    ],
)
def test_archives_whose_arrays_do_not_fit(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays(**changed))
    with pytest.raises(DataError, match=message):
        read_archive(tmp_path / "a.npz", sample_rate=8000)


@pytest.mark.parametrize("key", KEYS)
def test_an_archive_that_lacks_an_array(tmp_path: Path, key: str) -> None:
    np.savez(tmp_path / "a.npz", **{name: value for name, value in arrays().items() if name != key})
    with pytest.raises(DataError, match=f"lacks {key};"):
        read_archive(tmp_path / "a.npz", sample_rate=8000)


def test_damaged_archives(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "whole.npz", **arrays(audio=np.arange(5, dtype=np.int16)))
    content = (tmp_path / "whole.npz").read_bytes()
    bad = tmp_path / "bad.npz"
    # 60: inside the compressed numbers, so that only their checksum tells.
    for damaged in (b"", b"no archive", content[:100], content[:60] + b"\xff\xfe\xfd" + content[63:]):
        bad.write_bytes(damaged)
        with pytest.raises(DataError, match=r"bad.npz is not readable"):
            read_archive(bad, sample_rate=8000)
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(bad)
    with pytest.raises(DataError, match="is a single array"):
        read_archive(bad, sample_rate=8000)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays(speakers=np.array(["ann", {"b": 1}], object)))
    with pytest.raises(DataError, match="is not readable"):
        read_archive(tmp_path / "a.npz", sample_rate=8000)
