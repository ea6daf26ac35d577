"""Features in a file: computed once, by one process at a time, gone on with after a stop, checked when read.

A folder under the cache folder holds ``features`` (float32, one row per example), and ``features.json`` when that is
whole: its shape, size and digest. While it is filled it is called ``features.part``, and ``features.part.json`` beside
it says how many batches are safely in it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.files import find_json, write_json
from fptkit.sources.download import file_sha256

FORMAT = 1
FLUSH_SECONDS = 10.0
"""What a killed process can lose of its work."""

Rows = NDArray[np.float32]


def cache_folder() -> Path:
    """Where features are kept: ``$FPTKIT_CACHE``, else the user's cache folder of the platform; ``features`` in it."""
    if given := os.environ.get("FPTKIT_CACHE"):
        return Path(given).expanduser() / "features"
    import platformdirs

    return Path(platformdirs.user_cache_dir("fptkit")) / "features"


class FeatureStore:
    """The features of one split.

    Args:
        folder: of this split alone; its name is the digest of all that decides the features.
        shape: (N, R, D).
        ends: rows that are there after each batch; the last is N.
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
        """Bytes of the whole file."""
        return self.shape[0] * self._row_bytes

    def read(
        self,
        compute: Callable[[int], Rows],
        right: Callable[[Rows], bool],
        *,
        stop_requested: Callable[[], bool],
        computed: Callable[[int], None],
    ) -> Rows | None:
        """The features, (N, R, D); what is not there is computed. Another process that is at it is waited for.

        Args:
            compute: the rows of a batch, by its number.
            right: whether the first rows of a file are what would be computed now. One that is not is made again.
            stop_requested: asked between batches.
            computed: told how many rows are there, after each batch.

        Returns:
            None when it was asked to stop; what was computed until then is kept.

        Raises:
            OSError: the folder cannot be written.
        """
        import filelock

        self.folder.mkdir(parents=True, exist_ok=True)
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
        """Whether the file can be used; one that cannot is removed."""
        facts = find_json(self._facts)
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
        """Compute what is not there yet; returns whether all is."""
        done = self._batches_there(right)
        with self._part.open("r+b" if done else "wb") as file:
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
        write_json(self._facts, {"format": FORMAT, "shape": list(self.shape), "sha256": digest})
        self._part_facts.unlink(missing_ok=True)
        return True

    def _batches_there(self, right: Callable[[Rows], bool]) -> int:
        """Batches of an earlier, cut off filling that can be kept."""
        facts = find_json(self._part_facts)
        done = facts.get("batches")
        if not isinstance(done, int) or not 0 < done <= len(self._ends) or not self._part.is_file():
            return 0
        rows = self._rows_after(done)
        if self._part.stat().st_size < rows * self._row_bytes or not right(self._rows(self._part, rows)):
            return 0
        return done

    def _flush(self, file: Any, done: int) -> None:
        """Rows first, then the word that they are there."""
        file.flush()
        os.fsync(file.fileno())
        write_json(self._part_facts, {"batches": done})

    def _rows_after(self, batches: int) -> int:
        return self._ends[batches - 1] if batches else 0

    def _rows(self, path: Path, count: int) -> Rows:
        """Rows of a file, read when they are needed."""
        # A plain view: indexing a memmap itself costs several times as much.
        return np.asarray(np.memmap(path, np.float32, mode="r", shape=(count, *self.shape[1:])))
