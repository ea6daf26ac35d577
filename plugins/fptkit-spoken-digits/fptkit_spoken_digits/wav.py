"""Folders of WAV files: the file names of the Free Spoken Digit Dataset, or one folder for each digit.

``7_jackson_32.wav`` says digit, speaker and take. In ``seven/0a7c2a8d_nohash_0.wav``, as Speech Commands has it, the
folder says the digit, and the name the speaker and the take; other names in such folders say nothing, and takes are
then numbered in the order of the names.
"""

from __future__ import annotations

import re
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.sources import Unavailable
from fptkit_spoken_digits.clips import DIGITS, Clips, ranked_takes, resampled

_FLAT_NAME = re.compile(r"([0-9])_([^_]+)_([0-9]{1,9})")
_SPEAKER_NAME = re.compile(r"([^_]+)_nohash_([0-9]{1,9})")


def read_folder(folder: Path, *, sample_rate: int) -> Clips:
    """Read all clips of a folder.

    Args:
        folder: with WAV files, or with folders ``0`` to ``9`` or ``zero`` to ``nine`` that hold them.
        sample_rate: of the result.

    Raises:
        fptkit.sources.Unavailable: it holds no WAV file.
        DataError: a file is damaged, of a form that is not read, or its name says no digit.
    """
    flat = _wav_files(folder)
    if flat:
        return _read_flat(flat, sample_rate)
    by_digit = {child: _digit_of(child.name) for child in sorted(folder.iterdir()) if child.is_dir()}
    files = [(file, digit) for child, digit in by_digit.items() if digit is not None for file in _wav_files(child)]
    if not files:
        raise Unavailable(f"{folder} holds no .wav files, neither itself nor in folders 0 to 9 or zero to nine")
    passed_over = [child.name for child, digit in by_digit.items() if digit is None]
    return _read_by_digit(files, passed_over, sample_rate)


def _wav_files(folder: Path) -> list[Path]:
    # Names with a dot in front are leftovers of other systems (._x.wav), not clips.
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".wav" and not path.name.startswith("."))


def _digit_of(name: str) -> int | None:
    if name.lower() in DIGITS:
        return DIGITS.index(name.lower())
    return int(name) if re.fullmatch("[0-9]", name) else None


def _read_flat(files: list[Path], sample_rate: int) -> Clips:
    audio, digits, speakers, takes = [], [], [], []
    for file in files:
        named = _FLAT_NAME.fullmatch(file.stem)
        if named is None:
            raise DataError(
                f"{file}: the name says no digit; expected DIGIT_SPEAKER_TAKE.wav, such as 7_jackson_32.wav, or "
                "folders 0 to 9 or zero to nine"
            )
        audio.append(read_wav(file, sample_rate=sample_rate))
        digits.append(int(named[1]))
        speakers.append(named[2])
        takes.append(int(named[3]))
    return Clips(tuple(audio), np.array(digits, np.int64), tuple(speakers), np.array(takes, np.int64))


def _read_by_digit(files: list[tuple[Path, int]], passed_over: list[str], sample_rate: int) -> Clips:
    audio = tuple(read_wav(file, sample_rate=sample_rate) for file, _ in files)
    digits = np.array([digit for _, digit in files], np.int64)
    named = [_SPEAKER_NAME.fullmatch(file.stem) for file, _ in files]
    speakers = tuple(name[1] if name else "" for name in named)
    takes = ranked_takes(digits, speakers)
    for index, name in enumerate(named):
        if name:
            takes[index] = int(name[2])
    notes = (f"folders that name no digit are passed over: {_shortened(passed_over)}",) if passed_over else ()
    return Clips(audio, digits, speakers, takes, notes)


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def read_wav(file: Path, *, sample_rate: int) -> NDArray[np.float32]:
    """Read one clip; of several channels the mean is taken.

    Shapes: -> (samples,), full scale is 1.

    Args:
        file: PCM of 8 or 16 bits.
        sample_rate: of the result.

    Raises:
        DataError: the file is damaged, empty, or of another form.
    """
    try:
        with wave.open(str(file), "rb") as clip:
            channels, width, rate, count = clip.getparams()[:4]
            content = clip.readframes(count)
    except (wave.Error, EOFError, OSError, RuntimeError) as err:
        raise DataError(f"{file} cannot be read as WAV: {err or 'it ends too early'}") from err
    if width not in (1, 2):
        raise DataError(f"{file} has {8 * width} bits a sample; PCM of 8 or 16 bits is read")
    if len(content) != count * channels * width:
        raise DataError(
            f"{file} is cut off: its header says {count} samples, {len(content) // channels // width} follow"
        )
    if not count:
        raise DataError(f"{file} holds no sample")
    # PCM of 8 bits is unsigned, that of 16 signed.
    samples = np.frombuffer(content, "<i2") if width == 2 else np.frombuffer(content, np.uint8).astype(np.int16) - 128
    scaled = samples.astype(np.float32) / (32768 if width == 2 else 128)
    mono: NDArray[np.float32] = scaled.reshape(-1, channels).mean(1, dtype=np.float32)
    return resampled(mono, rate, sample_rate, where=str(file))
