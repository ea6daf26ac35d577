"""Reading images: files that NumPy, PIL, gzip, pickle and struct wrote; damaged ones are refused with a reason."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fptkit.errors import DataError
from fptkit.sources import Unavailable
from fptkit.tasks.images.readers import Form, read_idx, read_images

MNIST, CIFAR = Form(28, (1,)), Form(32, (3,))


def chance() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(5))


def grey(count: int) -> np.ndarray:
    return chance().integers(0, 256, (count, 28, 28), dtype=np.uint8)


# npz


def arrays(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    labels = np.array([0, 1, 2, 0, 1, 2])
    found = {"x_train": grey(6), "y_train": labels, "x_test": grey(3), "y_test": labels[:3], **changes}
    return {name: array for name, array in found.items() if array is not None}


def write_npz(path: Path, **changes: np.ndarray | None) -> Path:
    np.savez_compressed(path, **arrays(**changes))
    return path


def test_npz(tmp_path: Path) -> None:
    splits = read_images(write_npz(tmp_path / "digits.npz"), MNIST)
    assert list(splits) == ["train", "test"]
    assert np.array_equal(splits["train"].images[..., 0], grey(6))
    assert splits["train"].labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert splits["test"].images.shape == (3, 28, 28, 1)
    assert splits["test"].labels.dtype == np.int64


def test_npz_takes_labels_as_a_column_and_of_any_whole_type(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "digits.npz", y_train=np.array([[0], [1], [2], [0], [1], [2]], np.uint8))
    assert read_images(path, MNIST)["train"].labels.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x_test": None}, "the arrays x_test are missing"),
        ({"x_train": grey(6).astype(np.float32)}, "images are float32, expected uint8"),
        ({"x_train": grey(6)[:, :27]}, r"images have shape \(6, 27, 28\), expected N x 28 x 28"),
        ({"x_train": grey(6)[0]}, r"images have shape \(28, 28\), expected"),
        ({"x_test": np.zeros((3, 28, 28, 3), np.uint8)}, "x_test and y_test: images have shape"),
        ({"y_train": np.arange(5)}, "6 images but 5 labels"),
        ({"y_train": np.zeros(6)}, "labels are float64 of shape"),
        ({"y_train": np.array([0, 1, 2, 0, 1, -1])}, "label -1 is negative"),
        ({"x_test": grey(0), "y_test": np.zeros(0, int)}, "no images"),
        ({"y_train": np.array([{"a": 1}] * 6)}, "it has Python objects .dtype object., which are pickles"),
    ],
)
def test_npz_of_another_content(tmp_path: Path, changes: dict[str, np.ndarray | None], said: str) -> None:
    path = write_npz(tmp_path / "digits.npz", **changes)
    with pytest.raises(DataError, match=said) as found:
        read_images(path, MNIST)
    assert str(path) in str(found.value)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: raw[: len(raw) // 2], "truncated"),
        (lambda raw: b"", "the file is empty"),
        (lambda raw: b"no archive at all", "not an .npz file"),
        (lambda raw: raw[:200] + bytes(200) + raw[400:], "not readable as an .npz file: Bad CRC-32"),
    ],
    ids=["cut off", "empty", "text", "zeros inside"],
)
def test_damaged_npz(tmp_path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    path = write_npz(tmp_path / "digits.npz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"digits\.npz: {said}"):
        read_images(path, MNIST)


def test_an_npz_that_is_a_single_array_or_a_zip_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "digits.npz"
    with path.open("wb") as file:
        np.save(file, grey(2))
    with pytest.raises(DataError, match=r"not an \.npz file"):
        read_images(path, MNIST)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(name, b"text")
    with pytest.raises(DataError, match=r"digits\.npz, x_train: not an array of NumPy"):
        read_images(path, MNIST)


def test_an_npz_that_claims_an_impossible_size(tmp_path: Path) -> None:
    path = tmp_path / "digits.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 55, 28, 28)})
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", header.getvalue())
    with pytest.raises(DataError, match=r"x_train: its header declares the shape .*, but 0 bytes follow"):
        read_images(path, MNIST)


# IDX


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def write_idx(folder: Path, spell: Callable[[str], str] = str) -> Path:
    folder.mkdir()
    labels = np.array([0, 1, 2, 0, 1], np.uint8)
    for name, array in zip(NAMES, (grey(5), labels, grey(3), labels[:3]), strict=True):
        raw = idx(array)
        file = folder / spell(name)
        file.write_bytes(gzip.compress(raw) if file.suffix == ".gz" else raw)
    return folder


@pytest.mark.parametrize(
    "spell", [str, lambda name: name + ".gz", lambda name: name.replace("-idx", ".idx")], ids=["plain", "gz", "dot"]
)
def test_idx(tmp_path: Path, spell: Callable[[str], str]) -> None:
    splits = read_images(write_idx(tmp_path / "mnist", spell), MNIST)
    assert np.array_equal(splits["train"].images[..., 0], grey(5))
    assert splits["test"].labels.tolist() == [0, 1, 2]


def test_idx_as_torchvision_reads_it(tmp_path: Path) -> None:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    folder = write_idx(tmp_path / "mnist")
    splits = read_images(folder, MNIST)
    assert np.array_equal(read_image_file(str(folder / NAMES[0])).numpy(), splits["train"].images[..., 0])
    assert np.array_equal(read_label_file(str(folder / NAMES[1])).numpy(), splits["train"].labels)


def test_a_missing_idx_file_is_named(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "mnist")
    (folder / NAMES[3]).unlink()
    with pytest.raises(Unavailable, match=r"lacks t10k-labels-idx1-ubyte \(or the same with \.gz\)"):
        read_images(folder, MNIST)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not an IDX file: it begins with nothing"),
        (b"PNG, really", "not an IDX file: it begins with 50 4e 47 2c, expected 00 00"),
        (idx(grey(2))[:-1], "its header says 2 x 28 x 28 = 1,568 bytes of numbers, but there are 1,567"),
        (idx(grey(2)) + b"\0", "1,568 bytes of numbers, but there are more"),
        (idx(grey(2), kind=0x0D), "an IDX file of type 0x0d, expected 0x08, bytes"),
        (idx(grey(2))[:9], "an IDX file of 3 dimensions with a short header"),
        (b"\0\0\x08\0", "an IDX file of 0 dimensions"),
        (b"\0\0\x08\xff" + bytes(2000), "an IDX file of 255 dimensions"),
    ],
)
def test_damaged_idx(tmp_path: Path, raw: bytes, said: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=said) as found:
        read_idx(path)
    assert str(path) in str(found.value)


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[:-20], lambda raw: b"", lambda raw: b"text", lambda raw: raw[:100] + bytes(99) + raw[199:]],
)
def test_damaged_gzip(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(damage(gzip.compress(idx(grey(3)))))
    with pytest.raises(DataError, match=r"images\.gz: not (readable as a file packed by gzip|a gzip file)"):
        read_idx(path)


def test_images_and_labels_that_do_not_belong_together(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "mnist")
    (folder / NAMES[1]).write_bytes(idx(np.zeros(4, np.uint8)))
    with pytest.raises(DataError, match="5 images but 4 labels"):
        read_images(folder, MNIST)


# Pictures


def write_pictures(folder: Path, mode: str = "RGB", ending: str = "png") -> Path:
    """Two of each class and split, in one colour each."""
    for split, shade in (("train", 10), ("test", 200)):
        for label, name in enumerate(("ant", "bee", "cat")):
            (folder / split / name).mkdir(parents=True)
            for number in range(2):
                colour = (shade + label, shade + number, 7)
                picture = Image.new("RGB", (32, 32), colour).convert(mode)
                picture.save(folder / split / name / f"{number}.{ending}")
    return folder


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_pictures(tmp_path: Path, mode: str) -> None:
    folder = write_pictures(tmp_path / "pictures", mode)
    (folder / "train" / "ant" / "notes.txt").write_text("no picture")
    (folder / "train" / "README").write_text("no class")
    splits = read_images(folder, CIFAR)
    assert splits["train"].labels.tolist() == splits["test"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert splits["train"].images.shape == (6, 32, 32, 3)
    if mode != "P":  # a palette rounds colours
        assert splits["test"].images[3, 5, 5].tolist() == [201, 201, 7]


def test_grey_pictures_and_jpeg(tmp_path: Path) -> None:
    grey_form = Form(32, (1,))
    splits = read_images(write_pictures(tmp_path / "grey", "L", "jpg"), grey_form)
    assert splits["train"].images.shape == (6, 32, 32, 1)
    expected = np.asarray(Image.new("RGB", (1, 1), (10, 10, 7)).convert("L"))[0, 0]
    assert abs(int(splits["train"].images[0, 9, 9, 0]) - int(expected)) <= 1


def test_a_picture_that_is_none(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    bad = folder / "train" / "bee" / "1.png"
    raw = bad.read_bytes()
    for content in (b"", b"text", raw[:40], raw[: len(raw) - 30]):
        bad.write_bytes(content)
        with pytest.raises(DataError, match=r"train.bee.1\.png: not readable as a picture"):
            read_images(folder, CIFAR)


def test_a_picture_of_another_size(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    Image.new("RGB", (40, 32)).save(folder / "test" / "cat" / "1.png")
    with pytest.raises(DataError, match=r"cat.1\.png: a picture of 40 x 32 pixels, expected 32 x 32"):
        read_images(folder, CIFAR)


def test_a_picture_of_sixteen_bits_is_not_cut_to_eight(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    Image.fromarray(np.full((32, 32), 3000, np.uint16)).save(folder / "test" / "cat" / "1.png")
    with pytest.raises(DataError, match=r"cat.1\.png: a picture with more than 8 bits per pixel \(mode I"):
        read_images(folder, CIFAR)


def test_folders_of_pictures_that_do_not_fit(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    (folder / "test" / "dog").mkdir()
    Image.new("RGB", (32, 32)).save(folder / "test" / "dog" / "0.png")
    with pytest.raises(DataError, match=r"test.dog: train/ has no class of this name"):
        read_images(folder, CIFAR)
    (folder / "test").rename(folder / "other")
    with pytest.raises(Unavailable, match="lacks test/"):
        read_images(folder, CIFAR)
    for split in ("train", "test"):
        (tmp_path / "few" / split / "ant").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no file \.png.* in .*few"):
        read_images(tmp_path / "few", CIFAR)
    for split in ("train", "test"):
        Image.new("RGB", (32, 32)).save(tmp_path / "few" / split / "ant" / "0.png")
    with pytest.raises(DataError, match="expected a folder for each class, with pictures, found 1"):
        read_images(tmp_path / "few", CIFAR)


# CIFAR-10's batches


def cifar_batch(count: int, **changes: object) -> dict[str, object]:
    data = chance().integers(0, 256, (count, 3072), dtype=np.uint8)
    labels = [number % 10 for number in range(count)]
    return {"batch_label": "batch", "labels": labels, "data": data, "filenames": ["x.png"] * count, **changes}


def write_cifar(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True)
    for number in range(1, 6):
        (folder / f"data_batch_{number}").write_bytes(pickle.dumps(cifar_batch(10), protocol=2))
    (folder / "test_batch").write_bytes(pickle.dumps(cifar_batch(20, **changes), protocol=2))
    return folder


def test_cifar_batches(tmp_path: Path) -> None:
    write_cifar(tmp_path / "data" / "cifar-10-batches-py")
    splits = read_images(tmp_path / "data", CIFAR)
    assert len(splits["train"]) == 50
    row = cifar_batch(20)["data"][3]
    expected = row.reshape(3, 32, 32).transpose(1, 2, 0)  # red, then green, then blue; each row by row
    assert np.array_equal(splits["test"].images[3], expected)
    assert splits["test"].labels.tolist() == [number % 10 for number in range(20)]


class Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harm",)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": np.zeros((20, 3071), np.uint8)}, r"'data' has shape \(20, 3071\), expected N x 3072"),
        ({"data": np.zeros((20, 3072), np.int64)}, "images are int64, expected uint8"),
        ({"data": [1, 2]}, "expected an array 'data'"),
        ({"labels": [0] * 19}, "20 images but 19 labels"),
        ({"labels": ["cat"] * 20}, "a list of whole numbers 'labels'"),
        ({"labels": [[0]] * 19 + [[0, 1]]}, "a list of whole numbers 'labels'"),
        ({"labels": Command()}, "refers to '(posix|nt).system'"),
    ],
)
def test_batches_of_another_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_cifar(tmp_path / "data", **changes)
    with pytest.raises(DataError, match=said) as found:
        read_images(folder, CIFAR)
    assert "test_batch" in str(found.value)
    assert not Path("harm").exists()


def test_a_batch_that_is_cut_off(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path / "data")
    raw = (folder / "data_batch_2").read_bytes()
    for content in (b"", raw[:300], raw[:-100]):
        (folder / "data_batch_2").write_bytes(content)
        with pytest.raises(DataError, match="data_batch_2: not readable as a batch of CIFAR-10"):
            read_images(folder, CIFAR)
    (folder / "data_batch_2").unlink()
    with pytest.raises(Unavailable, match="lacks data_batch_2"):
        read_images(folder, CIFAR)


# Places


def test_places_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="there is no file or folder"):
        read_images(tmp_path / "nowhere", MNIST)
    with pytest.raises(Unavailable, match=r"holds no images in a known layout; expected a file \.npz with x_train"):
        read_images(tmp_path, MNIST)
    (tmp_path / "images.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"images\.csv: unknown file type"):
        read_images(tmp_path / "images.csv", MNIST)


# Real data


@pytest.mark.parametrize(
    ("name", "form", "shape"),
    [("mnist_subset", MNIST, (28, 28, 1)), ("cifar10_subset", CIFAR, (32, 32, 3))],
)
def test_real_images(shared_data: Path, name: str, form: Form, shape: tuple[int, ...]) -> None:
    splits = read_images(shared_data / f"{name}.npz", form)
    assert splits["train"].images.shape == (12_000, *shape)
    assert splits["test"].images.shape == (3_000, *shape)
    assert np.bincount(splits["test"].labels).tolist() == [300] * 10


def test_real_images_of_the_other_task(shared_data: Path) -> None:
    with pytest.raises(DataError, match=r"shape \(12000, 32, 32, 3\), expected N x 28 x 28"):
        read_images(shared_data / "cifar10_subset.npz", MNIST)
