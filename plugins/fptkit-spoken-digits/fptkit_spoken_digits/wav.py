"""Reader of folders of WAV files, named as in the Free Spoken Digit Dataset or in one folder per digit.

``7_jackson_32.wav`` gives digit, speaker and take. In ``seven/0a7c2a8d_nohash_0.wav``, as in Speech Commands, the
folder gives the digit, and the file name gives speaker and take. With other file names in such folders the speaker is
unknown, and takes are numbered in the order of the names.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.sources import Unavailable
from fptkit.tasks.audio.sound import read_mono
from fptkit_spoken_digits.clips import DIGITS, Clips, ranked_takes

_FLAT_NAME = re.compile(r"([0-9])_([^_]+)_([0-9]{1,9})")
_SPEAKER_NAME = re.compile(r"([^_]+)_nohash_([0-9]{1,9})")


def read_folder(folder: Path, *, sample_rate: int) -> Clips:
    """Read all clips of a folder.

    Args:
        folder: folder with WAV files, or with folders ``0`` to ``9`` or ``zero`` to ``nine`` of WAV files.
        sample_rate: samples per second of the result.

    Raises:
        fptkit.sources.Unavailable: there are no WAV files.
        DataError: a file is damaged, in an unsupported format, or its name has no digit.
    """
    flat = _wav_files(folder)
    if flat:
        return _read_flat(flat, sample_rate)
    by_digit = {child: _digit_of(child.name) for child in sorted(folder.iterdir()) if child.is_dir()}
    files = [(file, digit) for child, digit in by_digit.items() if digit is not None for file in _wav_files(child)]
    if not files:
        raise Unavailable(f"{folder} has no .wav files, also not in folders 0 to 9 or zero to nine")
    passed_over = [child.name for child, digit in by_digit.items() if digit is None]
    return _read_by_digit(files, passed_over, sample_rate)


def _wav_files(folder: Path) -> list[Path]:
    # Names that start with a dot are metadata of other systems (._x.wav), not clips.
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
                f"{file}: the name has no digit; expected DIGIT_SPEAKER_TAKE.wav, such as 7_jackson_32.wav, or "
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
    notes = (f"folders that are not named after a digit are skipped: {_shortened(passed_over)}",) if passed_over else ()
    return Clips(audio, digits, speakers, takes, notes)


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def read_wav(file: Path, *, sample_rate: int) -> NDArray[np.float32]:
    """Read one clip; several channels are averaged.

    Shapes: -> (samples,), full scale is 1.

    Args:
        file: WAV file.
        sample_rate: samples per second of the result.

    Raises:
        DataError: the file is damaged, empty, or in another format.
    """
    return read_mono(file, sample_rate)
