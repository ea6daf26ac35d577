"""The output folder of a pretraining: one process at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from fptkit.errors import UsageError
from fptkit.files import LOCK


@contextlib.contextmanager
def only_us(folder: Path) -> Iterator[None]:
    """Make the folder and keep a second pretraining out of it. One in which nothing was written is removed again.

    Raises:
        UsageError: another process is at work there, or the folder cannot be made.
    """
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:  # an OSError too, so it comes first
        raise UsageError(f"another pretraining is at work in {folder}") from None
    except (OSError, NotImplementedError) as err:  # the latter: a file system without locks
        raise UsageError(f"the output folder {folder} cannot be used: {err}") from err
    try:
        yield
    finally:
        unused = folder.is_dir() and {path.name for path in folder.iterdir()} <= {LOCK}
        if unused:  # While it is still ours: whoever comes later makes and locks a new file.
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        if unused:
            with contextlib.suppress(OSError):
                folder.rmdir()
