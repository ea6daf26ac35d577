"""Class folders: which pictures are read, their classes and splits; compared with torchvision's ImageFolder."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from fptkit.errors import DataError, SourceError
from fptkit.tasks.images.folders import class_folders, find_pictures


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, format="PNG")
    return folder


def source(folder: Path) -> dict[str, tuple[str, ...]]:
    return {"all": (f"path:{folder}",)}


def test_classes_are_those_of_torchvision(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/x/2.PNG", "b/3.jpeg", "b/y/z/4.bmp")
    found = class_folders(source(tmp_path))
    dataset = ImageFolder(str(tmp_path))
    expected = {Path(path): dataset.classes[number] for path, number in dataset.samples}
    assert dict(found.classes) == expected
    assert found.inner[tmp_path / "b/y/z/4.bmp"] == "y/z"
    assert found.files.notes == ("2 pictures are in folders inside their class folder, and have its class",)


def test_deepest_folders(tmp_path: Path) -> None:
    put(tmp_path, "animals/cat/1.png", "animals/dog/2.png", "cars/3.png")
    found = class_folders(source(tmp_path), class_folder="deepest")
    assert sorted(found.classes.values()) == ["animals/cat", "animals/dog", "cars"]


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png", "a/without", "loose.png", "a/.hidden.png", ".cache/a/3.png")
    for name in ("a/notes.txt", "a/README", "b/movie.mp4", "b/photo.heic", "a/Thumbs.db", "a/.DS_Store"):
        (tmp_path / name).write_text("x")
    (tmp_path / "c").mkdir()
    found = class_folders(source(tmp_path))
    assert [path.name for path in found.files.files] == ["1.png", "without", "2.png"]
    assert found.files.notes == (
        "4 files passed over: .heic 1, .mp4 1, .txt 1, without an ending 1",
        "1 pictures outside the class folders are not used, such as loose.png",
    )
    assert found.warnings == (f"folders without pictures, which are no classes: {tmp_path.name}/c",)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train/a/1.png", "train/b/2.png", "val/a/3.png", "test/b/4.png"), {"train": 2, "validation": 1, "test": 1}),
        (("Training/a/1.png", "Testing/b/2.png"), {"train": 1, "test": 1}),
        (("a/train/1.png", "b/train/2.png", "a/test/3.png"), {"train": 2, "test": 1}),
        (("data/train/a/1.png", "data/valid/a/2.png"), {"train": 1, "validation": 1}),
        (("data/inner/a/1.png", "data/inner/b/2.png"), {"all": 2}),
        (("train/a/1.png", "train/b/2.png", "test/3.png", "test/4.png"), {"train": 2}),
        (("a/train/1.png", "b/front/2.png"), {"all": 2}),
    ],
)
def test_splits_by_folders(tmp_path: Path, names: tuple[str, ...], splits: dict[str, int]) -> None:
    found = class_folders(source(put(tmp_path / "x", *names)))
    assert {name: len(files) for name, files in found.files.splits.items()} == splits
    assert set(found.classes.values()) <= {"a", "b"}


def test_a_test_folder_without_classes_is_said(tmp_path: Path) -> None:
    found = class_folders(source(put(tmp_path, "train/a/1.png", "train/b/2.png", "test/3.png")))
    assert found.files.notes == ("1 pictures of test are not used: they are in no class folder",)


def test_own_splits_may_be_pooled(tmp_path: Path) -> None:
    put(tmp_path, "a/train/1.png", "b/test/2.png", "a/test/3.png")
    assert list(class_folders(source(tmp_path), own=False).files.splits) == ["all"]


def test_folders_in_circles_end(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert len(class_folders(source(tmp_path)).files.files) == 2


def test_places_without_classes(tmp_path: Path) -> None:
    put(tmp_path / "flat", "1.png", "2.png")
    with pytest.raises(DataError, match="2 pictures, but none in a class folder; put them into a folder for"):
        class_folders(source(tmp_path / "flat"))
    (tmp_path / "flat" / "labels.csv").write_text("path,label\n")
    with pytest.raises(DataError, match=r"name the table that has their labels: path:.*labels\.csv"):
        class_folders(source(tmp_path / "flat"))
    (tmp_path / "empty").mkdir()
    for place in ("empty", "absent"):
        with pytest.raises(SourceError):
            class_folders(source(tmp_path / place))
    (tmp_path / "names" / "a").mkdir(parents=True)
    (tmp_path / "names" / "a" / "README").write_text("x")
    with pytest.raises(SourceError, match="no pictures"):
        find_pictures(source(tmp_path / "names"))
