"""The metrics file: what a resumed run keeps of it, lines that are damaged, and a disk that is full."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
from pathlib import Path

import pytest

from fptkit.engine.events import Validated
from fptkit.engine.records import MetricsFile, read_metrics, undamaged
from fptkit.errors import CheckpointError, DataError, TrainingError
from fptkit.lab.studies.efficiency import validation_curve
from fptkit.lab.studies.watching import see_run


def written(path: Path, count: int = 3) -> dict[str, object]:
    """A file of some lines; returns its facts."""
    with contextlib.closing(MetricsFile(path)) as file:
        for step in range(count):
            file.handle(Validated(step, {"loss": 0.5}, False))
        return file.facts()


def test_a_resumed_run_keeps_the_lines_of_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    facts = written(path, 2)
    before = path.read_bytes()
    assert facts["lines"] == 2
    path.write_bytes(before + b'{"step": 9, "split": "validation"}\n')
    with contextlib.closing(MetricsFile(path, keep_lines=2, digest=str(facts["digest"]))) as again:
        assert again.facts() == facts
    assert path.read_bytes() == before
    assert written(tmp_path / "whole.jsonl", 2) == facts


@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize(
    ("old", "new"), [(b"0.5", b"0.6"), (b'"step"', b'"ztep"'), (b"{", b"["), (b"validation", b"\xff\xfe")]
)
def test_altered_lines_are_refused(tmp_path: Path, old: bytes, new: bytes, digest: bool) -> None:
    path = tmp_path / "metrics.jsonl"
    facts = written(path)
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    known = str(facts["digest"]) if digest else ""  # an earlier version recorded none
    if not digest and new == b"0.6":
        MetricsFile(path, keep_lines=3).close()
        return
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl(:1 is damaged| was altered)"):
        MetricsFile(path, keep_lines=3, digest=known)


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path)
    path.write_bytes(path.read_bytes() + b'{"step": 9, "spl')  # a run that was killed
    assert [record["step"] for record in read_metrics(path)] == [0, 1, 2]
    path.write_text(json.dumps({"step": 1.5, "split": "validation"}) + "\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl:1 is damaged"):
        read_metrics(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_metrics(tmp_path / "none.jsonl")


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


NO_LINES = [
    *("", "{", "[]", '["validation"]', "1", '"validation"', "null", "\ud800", "[" * 100_000),
    *('{"split": "validation"}', '{"step": 1}', '{"step": 1, "split": 2}', '{"step": null, "split": "validation"}'),
    *('{"step": Infinity, "split": "validation"}', '{"step": NaN, "split": "validation"}'),
    *('{"step": -1, "split": "validation"}', '{"step": 1.5, "split": "validation"}'),
    *('{"step": "1", "split": "validation"}', '{"step": true, "split": "validation"}'),
    *('{"step": [1], "split": "validation"}', '{"step": 1e3, "split": "validation"}'),
    *('{"step": ' + "9" * digits + ', "split": "validation"}' for digits in (16, 400, 5000)),
]


@pytest.mark.parametrize("damaged", NO_LINES, ids=range(len(NO_LINES)))
def test_readers_leave_damaged_lines_out(tmp_path: Path, damaged: str) -> None:
    good = '{"step": 2, "split": "validation", "loss": 0.5, "words": "a"}'
    (tmp_path / "metrics.jsonl").write_text(f"{damaged}\n{good}\n{good[:-9]}", "utf-8", "surrogatepass")
    assert list(undamaged([damaged, good, good[:-9]])) == [json.loads(good)]
    assert validation_curve(tmp_path, "loss") == {2: 0.5}
    assert validation_curve(tmp_path, "words") == {}
    assert see_run(tmp_path).step == 2


@pytest.mark.parametrize("value", ["9" * 400, "-" + "9" * 5000, "Infinity", "-Infinity", "NaN", "null", '"0.5"', "[]"])
def test_values_that_are_no_finite_numbers_are_not_on_a_curve(tmp_path: Path, value: str) -> None:
    lines = [f'{{"step": {step}, "split": "validation", "loss": {loss}}}\n' for step, loss in ((1, 0.5), (2, value))]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    assert validation_curve(tmp_path, "loss") == {1: 0.5}
    assert see_run(tmp_path).step == (1 if "999" in value else 2)  # the line of a number that is too large is damaged
