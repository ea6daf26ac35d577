"""Reading series from files, good and bad; every file is written by its test."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fptkit_timeseries.archive import open_source
from fptkit_timeseries.arrays import read_labelled
from fptkit_timeseries.tables import read_csv

from fptkit.errors import DataError
from fptkit.sources import Unavailable
from fptkit.tasks.series.ts_file import read_ts
from fptkit.tasks.series.tsv import read_tsv

HEADER = """# a comment, with a strange character: \xe9
@problemName Toy
@timeStamps false
@missing true
@univariate false
@dimensions 2
@equalLength false
@classLabel true up down
@data
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_ts_holds_channels_lengths_and_classes(tmp_path: Path) -> None:
    file = read_ts(write(tmp_path / "a.ts", HEADER + "1,2,3:4,?,6:up\n\n7.5,8:9,-1e2:down\n"))
    assert file.classes == ("up", "down")
    assert file.labels == ("up", "down")
    assert file.lines == (10, 12)
    np.testing.assert_array_equal(file.series[0], [[1, 4], [2, np.nan], [3, 6]])
    np.testing.assert_array_equal(file.series[1], [[7.5, 9], [8, -100]])


def test_ts_without_classes_and_with_other_spellings(tmp_path: Path) -> None:
    text = "@PROBLEMNAME x\n@Univariate TRUE\n@classlabel false\n@DATA\n1,2,?\n3,4,5\n"
    file = read_ts(write(tmp_path / "a.ts", text))
    assert file.labels == ()
    assert [len(series) for series in file.series] == [2, 3]  # a missing end is no step


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (HEADER + "1,2:3,4:up\n1,2,3:4,5:up\n", 11, "different lengths, 2 to 3,"),
        (HEADER + "1,2:3,4:sideways\n", 10, "unknown class 'sideways'"),
        (HEADER + "1,2:3,4:5,6:up\n", 10, "3 channels"),
        (HEADER + "1,two:3,4:up\n", 10, "'two' is not a number"),
        (HEADER + "1,inf:3,4:up\n", 10, "infinite"),
        (HEADER + "?,?:?,?:up\n", 10, "every value"),
        (HEADER.replace("@equalLength false", "@equalLength true") + "1,2:3,4:up\n1:2:up\n", 11, "'@equalLength true'"),
        ("@equalLength true\n@seriesLength 3\n@data\n1,2\n", 4, "'@seriesLength 3'"),
        ("@clasLabel true a b\n@data\n1\n", 1, "Did you mean '@classlabel'"),
        ("@timeStamps true\n@data\n", 1, "time stamps"),
        ("@classLabel true only\n@data\n", 1, "two or more different classes"),
        ("@univariate maybe\n@data\n", 1, "true or false"),
        ("@dimensions none\n@data\n", 1, "a whole number >= 1"),
        ("1,2,3\n", 1, "before '@data'"),
        ("@data\n1,2\n3:4\n", 3, "2 channels, but line 2 has 1"),
    ],
)
def test_ts_faults_have_a_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = write(tmp_path / "a.ts", text)
    with pytest.raises(DataError) as caught:
        read_ts(path)
    assert str(caught.value).startswith(f"{path}:{line}")
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "@problemName x\n", "@problemName x\n@data\n"])
def test_ts_without_data(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="@data"):
        read_ts(write(tmp_path / "a.ts", text))


def test_tsv_cuts_the_filling_and_keeps_holes(tmp_path: Path) -> None:
    file = read_tsv(write(tmp_path / "a.tsv", "-1\t1\tNaN\t3\n1\t4\t5\tNaN\n"))
    assert file.labels == ("-1", "1")
    np.testing.assert_array_equal(file.series[0][:, 0], [1, np.nan, 3])
    np.testing.assert_array_equal(file.series[1][:, 0], [4, 5])


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("1\t2\t3\n1\t2\n", 2, "1 values, but line 1 has 2"),
        ("1 2 3\n", 1, "tab-separated"),
        ("1\tx\n", 1, "not a number"),
    ],
)
def test_tsv_faults_have_a_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = write(tmp_path / "a.tsv", text)
    with pytest.raises(DataError) as caught:
        read_tsv(path)
    assert str(caught.value).startswith(f"{path}:{line}")
    assert words in str(caught.value)


def test_csv_takes_the_columns_of_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "date,load,wind\n2020-01-01,1,\n2020-01-02,2,5\n")
    read = read_csv(path, None)
    assert (read.names, read.left_out, read.notes) == (("load", "wind"), ("date",), ())
    np.testing.assert_array_equal(read.values, [[1, np.nan], [2, 5]])
    assert read_csv(path, ["wind"]).names == ("wind",)


