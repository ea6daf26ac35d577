"""Files of a source, own splits, and what is passed over."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from fptkit.errors import DataError, SourceError
from fptkit.tasks.reading.paths import find_files, inner_folder, own_splits, shown_source, split_of


def made(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return folder


def found(*entries: str | Path, own: bool = True, deep: bool = True) -> Mapping[str, list[str]]:
    files = find_files({"all": [f"path:{entry}" for entry in entries]}, (".csv", ".txt"), own=own, deep=deep)
    return {split: [path.name for path in paths] for split, paths in files.splits.items()}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("val", "validation"),
        ("valid", "validation"),
        ("dev", "validation"),
        ("TEST", "test"),
        ("GunPoint_TRAIN", "train"),
        ("basic_val", "validation"),
        ("data.test", "test"),
        ("x_train", "train"),
        ("test_fold_holdout", "test_fold_holdout"),
        ("train_stations", None),
        ("contest", None),
        ("trains", None),
        ("cats", None),
    ],
)
def test_the_split_that_a_name_says(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_own_splits_need_train_and_another() -> None:
    assert own_splits(["train", "val", "notes"], "f") == {"train": "train", "val": "validation"}
    assert own_splits(["test", "val"], "f") == {}
    assert own_splits(["train"], "f") == {}
    with pytest.raises(DataError, match="f: several parts say that they are validation: val, valid"):
        own_splits(["train", "val", "valid"], "f")


def test_a_file_and_a_folder(tmp_path: Path) -> None:
    made(tmp_path, "b.csv", "a.csv.gz", "sub/c.txt", "d.jpg", "e", ".DS_Store", ".git/x.csv", "Thumbs.db")
    assert found(tmp_path / "b.csv") == {"all": ["b.csv"]}
    assert found(tmp_path) == {"all": ["a.csv.gz", "b.csv", "c.txt"]}
    assert found(tmp_path, deep=False) == {"all": ["a.csv.gz", "b.csv"]}
    assert found(tmp_path / "b.csv", tmp_path / "sub") == {"all": ["b.csv", "c.txt"]}
    files = find_files({"all": [f"path:{tmp_path}"]}, (".csv",))
    assert files.notes == ("3 files passed over: .jpg 1, .txt 1, without an ending 1",)
    assert files.base[tmp_path / "b.csv"] == tmp_path


def test_folders_of_splits_come_before_files_of_splits(tmp_path: Path) -> None:
    made(tmp_path, "train/a/1.txt", "valid/a/2.txt", "test/b/3.txt", "train.csv", "test.csv", "extra/4.txt")
    assert found(tmp_path) == {"test": ["3.txt"], "train": ["1.txt"], "validation": ["2.txt"]}
    files = find_files({"all": [f"path:{tmp_path}"]}, (".csv", ".txt"))
    assert [path.name for path in files.passed_over] == ["4.txt", "test.csv", "train.csv"]
    assert sorted(found(tmp_path, own=False)["all"]) == ["1.txt", "2.txt", "3.txt", "4.txt", "test.csv", "train.csv"]


def test_files_of_splits(tmp_path: Path) -> None:
    made(tmp_path, "train.csv", "val.csv.gz", "test.csv", "notes.txt")
    assert found(tmp_path) == {"test": ["test.csv"], "train": ["train.csv"], "validation": ["val.csv.gz"]}


def test_the_other_files_of_a_pair_are_found(tmp_path: Path) -> None:
    made(tmp_path, "Gun_TRAIN.csv", "Gun_TEST.csv", "Other_TEST.csv", "Gun_TEST.txt")
    assert found(tmp_path / "Gun_TRAIN.csv") == {"train": ["Gun_TRAIN.csv"], "test": ["Gun_TEST.csv"]}
    assert found(tmp_path / "Gun_TRAIN.csv", own=False) == {"all": ["Gun_TRAIN.csv"]}
    assert found(tmp_path / "Gun_TEST.csv") == {"all": ["Gun_TEST.csv"]}


def test_named_splits(tmp_path: Path) -> None:
    made(tmp_path, "a.csv", "b.csv", "c/d.csv")
    source = {
        "train": [f"path:{tmp_path / 'a.csv'}", f"path:{tmp_path / 'c'}"],
        "test_far": [f"path:{tmp_path / 'b.csv'}"],
    }
    files = find_files(source, (".csv",))
    assert {split: [p.name for p in paths] for split, paths in files.splits.items()} == {
        "train": ["a.csv", "d.csv"],
        "test_far": ["b.csv"],
    }
    assert len(files.files) == 3


def test_patterns_and_names_with_brackets(tmp_path: Path) -> None:
    made(tmp_path, "a1.csv", "a2.csv", "[x]*.csv", "x.csv")
    assert found(f"{tmp_path}/a*.csv") == {"all": ["a1.csv", "a2.csv"]}
    assert found(f"{tmp_path}/[x]*.csv") == {"all": ["[x]*.csv"]}
    with pytest.raises(SourceError, match="no file or folder has a name of this pattern"):
        found(f"{tmp_path}/b*.csv")


def test_nothing_there(tmp_path: Path) -> None:
    made(tmp_path, "a/b.jpg")
    with pytest.raises(SourceError, match="there is no file or folder"):
        found(tmp_path / "absent")
    with pytest.raises(SourceError, match=r"no file .csv, .txt in .*a; it has .jpg 1"):
        found(tmp_path / "a")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipes_and_dead_links_are_said_and_never_opened(tmp_path: Path) -> None:
    made(tmp_path, "a.csv", "sub/b.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    os.mkfifo(tmp_path / "sub" / "pipe.txt")
    (tmp_path / "dead.csv").symlink_to(tmp_path / "absent")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    files = find_files({"all": [f"path:{tmp_path}"]}, (".csv",))
    assert [path.name for path in files.files] == ["a.csv", "b.csv"]
    assert files.notes == ("5 files passed over: links to nothing or in circles 3, pipes or devices 2",)
    with pytest.raises(DataError, match=r"pipe\.csv: neither a file nor a folder, but a pipe or device; copy"):
        found(tmp_path / "pipe.csv")
    assert found(f"{tmp_path}/*.csv") == {"all": ["a.csv"]}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipes_beside_own_splits(tmp_path: Path) -> None:
    made(tmp_path, "train/a.csv", "test/b.csv")
    os.mkfifo(tmp_path / "pipe")
    assert find_files({"all": [f"path:{tmp_path}"]}, (".csv",)).notes == ("1 files passed over: pipes or devices 1",)


def test_a_link_from_a_split_to_the_whole_is_a_circle(tmp_path: Path) -> None:
    made(tmp_path, "train/a/1.csv", "test/a/2.csv")
    for place in ("train/a/all", "all"):
        (tmp_path / place).symlink_to(tmp_path)
    files = find_files({"all": [f"path:{tmp_path}"]}, (".csv",))
    assert {split: [path.name for path in some] for split, some in files.splits.items()} == {
        "train": ["1.csv"],
        "test": ["2.csv"],
    }
    assert files.notes == ("2 files passed over: links to nothing or in circles 2",)


def test_a_folder_with_nothing_but_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    assert inner_folder(tmp_path) == tmp_path / "loop"


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-has-this-name/x"])
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(SourceError, match=r"Check the path\."):
        found(name)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the administrator may read everything")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_locked_folders(tmp_path: Path, mode: int) -> None:
    made(tmp_path, "locked/sub/a.csv", "b.csv")
    (tmp_path / "locked").chmod(mode)
    try:
        for place in (tmp_path, tmp_path / "locked", tmp_path / "locked" / "sub"):
            with pytest.raises((DataError, SourceError), match="Permission denied"):
                found(place)
    finally:
        (tmp_path / "locked").chmod(0o755)


def test_a_source_as_text() -> None:
    assert shown_source({"all": ("path:a", "path:b")}) == "path:a, path:b"
    assert shown_source({"train": ("path:a",), "test": ("path:b", "path:c")}) == "train path:a, test path:b path:c"
