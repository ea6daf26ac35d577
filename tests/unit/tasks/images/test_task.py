"""The image tasks: options, sources, splits, protocols, notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fptkit.errors import DataError, SourceError, UnknownNameError, UsageError
from fptkit.interfaces import SampledEvaluation, Vectors
from fptkit.seeds import generator_for
from fptkit.sources import Unavailable
from fptkit.tasks.images import fetch
from fptkit.tasks.images.options import Cifar10LraOptions, Cifar10Options, MnistOptions
from fptkit.tasks.images.task import Cifar10, Cifar10Lra, ImageTask, Mnist
from fptkit.testing import check_task

SIMULATED = {"train": 60, "validation": 20, "test": 30}
TASKS: dict[str, tuple[Any, Any]] = {
    "mnist": (Mnist, MnistOptions),
    "cifar10": (Cifar10, Cifar10Options),
    "cifar10_lra": (Cifar10Lra, Cifar10LraOptions),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's servers are never asked here; test_fetch.py has that source."""

    def unavailable(form: object) -> None:
        raise Unavailable("no network in tests")

    monkeypatch.setattr(fetch, "fetched_mnist", unavailable)
    monkeypatch.setattr(fetch, "fetched_cifar10", unavailable)


def task_of(name: str, **options: Any) -> ImageTask:
    build, model = TASKS[name]
    if name != "mnist":
        options.setdefault("simulated", SIMULATED)
    return build(model(**options), seed=0)


def write_npz(path: Path, side: int = 28, train: int = 200, classes: int = 10, **changes: np.ndarray) -> str:
    chance = np.random.Generator(np.random.PCG64(1))
    shape = (side, side) if side == 28 else (side, side, 3)
    content = {
        "x_train": chance.integers(0, 256, (train, *shape), dtype=np.uint8),
        "y_train": np.arange(train) % classes,
        "x_test": chance.integers(0, 256, (40, *shape), dtype=np.uint8),
        "y_test": np.arange(40) % classes,
    }
    np.savez(path, **{**content, **changes})
    return f"path:{path}"


@pytest.mark.parametrize(
    ("name", "options", "tokens", "width"),
    [
        ("mnist", {}, 49, 16),
        ("mnist", {"image_size": 32}, 64, 16),
        ("mnist", {"patch_size": 7}, 16, 49),
        ("cifar10", {}, 64, 48),
        ("cifar10", {"patch_size": 16}, 4, 768),
        ("cifar10_lra", {}, 1024, 1),
        ("cifar10_lra", {"patch_size": 4}, 64, 16),
    ],
)
def test_tokens_are_as_the_paper_says(name: str, options: dict[str, int], tokens: int, width: int) -> None:
    task = task_of(name, source="digits" if name == "mnist" else "simulated", **options)
    assert (task.max_tokens, task.input, task.output.count) == (tokens, Vectors(width), 10)
    assert task.split("train").batch([0, 1], generator_for(0)).inputs.shape == (2, tokens, width)
    check_task(task)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "mnist",
            {"source": "simulated"},
            "unknown source 'simulated'; allowed: torchvision, path:DIR_OR_FILE, digits",
        ),
        ("cifar10", {"source": "digits"}, "unknown source 'digits'"),
        ("cifar10", {"source": "path: "}, "'path:' names nothing; write path:DIR_OR_FILE"),
        ("cifar10", {"source": []}, "name at least one source"),
        ("mnist", {"patch_size": 5}, "patch_size 5 does not divide the image's side of 28 pixels"),
        ("mnist", {"image_size": 30}, "Input should be 28 or 32"),
        ("cifar10", {"augment": "sometimes"}, "augment"),
        ("cifar10", {"train_size": 0}, "greater than or equal to 1"),
        ("cifar10_lra", {"simulated": {"image_size": 64}}, "image_size: 32 and channels: 3"),
        ("cifar10", {"protocol": "fair"}, "'clean' or 'fpt2021'"),
    ],
)
def test_invalid_options(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TASKS[name][1](**options)


# Sources


@pytest.mark.parametrize(("name", "stand_in"), [("mnist", "digits"), ("cifar10", "simulated")])
def test_stand_ins_say_so(name: str, stand_in: str) -> None:
    task = task_of(name)
    assert (task.source, task.stand_in) == (stand_in, True)
    assert task.notes[0] == "torchvision: no network in tests"
    assert "not comparable with" in " ".join(task.notes)
    alone = task_of(name, source=stand_in)
    assert alone.stand_in, "not the named images, even if it is the first of the list"


def test_no_source_is_an_error_with_advice() -> None:
    with pytest.raises(SourceError, match=r"data of task cifar10: no source(.|\n)*list 'simulated'") as found:
        task_of("cifar10", source=["torchvision", "path:nowhere"])
    assert [entry for entry, _ in found.value.tried] == ["torchvision", "path:nowhere"]


def test_a_damaged_file_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "digits.npz").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"not an \.npz file"):
        task_of("mnist", source=[f"path:{tmp_path / 'digits.npz'}", "digits"])