def test_rows_out_of_order_are_sorted_and_clocks_are_no_series(tmp_path: Path) -> None:
    days = [3, 1, 2, 5, 4, 6, 7, 8, 9, 10]
    rows = [f"2020-01-{day:02d},{1577836800 + 86400 * day},{day * day}" for day in days]
    read = read_csv(write(tmp_path / "a.csv", "\n".join(["date,epoch,load", *rows])), None)
    assert read.values[:, -1].tolist() == [day * day for day in sorted(days)]
    assert read.names == ("load",)
    assert "sorted by column 'date'" in read.notes[0]
    in_order = [f"{1577836800 + 86400 * day},{day * day}" for day in sorted(days)]
    clock = read_csv(write(tmp_path / "b.csv", "\n".join(["epoch,load", *in_order])), None)
    assert clock.names == ("load",)
    assert "epoch" in clock.notes[0]
    assert read_csv(tmp_path / "b.csv", ["epoch"]).names == ("epoch",)


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("a,b\n1,2\n3\n", None, ":3: 1 cells"),
        ("a,b\n1,2\nx,4\n", None, ":3: column 'a' has numbers, but here 'x'"),
        ("a,a\n1,2\n", None, ":1: two columns have the name 'a'"),
        ("a,b\n1,2\n", ["c"], "no column 'c'"),
        ("a,b\nx,y\n", None, "no column of numbers"),
        ("a,b\n", None, "no rows"),
        ("", None, "no rows"),
    ],
)
def test_csv_faults(tmp_path: Path, text: str, columns: list[str] | None, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_csv(write(tmp_path / "a.csv", text), columns)
    assert words in str(caught.value)


def arrays(**changes: object) -> dict[str, np.ndarray]:
    good = {
        "x_train": np.arange(24.0).reshape(4, 3, 2),
        "y_train": np.array([3, 3, 7, 7]),
        "x_test": np.zeros((1, 3, 2)),
        "y_test": np.array([7]),
    }
    return {name: np.asarray(value) for name, value in {**good, **changes}.items() if value is not None}


def test_npz_numbers_labels_and_cuts_at_offsets(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    splits, classes = read_labelled(tmp_path / "a.npz")
    assert (classes, splits["train"].labels.tolist(), splits["test"].labels.tolist()) == (2, [0, 0, 1, 1], [1])
    flat = np.arange(12.0).reshape(6, 2)
    np.savez(tmp_path / "b.npz", **arrays(x_train=flat, offsets_train=[0, 1, 2, 4, 6]))
    series = read_labelled(tmp_path / "b.npz")[0]["train"].series
    assert [len(each) for each in series] == [1, 1, 2, 2]
    np.testing.assert_array_equal(series[3], flat[4:])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": None}, "no array 'y_test'"),
        ({"y_test": [5]}, r"y_test\[0\] is 5"),
        ({"y_train": [3, 3, 7]}, "4 series in x_train, 3 labels"),
        ({"y_train": [0.0, 1, 0, 1]}, "expected integers"),
        ({"y_train": [7, 7, 7, 7]}, "at least two"),
        ({"x_train": np.full((4, 3, 2), np.inf)}, "infinite"),
        ({"x_train": np.full((4, 3, 2), np.nan)}, "missing"),
        ({"x_train": np.zeros((6, 2)), "offsets_train": [0, 2, 2, 4, 6]}, "must rise"),
        ({"x_train": np.zeros((6, 2)), "offsets_train": [0, 1, 2, 4, 9]}, "must rise"),
        ({"classes": ["a", "b"]}, "not among the classes 0 ... 1"),
    ],
)
def test_npz_faults(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays(**changes))
    with pytest.raises(DataError, match=words):
        read_labelled(tmp_path / "a.npz")


def test_npz_that_is_none_or_holds_objects(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match="truncated"):
        read_labelled(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x_train=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="Python objects"):
        read_labelled(tmp_path / "b.npz")


def test_a_pair_is_found_by_folder_file_and_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "time_series" / "Toy"
    folder.mkdir(parents=True)
    write(folder / "Toy_TRAIN.tsv", "10\t1\t2\n9\t3\t4\n")
    write(folder / "Toy_TEST.tsv", "10\t5\t6\n")
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path))
    for entry in (f"path:{folder}", f"path:{folder}/Toy_TRAIN.tsv", "archive:Toy"):
        splits, classes = open_source(entry)
        assert (classes, splits["test"].labels.tolist()) == (2, [1])  # 9 before 10: by number, not by letter
    with pytest.raises(Unavailable, match="no file or folder"):
        open_source("archive:Other")
    write(folder / "Toy_TEST.tsv", "11\t5\t6\n")
    with pytest.raises(DataError, match=r"Toy_TEST.tsv:1: unknown class '11'"):
        open_source("archive:Toy")
    (folder / "Toy_TEST.tsv").unlink()
    with pytest.raises(Unavailable, match="Toy_TEST"):
        open_source("archive:Toy")
    write(folder / "Other_TRAIN.tsv", "1\t2\n")
    with pytest.raises(DataError, match="several data sets"):
        open_source(f"path:{folder}")


@pytest.mark.parametrize(
    ("name", "train", "test", "classes", "channels", "longest"),
    [
        ("ecg5000", 500, 4499, 5, 1, 140),
        ("gunpoint", 50, 150, 2, 1, 150),
        ("japanese_vowels", 270, 370, 9, 12, 29),
    ],
)
def test_real_files(name: str, train: int, test: int, classes: int, channels: int, longest: int) -> None:
    folder = os.environ.get("FPTKIT_SHARED_DATA")
    if not folder:
        pytest.skip("no real series here (set FPTKIT_SHARED_DATA to the folder of timeseries_*.npz)")
    splits, count = open_source(f"path:{folder}/timeseries_{name}.npz")
    assert (len(splits["train"].labels), len(splits["test"].labels), count) == (train, test, classes)
    series = [*splits["train"].series, *splits["test"].series]
    assert {each.shape[1] for each in series} == {channels}
    assert max(map(len, series)) == longest


def test_train_and_test_must_agree(tmp_path: Path) -> None:
    write(tmp_path / "A_TRAIN.ts", "@classLabel true a b\n@data\n1,2:a\n3,4:b\n")
    write(tmp_path / "A_TEST.ts", "@classLabel true a c\n@data\n1,2:a\n")
    with pytest.raises(DataError, match="declares classes a, c"):
        open_source(f"path:{tmp_path}")
    write(tmp_path / "A_TEST.ts", "@classLabel true a b\n@data\n1,2:3,4:a\n")
    with pytest.raises(DataError, match="differ in channels"):
        open_source(f"path:{tmp_path}")
