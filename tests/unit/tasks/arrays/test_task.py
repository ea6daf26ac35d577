"""The task ``arrays``: from files of NumPy and safetensors to batches, and from its preparation to predictions."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from fptkit.errors import DataError, FptkitError, SourceError, UsageError
from fptkit.interfaces import IGNORED, Grid, Symbols, TokenClasses, Vectors
from fptkit.tasks.arrays.options import ArraysOptions
from fptkit.tasks.arrays.preparation import ArraysPreparation
from fptkit.tasks.arrays.reader import files
from fptkit.tasks.arrays.task import Arrays

CHANCE = np.random.Generator(np.random.PCG64(3))
N = 40
LABELS = np.arange(N) % 2
LENGTHS = CHANCE.integers(1, 9, N)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def task_of(place: Path | str, **options: Any) -> Arrays:
    return Arrays(ArraysOptions(source=f"path:{place}", **options), seed=0)


def all_of(task: Arrays, split: str = "train") -> Any:
    found = task.split(split)
    return found.batch(range(found.size), torch.Generator())


@pytest.mark.parametrize(
    ("x", "read_as", "kind"),
    [
        (CHANCE.normal(size=(N, 12)), "features", Grid((12, 1))),
        (CHANCE.normal(size=(N, 600)), "sequences", Vectors(1)),
        (CHANCE.normal(size=(N, 12, 3)), "sequences", Vectors(3)),
        (CHANCE.normal(size=(N, 12, 3)).astype(np.float16), "sequences", Vectors(3)),
        (CHANCE.integers(0, 7, (N, 12)), "symbols", Symbols(7)),
        (CHANCE.integers(0, 2, (N, 12)) == 1, "symbols", Symbols(2)),
        (CHANCE.integers(-7, 7, (N, 12)), "features", Grid((12, 1))),
        (CHANCE.integers(0, 255, (N, 8, 8), dtype=np.uint8), "images", Grid((8, 8))),
        (CHANCE.integers(0, 255, (N, 8, 12, 3), dtype=np.uint8), "images", Grid((8, 12), 3)),
        (CHANCE.normal(size=(N, 3, 8, 12)), "images", Grid((8, 12), 3)),
        (CHANCE.normal(size=(N, 7, 9, 1)), "images", Grid((8, 12))),
    ],
)
def test_what_arrays_are(tmp_path: Path, x: np.ndarray, read_as: str, kind: object) -> None:
    task = task_of(save(tmp_path / "d.npz", x=x, y=LABELS))
    assert isinstance(task.preparation, ArraysPreparation)
    assert task.preparation.read_as == read_as
    assert task.input == kind
    batch = all_of(task)
    assert not list(filter(lambda fault: fault[0], task.input.faults(batch.inputs, 28, task.max_tokens)))
    assert batch.targets.shape == (28,)
    if read_as not in ("symbols",):
        real = batch.inputs[:, :7, :9] if x.shape[1:] == (7, 9, 1) else batch.inputs
        axes = (0, 1, 2) if read_as == "images" else (0,) if read_as == "features" else (0, 1)
        assert torch.allclose(real.mean(axes), torch.zeros(1), atol=1e-4)
        assert torch.allclose(real.std(axes, unbiased=False), torch.ones(1), atol=1e-3)


def test_symbols_are_kept(tmp_path: Path) -> None:
    x = CHANCE.integers(0, 7, (N, 12))
    task = task_of(save(tmp_path / "d.npz", x=x, y=LABELS))
    assert {tuple(row) for row in all_of(task).inputs.tolist()} <= {tuple(row) for row in x.tolist()}
    assert all_of(task).inputs.dtype == torch.int64


def test_read_as_decides(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", x=CHANCE.integers(0, 7, (N, 12)), y=LABELS)
    assert task_of(path, read_as="features").input == Grid((12, 1))
    assert task_of(path, read_as="features").default_encoder == "features"
    assert task_of(path, read_as="sequences").input == Vectors(1)
    with pytest.raises(DataError, match="images must be"):
        task_of(path, read_as="images")


@pytest.mark.parametrize("way", ["padded", "lengths", "offsets"])
@pytest.mark.parametrize("whole", [True, False])
def test_examples_of_unequal_length(tmp_path: Path, way: str, whole: bool) -> None:
    values = CHANCE.integers(0, 5, int(LENGTHS.sum())) if whole else CHANCE.normal(size=(int(LENGTHS.sum()), 2))
    pieces = np.split(values, np.cumsum(LENGTHS)[:-1])
    ends = {"lengths": LENGTHS} if way != "offsets" else {"offsets": np.concatenate([[0], np.cumsum(LENGTHS)])}
    x = values
    if way == "padded":
        x = np.full((N, 8, *values.shape[1:]), 99, values.dtype)
        for row, piece in enumerate(pieces):
            x[row, : len(piece)] = piece
    task = task_of(save(tmp_path / "d.npz", x=x, y=LABELS, **ends))
    assert isinstance(task.preparation, ArraysPreparation)
    prepared = task.preparation.prepare(task.preparation.read([f"path:{tmp_path / 'd.npz'}"]))
    assert prepared.lengths is not None
    assert prepared.lengths.tolist() == LENGTHS.tolist()
    for row, piece in enumerate(pieces):
        found = prepared.inputs[row, : len(piece)].numpy()
        expected = piece if whole else (piece - task.preparation.mean) / task.preparation.deviation
        assert np.allclose(found, expected, atol=1e-5)
        assert not prepared.inputs[row, len(piece) :].any()


@pytest.mark.parametrize(
    ("y", "shape", "names"),
    [
        (np.array(["cat", "dog"])[LABELS], (28,), ("cat", "dog")),
        (np.array([b"cat", b"dog"])[LABELS], (28,), ("cat", "dog")),
        (LABELS.astype(np.float64), (28,), ("0", "1")),
        (LABELS == 1, (28,), ("False", "True")),
        (LABELS[:, None].astype(np.uint8), (28,), ("0", "1")),
        (np.eye(2)[LABELS], (28,), ("0", "1")),
        (np.stack([LABELS, LABELS, 1 - LABELS], 1), (28, 1, 3), ("no", "yes")),
        (CHANCE.normal(size=N), (28, 1), ("y",)),
        (CHANCE.normal(size=(N, 3)).astype(np.float32), (28, 3), ("y_1", "y_2", "y_3")),
    ],
)
def test_targets(tmp_path: Path, y: np.ndarray, shape: tuple[int, ...], names: tuple[str, ...]) -> None:
    task = task_of(save(tmp_path / "d.npz", x=CHANCE.normal(size=(N, 4)), y=y))
    assert all_of(task).targets.shape == shape
    assert task.output.names == names


@pytest.mark.parametrize("way", ["padded", "concatenated", "equal", "named"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_class_for_each_step(tmp_path: Path, way: str, whole: bool) -> None:
    lengths = np.full(N, 8) if way == "equal" else LENGTHS
    values = CHANCE.integers(0, 5, (N, 8)) if whole else CHANCE.normal(size=(N, 8, 2))
    y = CHANCE.integers(0, 3, (N, 8))
    y[:, 0] = np.arange(N) % 3
    arrays: dict[str, Any] = {"x": values, "y": y, "lengths": lengths}
    if way == "concatenated":
        real = np.arange(8) < lengths[:, None]
        arrays = {"x": values[real], "y": y[real], "lengths": lengths}
    if way == "named":
        arrays["classes"] = np.array(["low", "middle", "high"])
    task = task_of(save(tmp_path / "d.npz", **arrays))
    assert isinstance(task.output, TokenClasses)
    assert isinstance(task.preparation, ArraysPreparation)
    read = task.preparation.read([f"path:{tmp_path / 'd.npz'}"])
    batch = task.preparation.prepare(read)
    order = sorted(["low", "middle", "high"]) if way == "named" else ["0", "1", "2"]
    number = [order.index(name) for name in (["low", "middle", "high"] if way == "named" else order)]
    for row, length in enumerate(lengths):
        assert batch.targets[row, :length].tolist() == [number[label] for label in y[row, :length]]
        assert (batch.targets[row, length:] == IGNORED).all()
    some = task.split("test").batch([0, 1], torch.Generator())
    assert some.targets.shape == some.inputs.shape[:2]


def test_steps_without_a_label_and_other_problems(tmp_path: Path) -> None:
    y = CHANCE.integers(0, 2, (N, 4))
    y[:, 1] = -100
    task = task_of(save(tmp_path / "d.npz", x=CHANCE.integers(0, 9, (N, 4)), y=y))
    assert isinstance(task.output, TokenClasses)
    assert (all_of(task).targets[:, 1] == IGNORED).all()
    labels = task_of(save(tmp_path / "e.npz", x=CHANCE.normal(size=(N, 4)), y=y * (y > 0)), problem="labels")
    assert labels.output.names == ("no", "yes")
    with pytest.raises(DataError, match="tagging needs a whole number or text for each step"):
        task_of(save(tmp_path / "f.npz", x=CHANCE.normal(size=(N, 4)), y=LABELS), problem="tagging")


def test_declared_classes(tmp_path: Path) -> None:
    x = CHANCE.normal(size=(N, 4))
    task = task_of(save(tmp_path / "d.npz", x=x, y=LABELS, classes=np.array(["zebra", "ant", "bee"])))
    assert task.output.names == ("zebra", "ant", "bee")
    with pytest.raises(DataError, match=r"y\[1\] is 1, but the data declare 1 classes"):
        task_of(save(tmp_path / "e.npz", x=x, y=LABELS, classes=np.array(["zebra"])))


def test_own_splits_of_names_files_and_folders(tmp_path: Path) -> None:
    x, y = CHANCE.normal(size=(N, 4)), LABELS
    named = save(tmp_path / "names.npz", x_train=x, y_train=y, x_val=x[:6], y_val=y[:6], x_test=x[:8], y_test=y[:8])
    for folder in ("files", "folders", "arrays", "flat"):
        (tmp_path / folder).mkdir()
    for split, size in (("train", N), ("val", 6), ("test", 8)):
        save(tmp_path / "files" / f"{split}.npz", x=x[:size], y=y[:size])
        (tmp_path / "folders" / split).mkdir()
        for name, array in (("X", x), ("y", y)):
            np.save(tmp_path / "folders" / split / f"{name}.npy", array[:size])
            np.save(tmp_path / "flat" / f"{name}_{split}.npy", array[:size])
        save_file({"x": x[:size], "y": y[:size]}, tmp_path / "arrays" / f"{split}.safetensors")
    sizes = {"train": N, "validation": 6, "test": 8}
    for place in (named, *(tmp_path / folder for folder in ("files", "folders", "arrays", "flat"))):
        task = task_of(place)
        assert {name: task.split(name).size for name in sizes} == sizes, place
    pooled = task_of(named, split={"own": False})
    assert sum(pooled.split(name).size for name in sizes) == N + 14
    one = Arrays(
        ArraysOptions(
            source={"train": f"path:{tmp_path / 'files/train.npz'}", "test": f"path:{tmp_path / 'files/test.npz'}"}
        ),
        seed=0,
    )
    assert one.split("test").size == 8


def test_two_npy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", CHANCE.normal(size=(N, 4)))
    np.save(tmp_path / "labels.npy", LABELS)
    task = Arrays(ArraysOptions(source=[f"path:{tmp_path / 'x.npy'}", f"path:{tmp_path / 'labels.npy'}"]), seed=0)
    assert task.output.names == ("0", "1")
    assert [path.name for path in files(ArraysOptions(source="path:x"), f"path:{tmp_path}")] == ["labels.npy", "x.npy"]


def test_narrow_types_of_safetensors(tmp_path: Path) -> None:
    x = torch.randn(N, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    save_tensors({"x": x, "y": torch.from_numpy(LABELS)}, tmp_path / "d.safetensors")
    assert task_of(tmp_path / "d.safetensors").input == Grid((4, 1))


@pytest.mark.parametrize(
    "x", [CHANCE.normal(size=(N, 6, 2)), CHANCE.integers(0, 5, (N, 6)), CHANCE.normal(size=(N, 5, 6, 3))]
)
def test_the_preparation_is_enough_after_the_data_are_gone(tmp_path: Path, x: np.ndarray) -> None:
    task = task_of(save(tmp_path / "d.npz", x=x, y=LABELS))
    assert task.preparation is not None
    np.save(tmp_path / "new.npy", x[:7])
    before = task.preparation.prepare(task.preparation.read([f"path:{tmp_path / 'new.npy'}"]))
    text = task.preparation.model_dump_json()
    (tmp_path / "d.npz").unlink()
    later = ArraysPreparation.model_validate(json.loads(text))
    assert later == task.preparation
    examples = later.read([f"path:{tmp_path / 'new.npy'}"])
    assert not examples.labels
    assert torch.equal(later.prepare(examples).inputs, before.inputs)
    alone = torch.cat([later.prepare(examples.take([row])).inputs for row in range(7)])
    assert torch.equal(alone, before.inputs)


def test_training_and_prediction_prepare_the_same(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", signal=CHANCE.normal(size=(N, 6, 2)), state=LABELS)
    task = task_of(path, inputs="signal", target="state")
    assert task.preparation is not None
    examples = task.preparation.read([f"path:{path}"])
    everything = task.preparation.prepare(examples)
    rows = {row.numpy().tobytes(): int(label) for row, label in zip(everything.inputs, everything.targets, strict=True)}
    for name in ("train", "validation", "test"):
        batch = all_of(task, name)
        assert [rows[row.numpy().tobytes()] for row in batch.inputs] == batch.targets.tolist()


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (np.zeros((2, 6, 3)), r"new, new\[0\]: an array of shape \(6, 3\); expected \(T, 2\)"),
        (np.zeros((2, 9, 2)), "9 steps, but the longest example in training has 6"),
        (np.full((2, 6, 2), 1e300), "too far from those of the training examples"),
        (np.full((2, 6, 2), np.nan), r"new\[0\]: the value at \[0, 0\] is nan"),
    ],
)
def test_new_arrays_that_do_not_fit(tmp_path: Path, new: np.ndarray, said: str) -> None:
    task = task_of(save(tmp_path / "d.npz", x=CHANCE.normal(size=(N, 6, 2)), y=LABELS))
    np.save(tmp_path / "new.npy", new)
    assert task.preparation is not None
    with pytest.raises(DataError, match=said.replace("new, new", r"new\.npy, new")):
        task.preparation.prepare(task.preparation.read([f"path:{tmp_path / 'new.npy'}"]))


def test_new_symbols_are_refused(tmp_path: Path) -> None:
    task = task_of(save(tmp_path / "d.npz", x=CHANCE.integers(0, 5, (N, 6)), y=LABELS))
    np.save(tmp_path / "new.npy", np.array([[0, 1, 2, 3, 9, 0]]))
    assert task.preparation is not None
    with pytest.raises(DataError, match=r"the symbol at \[4\] is 9; the model knows 0 to 4"):
        task.preparation.prepare(task.preparation.read([f"path:{tmp_path / 'new.npy'}"]))


def bad(value: float) -> np.ndarray:
    x = CHANCE.normal(size=(N, 3, 2))
    x[7, 1, 0] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": bad(np.nan), "y": LABELS}, r"d\.npz, x\[7\]: the value at \[1, 0\] is nan"),
        ({"x": bad(-np.inf), "y": LABELS}, r"x\[7\]: the value at \[1, 0\] is -inf"),
        ({"x": np.zeros((N, 3), object), "y": LABELS}, "Python objects"),
        ({"x": np.zeros((N, 3)), "y": np.array([{}] * N)}, "Python objects"),
        ({"x": np.zeros((N, 3), complex), "y": LABELS}, "d.npz, x: complex numbers"),
        ({"x": np.zeros(N, "i4,f4"), "y": LABELS}, "records of several fields"),
        ({"x": np.zeros((N, 3), "M8[s]"), "y": LABELS}, "values of type datetime64"),
        ({"x": np.full((N, 3), "a"), "y": LABELS}, "instead of numbers; for text, use the task text"),
        ({"x": np.zeros(N), "y": LABELS}, r"an array of shape \(40,\)"),
        ({"x": np.zeros((N, 2, 2, 2, 2)), "y": LABELS}, "images must be"),
        ({"x": np.zeros((0, 3)), "y": LABELS[:0]}, "at least one example"),
        ({"x": np.zeros((N, 3)), "y": LABELS[:9]}, r"y: an array of shape \(9,\), but there are 40 examples"),
        ({"x": np.zeros((N, 3)), "y": np.zeros((N, 2, 2))}, r"expected \(N,\) or \(N, K\)"),
        ({"x": np.zeros((N, 3)), "y": np.full(N, np.nan)}, r"y: the value at \[0\] is nan"),
        ({"x": np.zeros((N, 3))}, "the examples have no labels"),
        ({"x": np.zeros((N, 3)), "y": LABELS * 0}, "one class"),
        ({"x": np.full((N, 3), 10**6), "y": LABELS}, "are no symbols; set read_as"),
        ({"x": np.zeros((N, 3)), "y": LABELS, "lengths": np.full(N, 4)}, "a length of 4 exceeds the 3 steps"),
        ({"x": np.zeros((N, 3)), "y": LABELS, "lengths": np.zeros(N, int)}, r"the length at \[0\] is 0"),
        ({"x": np.zeros((N, 3)), "y": LABELS, "lengths": np.full(7, 2)}, "7 lengths with the sum 14"),
        ({"x": np.zeros((N, 3)), "y": LABELS, "offsets": np.array([0, 3, 3, N])}, "offsets must rise from 0"),
        ({"x": np.zeros((N, 3)), "y": LABELS, "offsets": np.array([1, 3, N])}, "offsets must rise from 0"),
        ({"x": np.zeros((N, 3)), "y": LABELS, "offsets": np.full(N, 0.5)}, "whole numbers"),
        ({"a": np.zeros((N, 3)), "b": LABELS}, "no array is known to have the inputs"),
        ({"x_test": np.zeros((N, 3)), "y_test": LABELS}, "no array is of train"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises((DataError, UsageError), match=said):
        task_of(save(tmp_path / "d.npz", **arrays))


def content_of(ending: str) -> bytes:
    file = io.BytesIO()
    x = CHANCE.normal(size=(N, 5))
    if ending == ".npz":
        np.savez(file, x=x, y=LABELS)
    elif ending == ".npy":
        np.save(file, x)
    else:
        from safetensors.numpy import save as as_bytes

        return as_bytes({"x": x, "y": LABELS})
    return file.getvalue()


@pytest.mark.parametrize("ending", [".npz", ".npy", ".safetensors"])
def test_damaged_files_never_raise_anything_else(tmp_path: Path, ending: str) -> None:
    whole, path, refused = content_of(ending), tmp_path / f"d{ending}", 0
    damaged = [b"", b"text", whole[:30], whole[:-40], b"PK\x03\x04" + whole, whole[200:]]
    for _ in range(60):
        changed = bytearray(whole)
        changed[CHANCE.integers(0, min(len(whole), 160))] = CHANCE.integers(0, 256)
        damaged.append(bytes(changed))
    for content in damaged:
        path.write_bytes(content)
        try:
            task_of(path)
        except FptkitError as err:
            refused += 1
            assert "Traceback" not in str(err)  # noqa: PT017
    assert refused >= 6


def test_a_header_that_claims_an_impossible_size(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 1 << 10)})
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", file.getvalue())
    (tmp_path / "d.npy").write_bytes(file.getvalue())
    for name in ("d.npz", "d.npy"):
        with pytest.raises(DataError, match=r"the shape \(1099511627776, 1024\) of type float64, but"):
            task_of(tmp_path / name)


def test_other_places(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "d.csv").write_text("x")
    for place in ("pipe.npz", "empty", "absent.npz", "d.csv"):
        with pytest.raises((DataError, SourceError)):
            task_of(tmp_path / place)


def test_what_is_not_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    save(tmp_path / "d" / "a.npz", x=CHANCE.normal(size=(N, 3)), y=LABELS, weights=np.ones(N))
    (tmp_path / "d" / "readme.txt").write_text("x")
    task = task_of(tmp_path / "d")
    assert "1 files passed over: .txt 1" in task.notes
    assert "arrays of a.npz that are not used: weights" in task.notes


def test_constant_channels_become_zero(tmp_path: Path) -> None:
    x = CHANCE.normal(size=(N, 3)) * 1e-12
    x[:, 1] = 1e9
    task = task_of(save(tmp_path / "d.npz", x=x, y=LABELS))
    inputs = all_of(task).inputs[:, :, 0, 0]
    assert not inputs[:, 1].any()
    assert torch.allclose(inputs[:, [0, 2]].std(0, unbiased=False), torch.ones(2), atol=1e-4)
    assert "1 of 3 channels are constant in train, and become 0" in task.notes


def test_a_circle_of_links_is_read_once(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", x=CHANCE.normal(size=(N, 4)), y=LABELS)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dead.npz").symlink_to(tmp_path / "absent")
    task = task_of(tmp_path)
    assert sum(task.split(name).size or 0 for name in ("train", "validation", "test")) == N
    assert len(list(files(ArraysOptions(source=f"path:{tmp_path}"), f"path:{tmp_path}"))) == 1
    assert any(note.startswith("2 files passed over") for note in task.notes)


def test_splits_without_targets_are_left_out_and_said(tmp_path: Path) -> None:
    x = CHANCE.normal(size=(N, 4))
    task = task_of(save(tmp_path / "a.npz", x_train=x, y_train=LABELS, x_test=x[:7] + 1))
    assert "7 examples of test are not used: they have no targets" in task.notes
    assert sum(task.split(name).size or 0 for name in ("train", "validation", "test")) == N
    with pytest.raises(UsageError, match="no labels"):
        task_of(save(tmp_path / "b.npz", x_train=x, x_test=x, y_test=LABELS))


@pytest.mark.parametrize(
    ("shape", "first"),
    [((13, 16, 16), True), ((3, 8, 12), True), ((16, 16, 13), False), ((8, 12, 3), False), ((12, 12, 12), False)],
)
def test_which_dimension_has_the_channels(tmp_path: Path, shape: tuple[int, ...], first: bool) -> None:
    task = task_of(save(tmp_path / "a.npz", x=CHANCE.normal(size=(N, *shape)), y=LABELS))
    assert isinstance(task.preparation, ArraysPreparation)
    assert task.preparation.channels_first == first


def test_labels_of_bytes_that_are_no_text_do_not_become_one_class(tmp_path: Path) -> None:
    x = CHANCE.normal(size=(N, 4))
    with pytest.raises(DataError, match=r"y\[0\] is b'\\xe8', which is not UTF-8 text"):
        task_of(save(tmp_path / "a.npz", x=x, y=np.array([b"\xe8", b"\xe9"] * (N // 2))))
    task = task_of(save(tmp_path / "b.npz", x=x, y=np.array(["é".encode(), b"e"] * (N // 2))))
    assert task.output.names == ("e", "é")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_damaged_archives(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.npz", x=CHANCE.normal(size=(N, 4)), y=LABELS)
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:900])
    with pytest.raises(DataError, match=r"cut\.npz: truncated; copy it again"):
        task_of(tmp_path / "cut.npz")
    content = io.BytesIO()
    np.save(content, LABELS)
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr("y.npy", content.getvalue())
    with pytest.raises(DataError, match="it has the array 'y' more than once"):
        task_of(whole)


def test_a_file_that_is_named_twice_is_said(tmp_path: Path) -> None:
    place = save(tmp_path / "a.npz", x=CHANCE.normal(size=(N, 4)), y=LABELS)
    task = Arrays(ArraysOptions(source=[f"path:{place}", f"path:{place}"]), seed=0)
    assert f"{place} is named more than once by the source" in task.notes