def test_a_pinned_source_is_the_only_one_tried(tmp_path: Path) -> None:
    entry = write_npz(tmp_path / "a.npz")
    options = MnistOptions(source=[entry, "digits"])
    assert Mnist(options, seed=0).source == entry
    assert Mnist(options, seed=0, pinned="digits").source == "digits"


def test_digits_are_scikit_learns_enlarged() -> None:
    from sklearn.datasets import load_digits

    task = task_of("mnist", source="digits", protocol="fpt2021")
    assert (task.split("train").size, task.split("test").size) == (1438, 359)
    real = load_digits()
    counts = sum(np.bincount(task.split(name).targets) for name in ("train", "test"))
    assert counts.tolist() == np.bincount(real.target).tolist()
    images = task.split("test").batch(range(359), generator_for(0)).inputs
    square = images.view(-1, 7, 7, 4, 4).transpose(2, 3).reshape(-1, 28, 28)
    assert float(square[:, :4].max()) == float(square[:, :, -4:].max()) == 0, "the margin is black"
    small = torch.nn.functional.interpolate(square[:, None, 4:24, 4:24], size=(8, 8), mode="area")[:, 0]
    originals = torch.from_numpy(real.images / 16).float().flatten(1)
    shrunk = small.flatten(1)
    near = torch.cdist(shrunk, originals).argmin(1)
    assert len(near.unique()) > 355, "each is the enlargement of its own original"
    assert (real.target[near.numpy()] == task.split("test").targets).mean() > 0.99


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y_train": np.arange(200) % 9 + (np.arange(200) % 9 > 3)}, "no image has 4; number them from 0"),
        ({"y_train": np.zeros(200, int)}, "all training images have the same class"),
        ({"y_test": np.full(40, 10)}, "test has label 10, train goes up to 9"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, changes: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(DataError, match=said):
        task_of("mnist", source=write_npz(tmp_path / "a.npz", **changes))


def test_other_numbers_of_classes(tmp_path: Path) -> None:
    task = task_of("mnist", source=write_npz(tmp_path / "a.npz", classes=4))
    assert task.output.count == 4
    check_task(task)


# Splits and protocols


def test_clean_carves_validation_out_of_train_class_by_class(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], [100, 60, 40])
    entry = write_npz(tmp_path / "a.npz", classes=3, y_train=labels)
    task = task_of("mnist", source=entry)
    validation, train = task.split("validation"), task.split("train")
    assert np.bincount(validation.targets).tolist() == [10, 6, 4]
    assert np.bincount(train.targets).tolist() == [90, 54, 36]
    rows = [image.numpy().tobytes() for split in (train, validation) for image in all_of(split)]
    stored = all_of(task_of("mnist", source=entry, protocol="fpt2021").split("train"))
    assert sorted(rows) == sorted(image.numpy().tobytes() for image in stored), "every image once, in one of the two"
    again = Mnist(MnistOptions(source=entry), seed=5).split("validation")
    assert torch.equal(all_of(again), all_of(validation)), "the run's seed does not change the data"
    assert task.majority_accuracy == {"train": 0.5, "validation": 0.5, "test": 14 / 40}
    assert task.sampled_evaluation is None


