"""The preparation of recordings: rate, length, features and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fptkit.errors import DataError
from fptkit.interfaces import Batch, Classes, Examples, Metric, Preparation, Shown, Values, Vectors
from fptkit.tasks.audio.features import LogMel, RawPatches
from fptkit.tasks.audio.reader import FOLDER, Listed, class_folder, find_recordings, is_table, read_listing
from fptkit.tasks.audio.sound import read_sound, resample
from fptkit.tasks.own_data.target import Target
from fptkit.tasks.reading.labels import same_label
from fptkit.tasks.reading.paths import SourceFiles


@dataclass(frozen=True)
class Clip:
    """A recording that was decoded.

    Args:
        samples: (S,) its samples, cut to the longest that is kept, the loudest of them at full scale.
        seconds: length of the whole recording.
        silent: whether all samples are equal.
        rate: samples per second of the file.
    """

    samples: NDArray[np.float32]
    seconds: float
    silent: bool
    rate: int


class AudioPreparation(Preparation):
    """How a recording becomes tokens.

    Args:
        target: what is predicted.
        path: column of a table with the recordings' paths; None to find it.
        rate: samples per second.
        max_samples: samples after which longer recordings are cut.
        crop: which part of a longer recording is kept.
        features: ``log_mel`` or ``raw``.
        window: samples per frame (log_mel).
        hop: samples from one frame to the next (log_mel).
        bands: mel bands (log_mel).
        lowest_hz: lower edge of the bands (log_mel).
        frames_per_token: frames per token (log_mel).
        patch: samples per token (raw).
        lowest_rate: lowest rate of a recording of the run, at most ``rate``; 0 if it is not known.
    """

    target: Target
    path: str | None
    rate: int
    max_samples: int
    crop: Literal["start", "centre"]
    features: Literal["log_mel", "raw"]
    window: int
    hop: int
    bands: int
    lowest_hz: float
    frames_per_token: int
    patch: int
    lowest_rate: int = 0

    @cached_property
    def tokens(self) -> LogMel | RawPatches:
        """What makes tokens of samples."""
        if self.features == "raw":
            return RawPatches(self.patch, self.max_samples)
        return LogMel(
            window=self.window,
            hop=self.hop,
            bands=self.bands,
            frames_per_token=self.frames_per_token,
            max_frames=1 + max(self.max_samples - self.window, 0) // self.hop,
            sample_rate=self.rate,
            lowest_hz=self.lowest_hz,
        )

    @property
    def input(self) -> Vectors:
        """A token has the bands of some frames, or some samples."""
        return Vectors(self.tokens.width)

    @property
    def output(self) -> Classes | Values:
        """That of the target."""
        return self.target.output

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest recording that is not cut."""
        return self.tokens.max_tokens

    def read(self, source: Sequence[str]) -> Examples:
        """List new recordings: of folders, of a table, or single files. Labels may be absent.

        Raises:
            DataError: a table lists a recording that does not exist.
            SourceError: there is no such file, or no recording in a folder.
        """
        found = find_recordings({"all": tuple(source)}, own=False)
        listed = [read_listing(path, self.path) for path in found.files if is_table(path)]
        if recordings := [path for path in found.files if not is_table(path)]:
            listed.append(self._labelled(found, recordings))
        return Examples.joined([self._examples(some, found.notes) for some in listed])

    def prepare(self, examples: Examples) -> Batch:
        """See `fptkit.Preparation.prepare`. Shapes: inputs (B, T, F).

        Raises:
            DataError: a recording cannot be decoded, or a label is unknown.
        """
        return self.batch([self.hear(path) for path in examples.content], examples)

    def show(self, content: Any) -> Shown:
        """The waveform, scaled to a peak of 1. Content: the path of the recording.

        Raises:
            DataError: it cannot be decoded any more.
        """
        return Shown(series=self.hear(str(content)).samples[:, None])

    def hear(self, path: str) -> Clip:
        """Decode a recording, resample and cut it.

        Raises:
            DataError: it is damaged, has no samples, or has a lower rate than any recording of the run.
        """
        read, own = read_sound(Path(path))
        samples = resample(read.mean(1, dtype=np.float32), own, self.rate, where=path)
        if own < self.lowest_rate:
            raise DataError(
                f"{path}: {own:,} samples per second, but the training recordings have {self.lowest_rate:,} or more: "
                "its high frequencies are missing, so the model would hear something else; record it at a higher rate"
            )
        whole, silent = len(samples), bool(samples.max() == samples.min())
        start = max(whole - self.max_samples, 0) // 2 if self.crop == "centre" else 0
        cut = samples[start : start + self.max_samples]
        peak = np.abs(cut).max()
        # Features must not depend on the recording's level: the floor of energies is absolute.
        return Clip(cut / peak if peak > 0 else cut, whole / self.rate, silent, own)

    def batch(self, clips: Sequence[Clip], examples: Examples) -> Batch:
        """The batch of decoded recordings. Shapes: inputs (B, T, F)."""
        tokens: list[Tensor] = self.tokens.tokens([torch.from_numpy(clip.samples) for clip in clips])
        lengths = torch.tensor([len(each) for each in tokens])
        inputs = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
        equal = bool((lengths == lengths[0]).all())
        return Batch(inputs, self.target.encode(examples), None if equal else lengths)

    def metrics(self) -> Mapping[str, Metric]:
        """New metrics of the target."""
        return self.target.metrics()

    def answers(self, predictions: Any) -> list[dict[str, Any]]:
        """See `fptkit.Preparation.answers`."""
        return self.target.answers(predictions)

    def _labelled(self, found: SourceFiles, paths: Sequence[Path]) -> Listed:
        """Recordings, with their class folders if these are known classes."""
        folders = [class_folder(found, path) for path in paths]
        known = self.target.columns == (FOLDER,) and all(
            folder is not None and same_label(folder) in self.target.names for folder in folders
        )
        cells = {FOLDER: [folder or "" for folder in folders]} if known else {}
        return Listed(paths, [str(path) for path in paths], cells)

    def _examples(self, listed: Listed, notes: tuple[str, ...]) -> Examples:
        labelled = all(name in listed.cells for name in self.target.columns)
        labels = {name: listed.cells[name] for name in self.target.columns} if labelled else {}
        return Examples(list(map(str, listed.paths)), listed.names, labels, notes=(*notes, *listed.notes))
