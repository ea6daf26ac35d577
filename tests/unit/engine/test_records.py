"""A metrics file on a disk that is full: the first fault is raised, and closing does not hide it."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

from fptkit.engine.events import Validated
from fptkit.engine.records import MetricsFile
from fptkit.errors import TrainingError


class Full(io.RawIOBase):
    """A disk without space."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def on_a_full_disk(path: Path) -> MetricsFile:
    file = MetricsFile(path)
    file._file.close()
    file._file = io.TextIOWrapper(io.BufferedWriter(Full()), encoding="utf-8")
    return file


def test_a_full_disk_is_raised_once(tmp_path: Path) -> None:
    file = on_a_full_disk(tmp_path / "metrics.jsonl")
    with pytest.raises(OSError, match="No space left"):
        file.handle(Validated(1, {"accuracy": 0.5}, best=True))
    file.close()


def test_a_fault_in_closing_alone_names_the_file(tmp_path: Path) -> None:
    file = on_a_full_disk(tmp_path / "metrics.jsonl")
    file._file.write("not yet on the disk")
    with pytest.raises(TrainingError, match=r"metrics\.jsonl cannot be written: .*No space left"):
        file.close()