def all_of(split: Any) -> torch.Tensor:
    return split.batch(range(split.size), generator_for(0)).inputs


def test_fpt2021_chooses_on_test_and_samples(tmp_path: Path) -> None:
    task = task_of("mnist", source=write_npz(tmp_path / "a.npz"), protocol="fpt2021")
    assert task.protocol == "fpt2021"
    assert task.split("train").size == 200
    assert torch.equal(all_of(task.split("validation")), all_of(task.split("test")))
    assert task.sampled_evaluation == SampledEvaluation(batches=25, continued=True)
    assert (task.complete_batches, task.precision) == (True, "float32")
    assert any("chosen on the test images (D5)" in note for note in task.notes)
    check_task(task)


def test_simulated_images_bring_their_own_validation() -> None:
    task = task_of("cifar10")
    assert [task.split(name).size for name in ("train", "validation", "test")] == [60, 20, 30]
    paper = task_of("cifar10", protocol="fpt2021")
    assert torch.equal(all_of(paper.split("validation")), all_of(task.split("test")))


def test_train_size_takes_every_class_in_proportion(tmp_path: Path) -> None:
    entry = write_npz(tmp_path / "a.npz", classes=4)
    task = task_of("mnist", source=entry, train_size=20)
    assert np.bincount(task.split("train").targets).tolist() == [5, 5, 5, 5]
    assert task.split("validation").size == 20
    assert torch.equal(all_of(task.split("validation")), all_of(task_of("mnist", source=entry).split("validation"))), (
        "the other splits stay as they are"
    )
    with pytest.raises(UsageError, match="train_size 181 exceeds the 180 training images"):
        task_of("mnist", source=entry, train_size=181)


@pytest.mark.parametrize(
    ("name", "augment", "moved"),
    [
        ("mnist", "auto", False),
        ("mnist", True, True),
        ("cifar10", "auto", True),
        ("cifar10", False, False),
        ("cifar10_lra", "auto", True),
    ],
)
def test_augmentation_is_of_training_images_only(name: str, augment: str | bool, moved: bool) -> None:
    task = task_of(name, augment=augment)
    for split in ("train", "validation", "test"):
        first, second = (task.split(split).batch(range(8), generator_for(0, word)).inputs for word in ("a", "b"))
        assert torch.equal(first, second) != (moved and split == "train")


def test_an_unknown_split() -> None:
    with pytest.raises(UnknownNameError, match=r"split of task mnist 'tests'\. Did you mean 'test'"):
        task_of("mnist").split("tests")


# Real data


def test_real_mnist(shared_data: Path) -> None:
    task = task_of("mnist", source=f"path:{shared_data / 'mnist_subset.npz'}")
    assert [task.split(name).size for name in ("train", "validation", "test")] == [10_800, 1_200, 3_000]
    pixels = task.split("test").batch(range(3_000), generator_for(0)).inputs
    assert (float(pixels.min()), float(pixels.max())) == (0, 1)
    assert float(pixels.mean()) == pytest.approx(0.1307, abs=0.005), "the mean that is known of MNIST"
    assert not task.stand_in
    check_task(task)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10", "cifar10_lra"])
def test_real_cifar(shared_data: Path, name: str) -> None:
    task = task_of(name, source=f"path:{shared_data / 'cifar10_subset.npz'}", augment=False)
    tokens = task.split("train").batch(range(2_000), generator_for(0)).inputs
    if name == "cifar10":  # the constants are CIFAR-10's own, so that colours come out centred and of like spread
        colours = tokens.view(-1, 3)
        assert colours.mean(0).abs().max() < 0.05
        assert ((colours.std(0) > 1.1) & (colours.std(0) < 1.35)).all()
    else:
        assert -1 <= float(tokens.min()) < -0.95
        assert 0.95 < float(tokens.max()) <= 1
    check_task(task)
