"""The task ``images``: from pictures of other programs to batches, and from its preparation to predictions."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from fptkit.errors import DataError, SourceError, UsageError
from fptkit.tasks.own_images.options import ImagesOptions
from fptkit.tasks.own_images.preparation import ImagesPreparation
from fptkit.tasks.own_images.reader import files
from fptkit.tasks.own_images.task import Images


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def write_folders(folder: Path, classes: tuple[str, ...] = ("ant", "bee"), count: int = 20, side: int = 8) -> Path:
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = chance(100 * label + number).integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def task_of(place: Path | str, **options: Any) -> Images:
    return Images(ImagesOptions(source=f"path:{place}", **options), seed=0)


def all_of(task: Images, split: str = "train") -> Any:
    found = task.split(split)
    return found.batch(range(found.size), torch.Generator())


def test_class_folders(tmp_path: Path) -> None:
    task = task_of(write_folders(tmp_path, side=8))
    assert task.output.names == ("ant", "bee")
    assert task.input.size == (8, 8)
    assert task.input.channels == 3
    train = all_of(task).inputs
    assert train.shape == (28, 8, 8, 3)
    assert train.dtype == torch.float32
    assert torch.allclose(train.mean((0, 1, 2)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(train.std((0, 1, 2), unbiased=False), torch.ones(3), atol=1e-5)
    assert task.majority_accuracy["test"] == 0.5


def test_pixels_are_those_of_the_file(tmp_path: Path) -> None:
    task = task_of(write_folders(tmp_path))
    preparation = task.preparation
    assert isinstance(preparation, ImagesPreparation)
    found = preparation.prepare(preparation.read([f"path:{tmp_path / 'ant' / '3.png'}"])).inputs[0].numpy()
    stored = np.asarray(Image.open(tmp_path / "ant" / "3.png")) / 255
    assert np.allclose(found, (stored - preparation.mean) / preparation.deviation, atol=1e-5)


def test_numbered_folders_are_classes_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    task = task_of(write_folders(tmp_path, tuple(map(str, range(30))), count=4))
    assert task.output.names == tuple(map(str, range(30)))


def test_a_class_may_be_called_none(tmp_path: Path) -> None:
    assert task_of(write_folders(tmp_path, ("none", "nan", "some"))).output.names == ("nan", "none", "some")


def write_table(folder: Path, rows: int = 40, **columns: list[Any]) -> Path:
    write_folders(folder / "pictures", ("x",), rows)
    names = ["file_name", *columns]
    lines = [",".join(names)]
    lines += [
        ",".join([f"pictures/x/{row}.png", *(str(columns[name][row]) for name in columns)]) for row in range(rows)
    ]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


def test_a_table_of_classes(tmp_path: Path) -> None:
    task = task_of(write_table(tmp_path, label=["ab"[row % 2] for row in range(40)]))
    assert task.output.names == ("a", "b")
    assert [path.name for path in files(ImagesOptions(source="path:x"), f"path:{tmp_path / 'labels.csv'}")][:2] == [
        "labels.csv",
        "0.png",
    ]


def test_a_table_of_numbers_and_of_several_labels(tmp_path: Path) -> None:
    numbers = chance(1).normal(size=40)
    task = task_of(write_table(tmp_path / "n", age=list(numbers), height=list(-numbers)), target=("age", "height"))
    targets = all_of(task).targets
    assert targets.shape == (28, 2)
    assert torch.allclose(targets[:, 0], -targets[:, 1], atol=1e-5)
    labels = ["sky;sea", "sea", ""] * 13 + ["sky"]
    task = task_of(write_table(tmp_path / "l", tags=labels), separator=";")
    assert task.output.answers == ("sea", "sky")
    assert all_of(task).targets.shape == (28, 1, 2)


def test_splits_of_a_table(tmp_path: Path) -> None:
    rows = {"label": ["ab"[row % 2] for row in range(40)], "patient": [row // 4 for row in range(40)]}
    task = task_of(write_table(tmp_path, **rows), split={"group": "patient"})
    assert sum(task.split(name).size for name in ("train", "validation", "test")) == 40
    assert "by group (patient)" in task.notes[0]


def test_groups_of_folders_inside_class_folders(tmp_path: Path) -> None:
    for patient in range(8):
        write_folders(tmp_path / str(patient), ("ill", "well"), 3)
    for name in ("ill", "well"):
        for patient in range(8):
            (tmp_path / "all" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / str(patient) / name).rename(tmp_path / "all" / name / f"p{patient}")
    task = task_of(tmp_path / "all", split={"group": "subfolder"})
    assert all(task.split(name).size % 6 == 0 for name in ("train", "validation", "test"))


def test_the_preparation_is_enough_after_the_data_are_gone(tmp_path: Path) -> None:
    write_folders(tmp_path / "train", ("ant", "bee"))
    task = task_of(tmp_path / "train", size=(12, 8), resize="pad", background="#102030")
    (tmp_path / "new").mkdir()
    for number in range(5):
        pixels = chance(number).integers(0, 256, (30 + number, 20, 4), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "new" / f"{number}.png")
    assert task.preparation is not None
    before = task.preparation.prepare(task.preparation.read([f"path:{tmp_path / 'new'}"]))
    (tmp_path / "preparation.json").write_text(task.preparation.model_dump_json())
    shutil.rmtree(tmp_path / "train")
    later = ImagesPreparation.model_validate(json.loads((tmp_path / "preparation.json").read_text()))
    assert later == task.preparation
    examples = later.read([f"path:{tmp_path / 'new'}"])
    assert not examples.labels
    assert torch.equal(later.prepare(examples).inputs, before.inputs)
    alone = torch.cat([later.prepare(examples.take([row])).inputs for row in range(5)])
    assert torch.equal(alone, before.inputs)


def test_training_and_prediction_prepare_the_same(tmp_path: Path) -> None:
    task = task_of(write_folders(tmp_path, side=9), size=16)
    assert task.preparation is not None
    examples = task.preparation.read([f"path:{tmp_path}"])
    assert set(examples.labels) == {"class"}
    everything = task.preparation.prepare(examples)
    rows = {row.numpy().tobytes(): int(label) for row, label in zip(everything.inputs, everything.targets, strict=True)}
    for name in ("train", "validation", "test"):
        batch = all_of(task, name)
        assert [rows[row.numpy().tobytes()] for row in batch.inputs] == batch.targets.tolist()


def test_augmentation_is_of_training_pictures_only(tmp_path: Path) -> None:
    task = task_of(write_folders(tmp_path), augment=True)
    train = task.split("train")
    first = train.batch([0, 1], torch.Generator().manual_seed(1)).inputs
    assert torch.equal(first, train.batch([0, 1], torch.Generator().manual_seed(1)).inputs)
    assert not torch.equal(first, train.batch([0, 1], torch.Generator().manual_seed(2)).inputs)
    plain = train.plain().batch([0, 1], torch.Generator().manual_seed(1)).inputs
    assert torch.equal(plain, train.plain().batch([0, 1], torch.Generator().manual_seed(2)).inputs)
    test = task.split("test")
    assert torch.equal(*(test.batch([0], torch.Generator().manual_seed(seed)).inputs for seed in (1, 2)))


def test_grey_pictures_have_one_channel(tmp_path: Path) -> None:
    write_folders(tmp_path)
    for path in tmp_path.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    assert task_of(tmp_path).input.channels == 1
    assert task_of(tmp_path, colour="rgb").input.channels == 3


def test_notes_and_warnings_about_pictures(tmp_path: Path) -> None:
    write_folders(tmp_path, ("ant", "bee"))
    shutil.copy(tmp_path / "ant" / "1.png", tmp_path / "bee" / "copy.png")
    Image.fromarray(np.full((8, 8, 4), (255, 255, 255, 90), np.uint8)).save(tmp_path / "ant" / "w.png")
    frames = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (1, 99)]
    frames[0].save(tmp_path / "ant" / "x.gif", save_all=True, append_images=frames[1:])
    task = task_of(tmp_path)
    text = "\n".join(task.notes)
    assert "1 pictures have transparent pixels, which show the background, white" in text
    assert "1 pictures are animated or have several pages; only the first one is read" in text
    assert any("1 transparent pictures have one colour only" in warning for warning in task.warnings)


def test_the_same_picture_in_train_and_test_is_said(tmp_path: Path) -> None:
    write_folders(tmp_path / "train")
    write_folders(tmp_path / "val", count=1)
    write_folders(tmp_path / "test", count=3)
    for path in (tmp_path / "test").rglob("*.png"):  # another file of the same pixels
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    assert "6 of 6 examples of test have the same content as one of train" in task_of(tmp_path).notes


def test_one_colour_everywhere_is_a_warning(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / name / f"{number}.png")
    task = task_of(tmp_path)
    assert "all training pictures have one and the same colour, so nothing can be learnt from them" in task.warnings
    assert bool((all_of(task).inputs == 0).all())


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda folder: (folder / "ant" / "3.png").write_bytes(b""), DataError, r"3\.png: not readable as a picture"),
        (lambda folder: shutil.rmtree(folder / "bee"), DataError, "one class"),
        (lambda folder: [path.unlink() for path in folder.rglob("*.png")], SourceError, "no file"),
        (lambda folder: (folder / "ant" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40)), DataError, "3.png"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, change: Any, error: type[Exception], said: str) -> None:
    write_folders(tmp_path)
    change(tmp_path)
    with pytest.raises(error, match=said):
        task_of(tmp_path)


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    two = write_table(tmp_path / "a", kind=["ab"[row % 2] for row in range(40)], weight=[1] * 40)
    with pytest.raises(UsageError, match=r"task\.target: .* has no column that is known to be labels; .*kind, weight"):
        task_of(two)
    with pytest.raises(UsageError, match=r"task\.target: .* has no column 'breed'"):
        task_of(two, target="breed")
    with pytest.raises(UsageError, match="folders of pictures and tables cannot be mixed"):
        Images(ImagesOptions(source=[f"path:{two}", f"path:{tmp_path / 'a' / 'pictures'}"]), seed=0)
    two.write_text("path,label\nabsent.png,a\n")
    with pytest.raises(DataError, match=r"labels\.csv:2: there is no file"):
        task_of(two)


@pytest.mark.parametrize(
    "options", [{"background": "no colour"}, {"size": 0}, {"size": [4, 4, 4]}, {"size": 5000}, {"resize": "zoom"}]
)
def test_invalid_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ImagesOptions(source="path:x", **options)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_of_one_size_are_read_as_they_are_seen(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    for label in ("ant", "bee"):
        (tmp_path / label).mkdir()
        for number in range(4):
            pixels = chance(number).integers(0, 256, (8, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.jpg", exif=exif)
    assert task_of(tmp_path).input.size == ((16, 8) if orientation >= 5 else (8, 16))


@pytest.mark.parametrize("option", ["target", "path", "root", "delimiter"])
def test_options_of_tables_are_refused_for_folders(tmp_path: Path, option: str) -> None:
    with pytest.raises(UsageError, match=rf"task\.{option}: it is for tables"):
        task_of(write_folders(tmp_path), **{option: ";"})


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the administrator may read everything")
def test_a_picture_that_may_not_be_read(tmp_path: Path) -> None:
    (write_folders(tmp_path) / "ant" / "0.png").chmod(0)
    with pytest.raises(DataError, match=r"0\.png: cannot be read \(Permission denied\); check its permissions"):
        task_of(tmp_path)
