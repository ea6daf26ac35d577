"""Features in a file: computed by one process at a time, continued after a stop, checked when read.

A folder in the cache folder holds ``features`` (float32, one row per example) and, once that file is complete,
``features.json`` with its shape and digest. Until then the file is called ``features.part``, and ``features.part.json``
says how many of its batches are flushed to disk. Files that somebody else can have written are computed again.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.files import find_json, write_bytes
from fptkit.sources.choice import expanded, user_folder
from fptkit.sources.download import file_sha256
from fptkit.sources.ownership import is_own

FORMAT = 1
FLUSH_SECONDS = 10.0
"""Seconds of work that a killed process can lose."""

_WRITE = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
_MODE = 0o644
"""Permissions of the files, whatever the umask: what others can write is not trusted."""

Rows = NDArray[np.float32]


def cache_folder() -> Path:
    """The folder of cached features: ``features`` in ``$FPTKIT_CACHE``, else in the user's cache folder of the
    platform.

    Raises:
        UsageError: see `fptkit.sources.choice.user_folder`.
    """
    if given := os.environ.get("FPTKIT_CACHE"):
        return expanded(given) / "features"
    import platformdirs

    return user_folder(platformdirs.user_cache_dir, "cache") / "features"


class FeatureStore:
    """The features of one split.

    Args:
        folder: of this split alone; its name is the digest of everything that decides the features.
        shape: (N, R, D).
        ends: number of rows after each batch; the last is N.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int], ends: list[int]) -> None:
        self.folder = folder
        self.shape = shape
        self._ends = ends
        self._row_bytes = 4 * math.prod(shape[1:])
        self._file = folder / "features"
        self._facts = folder / "features.json"
        self._part = folder / "features.part"
        self._part_facts = folder / "features.part.json"

    @property
    def size(self) -> int:
        """Bytes of the complete file."""
        return self.shape[0] * self._row_bytes

    def read(
        self,
        compute: Callable[[int], Rows],
        right: Callable[[Rows], bool],
        *,
        stop_requested: Callable[[], bool],
        computed: Callable[[int], None],
    ) -> Rows | None:
        """Read the features; compute missing rows, or wait if another process is computing them.

        Args:
            compute: makes the rows of a batch, by its number.
            right: whether the first rows of a file are those that would be computed now; if not, all are computed
                again.
            stop_requested: asked between batches.
            computed: called with the number of rows done, after each batch.

        Returns:
            The features, (N, R, D); None if a stop was requested. Rows that were computed until then are kept.

        Raises:
            OSError: the folder cannot be written.
        """
        import filelock

        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder / ".lock")
        while True:
            try:
                lock.acquire(timeout=0.2)
                break
            except filelock.Timeout:
                if stop_requested():
                    return None
        try:
            if not self._is_whole(right) and not self._fill(compute, right, stop_requested, computed):
                return None
            return self._rows(self._file, self.shape[0])
        finally:
            lock.release()

    def _is_whole(self, right: Callable[[Rows], bool]) -> bool:
        """Whether the file is complete and correct; if not, it is removed."""
        facts = find_json(self._facts) if is_own(self._facts) and is_own(self._file) else {}
        if (
            facts.get("format") == FORMAT
            and facts.get("shape") == list(self.shape)
            and self._file.is_file()
            and self._file.stat().st_size == self.size
            and facts.get("sha256") == file_sha256(self._file)
            and right(self._rows(self._file, self.shape[0]))
        ):
            return True
        self._facts.unlink(missing_ok=True)
        self._file.unlink(missing_ok=True)
        return False

    def _fill(
        self,
        compute: Callable[[int], Rows],
        right: Callable[[Rows], bool],
        stop_requested: Callable[[], bool],
        computed: Callable[[int], None],
    ) -> bool:
        """Compute the missing rows; returns whether the file is complete."""
        done = self._batches_there(right)
        if not done:  # never written into what somebody else put there, or through a link
            self._part.unlink(missing_ok=True)
        with open(os.open(self._part, _WRITE, _MODE), "r+b") as file:
            file.truncate(self._rows_after(done) * self._row_bytes)
            file.seek(0, os.SEEK_END)
            flushed = time.monotonic()
            while done < len(self._ends):
                if stop_requested():
                    self._flush(file, done)
                    return False
                file.write(np.ascontiguousarray(compute(done), np.float32).tobytes())
                done += 1
                computed(self._rows_after(done))
                if time.monotonic() - flushed >= FLUSH_SECONDS:
                    self._flush(file, done)
                    flushed = time.monotonic()
            self._flush(file, done)
        digest = file_sha256(self._part)
        self._part.replace(self._file)
        self._write(self._facts, {"format": FORMAT, "shape": list(self.shape), "sha256": digest})
        self._part_facts.unlink(missing_ok=True)
        return True

    def _batches_there(self, right: Callable[[Rows], bool]) -> int:
        """Number of batches in an incomplete file that can be used."""
        facts = find_json(self._part_facts) if is_own(self._part_facts) and is_own(self._part) else {}
        done = facts.get("batches")
        if not isinstance(done, int) or not 0 < done <= len(self._ends) or not self._part.is_file():
            return 0
        rows = self._rows_after(done)
        if self._part.stat().st_size < rows * self._row_bytes or not right(self._rows(self._part, rows)):
            return 0
        return done

    def _flush(self, file: Any, done: int) -> None:
        """Flush the rows first, then record their number."""
        file.flush()
        os.fsync(file.fileno())
        self._write(self._part_facts, {"batches": done})

    def _write(self, path: Path, facts: dict[str, Any]) -> None:
        write_bytes(path, json.dumps(facts).encode(), mode=_MODE)

    def _rows_after(self, batches: int) -> int:
        return self._ends[batches - 1] if batches else 0

    def _rows(self, path: Path, count: int) -> Rows:
        """Rows of a file, read on demand."""
        # A plain view: indexing a memmap itself costs several times as much.
        return np.asarray(np.memmap(path, np.float32, mode="r", shape=(count, *self.shape[1:])))
