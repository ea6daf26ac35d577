"""New images are prepared as those of a split; all files that the readers take, read here without labels, too."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fptkit.errors import DataError, SourceError
from fptkit.interfaces import Examples
from fptkit.tasks.images.options import Cifar10LraOptions, Cifar10Options, MnistOptions
from fptkit.tasks.images.preparation import ImageTaskPreparation
from fptkit.tasks.images.task import Cifar10, Cifar10Lra, ImageTask, Mnist

CHANCE = np.random.default_rng(0)
GREY, LABELS = CHANCE.integers(0, 256, (12, 28, 28), dtype=np.uint8), np.arange(12) % 3
COLOUR = CHANCE.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


def task_of(tmp_path: Path, kind: type[ImageTask], **options: object) -> ImageTask:
    images = GREY if kind is Mnist else COLOUR
    np.savez(tmp_path / "train.npz", x_train=images, y_train=LABELS, x_test=images[:5], y_test=LABELS[:5])
    models = {Mnist: MnistOptions, Cifar10: Cifar10Options, Cifar10Lra: Cifar10LraOptions}
    given = models[kind].model_validate({"source": f"path:{tmp_path / 'train.npz'}", **options})
    task = kind(given, seed=0)  # type: ignore[arg-type, call-arg]
    saved = ImageTaskPreparation.model_validate_json(task.preparation.model_dump_json())  # type: ignore[union-attr]
    assert saved == task.preparation
    assert (saved.input, saved.output, saved.max_tokens) == (task.input, task.output, task.max_tokens)
    return task


def read(task: ImageTask, *places: Path) -> Examples:
    assert task.preparation is not None
    return task.preparation.read([f"path:{place}" for place in places])


def prepared(task: ImageTask, examples: Examples) -> tuple[torch.Tensor, list[int]]:
    assert task.preparation is not None
    batch = task.preparation.prepare(examples)
    return batch.inputs, batch.targets.tolist()


@pytest.mark.parametrize("kind", [Mnist, Cifar10, Cifar10Lra])
def test_an_npz_file_becomes_what_a_split_has(tmp_path: Path, kind: type[ImageTask]) -> None:
    task = task_of(tmp_path, kind)
    expected = task.split("test").batch(range(5), torch.Generator())
    images = GREY if kind is Mnist else COLOUR
    np.savez(tmp_path / "new.npz", images=images[:5], labels=LABELS[:5, None])
    inputs, targets = prepared(task, read(task, tmp_path / "new.npz"))
    assert torch.equal(inputs, expected.inputs)
    assert targets == expected.targets.tolist()
    np.save(tmp_path / "new.npy", images[:5])
    found = read(task, tmp_path / "new.npy")
    assert found.labels == {}
    assert torch.equal(prepared(task, found)[0], expected.inputs)


def test_a_border_is_added(tmp_path: Path) -> None:
    task = task_of(tmp_path, Mnist, image_size=32)
    expected = task.split("test").batch(range(5), torch.Generator()).inputs
    assert torch.equal(prepared(task, read(task, tmp_path / "train.npz"))[0][-5:], expected)


def test_mnists_own_files(tmp_path: Path) -> None:
    task = task_of(tmp_path, Mnist)
    folder = tmp_path / "idx"
    folder.mkdir()
    header = struct.pack(">4B3I", 0, 0, 8, 3, 12, 28, 28)
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + GREY.tobytes()))
    assert read(task, folder).labels == {}
    labels = struct.pack(">4BI", 0, 0, 8, 1, 12) + LABELS.astype(np.uint8).tobytes()
    (folder / "t10k-labels-idx1-ubyte").write_bytes(labels)
    inputs, targets = prepared(task, read(task, folder))
    assert torch.equal(inputs[:5], task.split("test").batch(range(5), torch.Generator()).inputs)
    assert targets == LABELS.tolist()


def test_a_batch_of_cifar(tmp_path: Path) -> None:
    task = task_of(tmp_path, Cifar10)
    content = {"data": COLOUR.transpose(0, 3, 1, 2).reshape(12, -1), "labels": LABELS.tolist()}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(content))
    for place in (tmp_path / "test_batch", tmp_path):
        inputs, targets = prepared(task, read(task, place))
        assert torch.equal(inputs[:5], task.split("test").batch(range(5), torch.Generator()).inputs)
        assert targets == LABELS.tolist()


def test_pictures_with_and_without_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in range(12):
            place = tmp_path / "data" / split / ("cat", "dog", "owl")[number % 3]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(GREY[number]).save(place / f"{number}.png")
    task = Mnist(MnistOptions.model_validate({"source": f"path:{tmp_path / 'data'}"}), seed=0)
    assert task.output.names == ("cat", "dog", "owl")
    found = read(task, tmp_path / "data" / "test")
    inputs, targets = prepared(task, found)
    expected = task.split("test").batch(range(12), torch.Generator())
    assert torch.equal(inputs, expected.inputs)
    assert targets == expected.targets.tolist()
    Image.fromarray(GREY[0]).save(tmp_path / "one.png")
    assert read(task, tmp_path / "one.png").labels == {}
    place = found.names.index(str(tmp_path / "data" / "test" / "cat" / "0.png"))
    assert torch.equal(prepared(task, read(task, tmp_path / "one.png"))[0][0], inputs[place])


def test_images_that_do_not_fit(tmp_path: Path) -> None:
    task = task_of(tmp_path, Mnist)
    for arrays, message in (
        ({"x": GREY[:, :20]}, "expected N x 28 x 28"),
        ({"x": GREY / 255}, r"images are float64, expected uint8"),
        ({"x": GREY, "y": LABELS[:5]}, r"labels are int64 of shape \(5,\), expected"),
        ({"x": GREY, "y": LABELS / 2}, "labels are float64"),
    ):
        np.savez(tmp_path / "new.npz", **arrays)
        with pytest.raises(DataError, match=message):
            read(task, tmp_path / "new.npz")
    np.savez(tmp_path / "new.npz", x=GREY, y=LABELS + 1)
    with pytest.raises(DataError, match=r"new.npz, x\[2\]: unknown label '?3'?; the model knows 0, 1, 2"):
        prepared(task, read(task, tmp_path / "new.npz"))
    Image.fromarray(GREY[0][:20]).save(tmp_path / "small.png")
    with pytest.raises(DataError, match=r"small.png: an image of 20 x 28 x 1"):
        prepared(task, read(task, tmp_path / "small.png"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"no file \.png"):
        read(task, tmp_path / "empty")


def test_contents_in_memory(tmp_path: Path) -> None:
    task = task_of(tmp_path, Mnist)
    expected = task.split("test").batch(range(5), torch.Generator()).inputs
    assert torch.equal(prepared(task, Examples(GREY[:5], list("abcde")))[0], expected)
    assert torch.equal(prepared(task, Examples(list(GREY[:5, ..., None]), list("abcde")))[0], expected)
    with pytest.raises(DataError, match="a: an image of 28 x 28 x 1 float64; expected 28 x 28 uint8"):
        prepared(task, Examples(GREY[:1] / 255, ["a"]))
