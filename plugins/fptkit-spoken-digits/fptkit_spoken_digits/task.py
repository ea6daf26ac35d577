"""The task ``spoken_digits``: classify spoken digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fptkit import Classes, Task, Vectors
from fptkit.errors import DataError, UnknownNameError, UsageError
from fptkit.sources import Unavailable, choose, data_folder
from fptkit.tasks.reading.cautions import class_warnings, size_warnings
from fptkit_spoken_digits.archive import read_archive
from fptkit_spoken_digits.clips import DIGITS, Clips
from fptkit_spoken_digits.features import LogMel
from fptkit_spoken_digits.options import SpokenDigitsOptions
from fptkit_spoken_digits.splits import ClipSplit, divide
from fptkit_spoken_digits.tones import make_tones
from fptkit_spoken_digits.wav import read_folder

ADVICE = (
    "Get the recordings, 'git clone https://github.com/Jakobovski/free-spoken-digit-dataset', and set the folder:\n"
    "task.source: path:free-spoken-digit-dataset. Or list 'tones' as a further source, a fallback (stand-in) of\n"
    "synthesised chords."
)


class SpokenDigits(Task):
    """Classify spoken digits.

    Shapes: inputs (B, T, F) log-mel frames, by default T up to 59 and F = 80; targets (B,), logits (B, 10).

    Args:
        options: recipe options.
        seed: not used, so that runs with different seeds have the same data.
        pinned: source that an earlier run of this recipe used; only it is tried.

    Raises:
        SourceError: no listed source is available.
        DataError: the files of a source are damaged or in another format.
        UsageError: a split would be empty, or the options do not fit together.
    """

    def __init__(self, options: SpokenDigitsOptions, *, seed: int, pinned: str | None = None) -> None:
        features = _features(options)
        choice = choose(
            options.source,
            lambda entry: open_source(entry, options),
            what="data of task spoken_digits",
            pinned=pinned,
            advice=ADVICE,
        )
        clips = choice.found
        rows, how = divide(clips, options)
        self.source, self.stand_in = choice.entry, choice.stand_in or choice.entry == "tones"
        self.input, self.output, self.max_tokens = Vectors(features.width), Classes(len(DIGITS)), features.max_tokens
        self._splits = {
            name: ClipSplit(
                features.tokens([torch.from_numpy(clips.audio[row]) for row in chosen]), clips.digits[chosen]
            )
            for name, chosen in rows.items()
        }
        commonest = int(np.bincount(self._splits["train"].digits).argmax())
        self.majority_accuracy = {
            name: float((split.digits == commonest).mean()) for name, split in self._splits.items()
        }
        self.warnings = (
            *size_warnings({name: split.size or 0 for name, split in self._splits.items()}),
            *class_warnings({name: split.digits for name, split in self._splits.items()}, DIGITS),
        )
        sizes = ", ".join(f"{name} {split.size:,}" for name, split in self._splits.items())
        longer = sum(len(clip) > options.max_seconds * options.sample_rate for clip in clips.audio)
        self.notes = (
            *(f"{entry}: {reason}" for entry, reason in choice.skipped),
            *(("tones: chords of two tones by simulated speakers; not speech",) if choice.entry == "tones" else ()),
            *clips.notes,
            f"clips: {sizes}; {how}",
            *((f"{longer:,} clips are cut to {options.max_seconds:g} seconds",) if longer else ()),
        )

    def split(self, name: str) -> ClipSplit:
        """Return the split ``train``, ``validation`` or ``test``.

        Raises:
            UnknownNameError: the task has no split of this name.
        """
        if name not in self._splits:
            raise UnknownNameError("split of task spoken_digits", name, self._splits)
        return self._splits[name]


def open_source(entry: str, options: SpokenDigitsOptions) -> Clips:
    """Read the clips of one entry of ``task.source``.

    Raises:
        fptkit.sources.Unavailable: the source is not available.
        DataError: its files are damaged or in another format.
    """
    if entry == "tones":
        return make_tones(takes=options.tone_takes, sample_rate=options.sample_rate)
    if entry == "fsdd":
        return _open_fsdd(data_folder(), options)
    path = Path(entry.removeprefix("path:")).expanduser()
    if not path.exists():
        raise Unavailable(f"there is no file or folder {path}")
    if path.is_dir():
        return _read_clone(path, options)
    if path.suffix != ".npz":
        raise DataError(f"{path}: expected a folder or an .npz archive")
    return read_archive(path, sample_rate=options.sample_rate)


def _open_fsdd(folder: Path, options: SpokenDigitsOptions) -> Clips:
    """Read the data set from the data folder: an archive, a clone, or the recordings only."""
    if (archive := folder / "fsdd.npz").is_file():
        return read_archive(archive, sample_rate=options.sample_rate)
    if (clone := folder / "fsdd").is_dir():
        return _read_clone(clone, options)
    raise Unavailable(f"there is no file fsdd.npz and no folder fsdd in {folder}")


def _read_clone(folder: Path, options: SpokenDigitsOptions) -> Clips:
    """Read a folder of WAV files, or a clone of the data set, which has them in its folder ``recordings``."""
    recordings = folder / "recordings"
    return read_folder(recordings if recordings.is_dir() else folder, sample_rate=options.sample_rate)


def _features(options: SpokenDigitsOptions) -> LogMel:
    """Convert milliseconds to samples.

    Raises:
        UsageError: a frame or a hop is too short, or ``max_seconds`` is shorter than a frame.
    """
    window, hop = (round(value * options.sample_rate / 1000) for value in (options.window_ms, options.hop_ms))
    longest = int(options.max_seconds * options.sample_rate)
    if hop < 1 or window < 2 or longest < window:
        raise UsageError(
            f"task: a window of {options.window_ms:g} ms, a hop of {options.hop_ms:g} ms and {options.max_seconds:g} "
            f"seconds do not fit together at {options.sample_rate:,} samples per second; a hop needs 1 sample or more, "
            "a window 2, and max_seconds at least a window"
        )
    return LogMel(
        window=window,
        hop=hop,
        bands=options.bands,
        frames_per_token=options.frames_per_token,
        max_frames=1 + (longest - window) // hop,
        sample_rate=options.sample_rate,
    )
