"""Inputs that do not fit: one clear line, exit status 2 or 3, and no output file, for every format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("pandas")
pytest.importorskip("scipy")

import numpy as np
from command_line import fptkit
from new_files import CASES, Case

pytestmark = pytest.mark.slow


def _text(content: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _wav(rate: int, count: int = 400) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        from scipy.io import wavfile

        wavfile.write(path, rate, np.arange(count, dtype=np.int16))

    return write


def _npz(**arrays: object) -> Callable[[Path], object]:
    return lambda path: np.savez(path, **arrays)


def _truncated_png(path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:300])


BAD: list[tuple[str, str, Callable[[Path], object], str]] = [
    ("table", "empty.csv", _text(""), "no rows"),
    ("table", "header.csv", _text("size,place\n"), "no rows"),
    ("table", "width.csv", _text("size\n1\n"), "no column 'place'"),
    ("table", "word.csv", _text("size,place\nlarge,wood\n"), "column 'size' has numbers, but here 'large'"),
    ("table", "infinite.csv", _text("size,place\n1e999,wood\n"), "infinite or too large"),
    ("table", "binary.csv", _text(bytes(range(256))), "binary data instead of text"),
    ("table", "ragged.csv", _text("size,place\n1,wood\n2\n"), "ragged.csv:3"),
    ("images", "empty.png", _text(""), "empty.png"),
    ("images", "text.png", _text("no picture"), "text.png"),
    ("images", "truncated.png", _truncated_png, "truncated.png"),
    ("images", "sound.wav", _wav(8000), "sound.wav"),
    ("arrays", "empty.npz", _text(""), "the file is empty"),
    ("arrays", "width.npz", _npz(x=np.zeros((3, 6))), r"shape \(6,\); expected \(5\)"),
    ("arrays", "nan.npz", _npz(x=np.full((3, 5), np.nan)), "the value at .0. is nan"),
    ("arrays", "words.npz", _npz(x=np.array([["a"] * 5])), "instead of numbers"),
    ("arrays", "damaged.npz", _text(b"PK\x03\x04 and nothing else"), "damaged.npz"),
    ("arrays", "none.npz", _npz(one=np.zeros((3, 5)), two=np.zeros((3, 5))), "no array is known to have the inputs"),
    ("arrays with a class at every step", "long.npz", _npz(x=np.zeros((3, 8, 3))), "8 steps, but the longest"),
    ("audio", "empty.wav", _text(""), "empty.wav"),
    ("audio", "low.wav", _wav(4000), "4,000 samples per second, but the training recordings have 8,000"),
    ("audio", "strange.wav", _wav(8), "8 samples per second, expected"),
    ("audio", "text.wav", _text("no sound at all"), "text.wav"),
    ("audio", "table.csv", _text("path\nnowhere.wav\n"), "nowhere.wav"),
    ("series scaled by train", "empty.csv", _text(""), "no rows"),
    ("series scaled by train", "width.csv", _text("id,time,x\n1,1,2.0\n1,2,3.0\n"), "no channel 'y'"),
    ("series scaled by train", "word.csv", _text("id,time,x,y\n1,1,2.0,low\n1,2,3.0,4\n"), "word.csv:2"),
    (
        "forecast scaled by window",
        "short.csv",
        _text("date,load,heat\n2024-01-01,1,2\n2024-01-02,3,4\n"),
        "2 steps, but",
    ),
    ("sequences", "empty.fasta", _text(""), "no records"),
    ("sequences", "symbols.fasta", _text(">a\nACGTJ\n"), "unknown symbol 'J' at position 5"),
    ("sequences", "headless.fasta", _text("ACGT\n"), "expected a header"),
    ("sequences with a class at every symbol", "column.csv", _text("letters\nACGT\n"), "no column 'sequence'"),
    ("sequences with a class at every symbol", "long.csv", _text("sequence\n" + "A" * 90 + "\n"), "90 symbols, but"),
    ("text as bytes", "empty.csv", _text(""), "no rows"),
    ("text as bytes", "blank.csv", _text('review,b\n"",1\n'), "the text is empty"),
    ("text as bytes", "column.csv", _text("words\nfine\n"), "no column 'review'"),
    ("text as bytes", "latin.csv", _text("review\nd\xe9j\xe0 vu\n".encode("latin-1")), "not UTF-8"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPTKIT_DATA", str(tmp_path_factory.mktemp("cache")))
        yield {name: CASES[name](tmp_path_factory.mktemp("case")) for name in dict.fromkeys(one[0] for one in BAD)}


@pytest.mark.parametrize(("case", "name", "write", "message"), BAD, ids=[f"{one[0]}, {one[1]}" for one in BAD])
def test_a_file_that_does_not_fit(
    runs: dict[str, Case], tmp_path: Path, case: str, name: str, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / name)
    done = fptkit("predict", runs[case].run, tmp_path / name, "--output", tmp_path / "out.csv")
    assert done.returncode in (2, 3), done.stderr
    [line] = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert line.startswith("error: ")
    assert re.search(message, line), line
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_a_bad_file_among_good_ones_leaves_no_output(runs: dict[str, Case], tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("size,place\n1,wood\n" * 1 + "x,wood\n")
    done = fptkit(
        "predict", runs["table"].run, runs["table"].new, tmp_path / "bad.csv", "--output", tmp_path / "o.parquet"
    )
    assert done.returncode == 3
    assert "bad.csv:3" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_wrong_labels_do_no_harm(runs: dict[str, Case], tmp_path: Path) -> None:
    """A column of labels in a file to predict may hold anything."""
    (tmp_path / "new.csv").write_text("size,place,species\n50,wood,unheard of\n60,garden,\n")
    done = fptkit("predict", runs["table"].run, tmp_path / "new.csv")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    done = fptkit("evaluate", runs["table"].run, "--source", tmp_path / "new.csv")
    assert done.returncode == 3
    assert "new.csv:2: unknown label 'unheard of'" in done.stderr
