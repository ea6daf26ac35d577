"""Files ``.ts``: against aeon's reader and writer, and the faults of such files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fptkit.errors import DataError
from fptkit.tasks.series.ts_file import read_ts
from fptkit.tasks.series.tsv import looks_like_ucr, read_tsv

HEAD = "@problemName X\n@univariate false\n@classLabel true a b\n@data\n"


def write(tmp_path: Path, text: str, name: str = "x.ts") -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_channels_missing_values_and_classes(tmp_path: Path) -> None:
    read = read_ts(write(tmp_path, HEAD + "1,2,3:4,?,6:b\n7,8:9,10:a\n"))
    np.testing.assert_array_equal(read.series[0], [[1, 4], [2, np.nan], [3, 6]])
    np.testing.assert_array_equal(read.series[1], [[7, 9], [8, 10]])
    assert (read.labels, read.classes, read.lines) == (("b", "a"), ("a", "b"), (5, 6))


def test_numbers_as_targets(tmp_path: Path) -> None:
    read = read_ts(write(tmp_path, "@targetLabel true\n@data\n1,2:0.5\n3,4:-7\n"))
    assert read.labels == ("0.5", "-7")
    assert read.classes == ()
    with pytest.raises(DataError, match=r"x.ts:3, target: 'fast' is not a number"):
        read_ts(write(tmp_path, "@targetLabel true\n@data\n1,2:fast\n"))


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("regression", [True, False])
def test_as_aeon_writes_and_reads(tmp_path: Path, equal: bool, regression: bool) -> None:
    datasets = pytest.importorskip("aeon.datasets", exc_type=ImportError)
    chance = np.random.default_rng(0)
    series = [chance.normal(size=(3, 20 if equal else 10 + number)) for number in range(8)]
    labels = chance.normal(size=8) if regression else np.array(["a", "b"] * 4)
    stored = np.stack(series) if equal else series
    datasets.save_to_ts_file(
        stored, labels, label_type="regression" if regression else "classification", path=str(tmp_path)
    )
    path = next(tmp_path.glob("*.ts"))
    expected, names = datasets.load_from_ts_file(str(path))
    read = read_ts(path)
    for ours, theirs in zip(read.series, expected, strict=True):
        np.testing.assert_array_equal(ours, np.asarray(theirs).T)
    assert [type(names[0])(label) for label in read.labels] == list(names)


@pytest.mark.parametrize("name", ["GunPoint", "JapaneseVowels", "BasicMotions", "UnitTest", "ItalyPowerDemand"])
def test_the_files_that_aeon_ships(name: str) -> None:
    datasets = pytest.importorskip("aeon.datasets", exc_type=ImportError)
    path = Path(datasets.__file__).parent / "data" / name / f"{name}_TRAIN.ts"
    expected, labels = datasets.load_from_ts_file(str(path))
    read = read_ts(path)
    assert [label.lower() for label in read.labels] == list(labels)  # aeon lowers all text
    for ours, theirs in zip(read.series, expected, strict=True):
        np.testing.assert_array_equal(ours, np.asarray(theirs).T)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n", r":1: expected a header line"),
        ("@\n", r":1: expected a header line"),
        ("@ \t\n@data\n", r":1: expected a header line"),
        ("@clasLabel true a b\n", r":1: unknown header key '@clasLabel'. Did you mean '@classlabel'"),
        ("@problemName X\n", "no line '@data'"),
        (HEAD, "no series follows '@data'"),
        (HEAD + "1,2:c\n", r":5: unknown class 'c'"),
        (HEAD + "1,x:a\n", r":5, channel 1: 'x' is not a number"),
        (HEAD + "1,1_0:a\n", r":5, channel 1: '1_0' is not a number"),
        (HEAD + "1,2:3:a\n", "channels of different lengths"),
        (HEAD + "1,2:a\n1,2:3,4:b\n", r":6: 2 channels, but line 5 has 1"),
        (HEAD + "?,?:a\n", r":5: every value of the series is missing"),
        ("@timestamps true\n@data\n", "time stamps are not supported"),
    ],
)
def test_faults(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_ts(write(tmp_path, text))


def test_plain_files_of_the_archive(tmp_path: Path) -> None:
    tabs = read_tsv(write(tmp_path, "1\t0.5\t2\n-1\t3\tNaN\n", "x.tsv"))
    blanks = read_tsv(write(tmp_path, "  1.0000000e+00   5.0e-01   2.0\n -1.0  3.0 NaN\n", "x.txt"))
    for read in (tabs, blanks):
        assert read.labels == ("1", "-1")
        assert [each[:, 0].tolist() for each in read.series] == [[0.5, 2], [3]]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1\t0.5\t2", True),
        ("up\t0.5\tNaN", True),
        ("1\t0\t0\t0", True),
        ("label\t0\t1\t2", False),
        ("label\t1\t2\t3", False),
        ("id\ttime\tvalue", False),
        ("1", False),
    ],
)
def test_a_line_of_values_and_a_line_of_names(tmp_path: Path, line: str, expected: bool) -> None:
    assert looks_like_ucr(write(tmp_path, line + "\n", "x.tsv")) == expected


def test_one_rule_for_the_same_label(tmp_path: Path) -> None:
    header = "@univariate true\n@classLabel true 1 2.0\n@data\n"
    found = read_ts(write(tmp_path, header + "1,2,3:1.0\n3,2,1: 2\n"))
    assert found.labels == ("1", "2")
    assert found.classes == ("1", "2")


def test_a_count_of_any_length(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be followed by a whole number >= 1, got"):
        read_ts(write(tmp_path, "@dimensions " + "9" * 5000 + "\n@data\n1,2:a\n"))
