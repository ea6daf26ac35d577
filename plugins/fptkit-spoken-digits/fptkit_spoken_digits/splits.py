"""Division of clips into splits, and batches of clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fptkit import Batch
from fptkit.errors import UsageError
from fptkit_spoken_digits.clips import Clips
from fptkit_spoken_digits.options import SpokenDigitsOptions

Rows = dict[str, NDArray[np.int64]]
"""Rows of the clips in ``train``, ``validation`` and ``test``, which are disjoint."""


def divide(clips: Clips, options: SpokenDigitsOptions) -> tuple[Rows, str]:
    """Divide clips into splits; also returns a description of the division.

    Args:
        clips: all clips.
        options: how to divide them.

    Raises:
        UsageError: a split would be empty, speakers are unknown, or a speaker in the options does not exist.
    """
    groups, how = _by_takes(clips, options) if options.split == "takes" else _by_speakers(clips, options)
    rows = {name: np.flatnonzero(groups == number) for number, name in enumerate(("train", "validation", "test"))}
    if empty := [name for name, chosen in rows.items() if not len(chosen)]:
        raise UsageError(
            f"task.split {options.split}: {how}; this leaves no clips for {', '.join(empty)}. There are "
            f"{len(clips.takes):,} clips, takes {clips.takes.min()} to {clips.takes.max()}, speakers "
            f"{', '.join(_speakers(clips)) or 'unknown'}"
        )
    return rows, how


def _by_takes(clips: Clips, options: SpokenDigitsOptions) -> tuple[NDArray[np.int64], str]:
    """Return 0, 1 or 2 for each clip: train, validation, test."""
    last_test, last = options.test_takes, options.test_takes + options.validation_takes
    groups = np.where(clips.takes < last_test, 2, np.where(clips.takes < last, 1, 0))
    return groups, f"test is takes below {last_test}, validation those below {last}, train the others"


def _by_speakers(clips: Clips, options: SpokenDigitsOptions) -> tuple[NDArray[np.int64], str]:
    known = _speakers(clips)
    if len(known) < 3 or "" in clips.speakers:
        raise UsageError(
            f"task.split speakers: at least three speakers are required, but these clips have "
            f"{', '.join(known) or 'none'}; use split: takes"
        )
    test = _chosen(options.test_speakers, known, "test_speakers")
    rest = [name for name in known if name not in test]
    validation = _chosen(options.validation_speakers, rest, "validation_speakers")
    groups = np.array([2 if name in test else 1 if name in validation else 0 for name in clips.speakers], np.int64)
    return groups, f"test is {', '.join(test)}, validation {', '.join(validation)}, train the other speakers"


def _speakers(clips: Clips) -> list[str]:
    return sorted({name for name in clips.speakers if name})


def _chosen(wanted: int | tuple[str, ...], known: list[str], option: str) -> list[str]:
    if isinstance(wanted, int):
        return known[-wanted:]
    for name in wanted:
        if name not in known:
            raise UsageError(f"task.{option}: speaker '{name}' is not available; available: {', '.join(known)}")
    return list(wanted)


class ClipSplit:
    """A `fptkit.Split` of clips; their tokens are computed once, and batches only copy them.

    Args:
        tokens: (T, F) float32 tokens of each clip.
        digits: (N,) int64 digit of each clip.
    """

    size: int | None
    token_counts: NDArray[np.int64] | None

    def __init__(self, tokens: Sequence[Tensor], digits: NDArray[np.int64]) -> None:
        counts = np.array([len(clip) for clip in tokens], np.int64)
        self.size, self.token_counts, self.digits = len(digits), counts, digits
        # Padding points to the row of zeros at the end.
        self._rows = torch.cat((*tokens, torch.zeros(1, tokens[0].shape[1])))
        self._counts = counts
        self._starts = np.concatenate(([0], np.cumsum(counts)[:-1]))

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the clips with these indices, padded on the right with zeros to the longest of them.

        Shapes: inputs (B, T, F) float32, targets (B,) int64, lengths (B,) int64, or None if all have T tokens.

        Args:
            indices: indices of the clips, at least one.
            generator: not used; recorded clips involve no randomness.
        """
        chosen = np.asarray(indices, np.int64)
        counts = self._counts[chosen]
        real = np.arange(int(counts.max())) < counts[:, None]  # (B, T)
        places = np.where(real, self._starts[chosen, None] + np.arange(real.shape[1]), len(self._rows) - 1)
        return Batch(
            self._rows[torch.from_numpy(places)],
            torch.from_numpy(self.digits[chosen]),
            None if real.all() else torch.from_numpy(counts),
        )
