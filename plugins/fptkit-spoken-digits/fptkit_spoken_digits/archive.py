"""Reader of clips that are concatenated in one NumPy archive, which loads fast.

Clip i is ``audio[offsets[i]:offsets[i + 1]]``; ``labels``, ``speaker`` and ``take`` have one number per clip,
``speakers`` has the names that ``speaker`` indexes, ``sample_rate`` is one number.
"""

from __future__ import annotations

import itertools
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.tasks.audio.sound import resample
from fptkit_spoken_digits.clips import Clips

KEYS = ("audio", "offsets", "labels", "speaker", "take", "speakers", "sample_rate")


def read_archive(file: Path, *, sample_rate: int) -> Clips:
    """Read all clips of an archive.

    Args:
        file: an ``.npz`` file with the arrays named above.
        sample_rate: samples per second of the result.

    Raises:
        DataError: the file is damaged, lacks an array, or its arrays do not fit together.
    """
    arrays = _load(file)
    for wrong, message in _faults(arrays):
        if wrong:
            raise DataError(f"{file}: {message}")
    offsets, rate = arrays["offsets"], int(arrays["sample_rate"])
    scaled: NDArray[np.float32] = arrays["audio"].astype(np.float32) / np.float32(32768)
    audio = tuple(
        resample(scaled[start:stop], rate, sample_rate, where=f"{file}, clip {index}")
        for index, (start, stop) in enumerate(itertools.pairwise(offsets))
    )
    names = [str(name) for name in arrays["speakers"]]
    speakers = tuple(names[index] for index in arrays["speaker"])
    return Clips(audio, arrays["labels"].astype(np.int64), speakers, arrays["take"].astype(np.int64))


def _load(file: Path) -> dict[str, NDArray[Any]]:
    try:
        with file.open("rb") as stream:  # opened here, since numpy does not close damaged archives
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{file} is a single array; expected an .npz archive of {', '.join(KEYS)}")
            if missing := [key for key in KEYS if key not in archive]:
                raise DataError(f"{file} lacks {', '.join(missing)}; it has {', '.join(archive) or 'no arrays'}")
            return {key: archive[key] for key in KEYS}
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, KeyError) as err:
        raise DataError(f"{file} is not readable as an .npz archive: {err}") from err


def _faults(arrays: Mapping[str, NDArray[Any]]) -> Iterator[tuple[bool, str]]:
    """Yield pairs of condition and message; a condition may assume that all earlier ones are false."""
    audio, offsets = arrays["audio"], arrays["offsets"]
    yield audio.ndim != 1 or audio.dtype != np.int16, f"audio is {audio.dtype} {audio.shape}, expected int16 (samples,)"
    for key in ("offsets", "labels", "speaker", "take"):
        kind = arrays[key]
        yield (
            kind.ndim != 1 or kind.dtype.kind not in "iu",
            f"{key} is {kind.dtype} {kind.shape}, expected integers (N,)",
        )
    rate, names = arrays["sample_rate"], arrays["speakers"]
    yield (
        rate.size != 1 or rate.dtype.kind not in "iu",
        f"sample_rate is {rate.dtype} {rate.shape}, expected an integer",
    )
    yield names.ndim != 1 or names.dtype.kind != "U", f"speakers is {names.dtype} {names.shape}, expected names"
    count = len(offsets) - 1
    yield count < 1, "no clips"
    for key in ("labels", "speaker", "take"):
        yield len(arrays[key]) != count, f"{key} has {len(arrays[key])} numbers for {count} clips"
    lengths = np.diff(offsets.astype(np.int64))
    yield (
        bool(offsets[0] != 0 or offsets[-1] != len(audio)),
        (f"offsets run from {offsets[0]} to {offsets[-1]}, expected 0 to {len(audio)}"),
    )
    yield bool((lengths < 1).any()), f"clip {int(np.argmin(lengths))} has no samples"
    labels, speaker = arrays["labels"], arrays["speaker"]
    yield bool((labels < 0).any() or (labels > 9).any()), "a label is not in 0 ... 9"
    yield bool((speaker < 0).any() or (speaker >= len(names)).any()), f"a speaker is not in 0 ... {len(names) - 1}"
    yield bool((arrays["take"] < 0).any()), "a take is negative"
