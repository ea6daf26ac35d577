"""The image classification tasks. Images are cut into square patches, one token each.

Source: Lu et al. 2021, section 3.1; kzl/universal-computation, ``datasets/mnist.py``, ``cifar10.py``,
``cifar10_gray.py``. Normalisation constants are those of the code.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fptkit.errors import DataError, UnknownNameError, UsageError
from fptkit.interfaces import Classes, SampledEvaluation, Shown, Task, Vectors
from fptkit.seeds import derive_seed
from fptkit.sources import choose
from fptkit.sources.choice import expanded
from fptkit.tasks.images.examples import ImageExamples, ImageStore, Preparation
from fptkit.tasks.images.options import (
    Cifar10LraOptions,
    Cifar10Options,
    ImageOptions,
    MnistOptions,
    SimulatedImageOptions,
)
from fptkit.tasks.images.preparation import ImageTaskPreparation
from fptkit.tasks.images.readers import Form, Integers, LabelledImages, read_images
from fptkit.tasks.reading.cautions import class_warnings, size_warnings

Splits = dict[str, LabelledImages]
"""``train`` and ``test``, and ``validation`` if the source has one."""

CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2023, 0.1994, 0.2010)

VALIDATION_SHARE = 0.1
"""Fraction of the training data used for validation if the source has no validation split."""

STAND_INS = ("digits", "simulated")

_ADVICE = (
    "Run once with network access: 'torchvision' caches its files under $FPTKIT_DATA. Or use your own files\n"
    "(source: path:DIR_OR_FILE). Or list '{stand_in}' as a further source, a fallback (stand-in) that needs no network."
)


_FPT2021_NOTE = (
    "fpt2021: the step is chosen on the test images (D5); 25 batches per evaluation (D6), which continue through the "
    "images (D20); training drops the last incomplete batch of an epoch (D19); float32 unless the recipe names a "
    "precision (D21)"
)


class ImageTask(Task):
    """Base class of image classification tasks. Subclasses define the shape of images and their sources.

    Args:
        options: options of the task.
        form: required shape of stored images.
        preparation: turns stored images into tokens.
        augments: meaning of ``augment: auto``.
        pinned: source that an earlier run of this recipe used; only it is tried.

    Attributes:
        majority_accuracy: for each split, the accuracy of always answering with the most frequent class of ``train``.

    Raises:
        SourceError: no listed source is available.
        DataError: the files of a source are damaged or hold something else.
        UsageError: ``train_size`` exceeds the number of training images.
    """

    input: Vectors
    output: Classes

    name: str
    stand_in_source: str

    def __init__(
        self,
        options: ImageOptions,
        *,
        form: Form,
        preparation: Preparation,
        augments: bool,
        pinned: str | None,
    ) -> None:
        choice = choose(
            options.source,
            lambda entry: self._open(entry, form),
            what=f"data of task {self.name}",
            pinned=pinned,
            advice=_ADVICE.format(stand_in=self.stand_in_source),
        )
        data = choice.found
        self.protocol = options.protocol
        self.source = choice.entry
        self.stand_in = choice.stand_in or choice.entry in STAND_INS  # a stand-in even if it is listed first
        self.input = Vectors(options.patch_size**2 * (1 if preparation.grey else form.channels[0]))
        self.max_tokens = (options.side // options.patch_size) ** 2
        self.preparation = ImageTaskPreparation(
            side=form.side,
            channels=form.channels,
            count=_class_count(data, choice.entry),
            classes=data["train"].classes,
            patch_size=options.patch_size,
            mean=preparation.mean,
            std=preparation.std,
            grey=preparation.grey,
            border=preparation.border,
        )
        self.output = self.preparation.output
        augment = augments if options.augment == "auto" else options.augment
        if options.protocol == "fpt2021":
            self.sampled_evaluation = SampledEvaluation(batches=25, continued=True)  # D6, D20
            self.complete_batches = True  # D19
            self.precision = "float32"  # D21
        self._splits = _make_splits(data, options, preparation, augment)
        commonest = int(np.bincount(self._splits["train"].targets).argmax())
        self.majority_accuracy = {
            name: float((split.targets == commonest).mean()) for name, split in self._splits.items()
        }
        counts = {name: len(split.targets) for name, split in self._splits.items()}
        sizes = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        names = self.output.names or [str(number) for number in range(self.output.count)]
        targets = {name: split.targets for name, split in self._splits.items()}
        self.warnings = (*size_warnings(counts), *class_warnings(targets, names))
        self.notes = (
            *(f"{entry}: {reason}" for entry, reason in choice.skipped),
            *self._source_notes(choice.entry),
            f"images: {sizes}; {self.output.count} classes",
            *(note for some in data.values() for note in some.notes),
            *(("training images are randomly cropped, flipped and rotated",) if augment else ()),
            *((_FPT2021_NOTE,) if options.protocol == "fpt2021" else ()),
        )

    def split(self, name: str) -> ImageExamples:
        """Return the split ``train``, ``validation`` or ``test``.

        Raises:
            UnknownNameError: the task has no split of this name.
        """
        if name not in self._splits:
            raise UnknownNameError(f"split of task {self.name}", name, self._splits)
        return self._splits[name]

    def show(self, split: str, index: int) -> Shown:
        """See `fptkit.Task.show`: the stored image."""
        return Shown(picture=self.split(split).picture(index))

    def _open(self, entry: str, form: Form) -> Splits:
        if entry.startswith("path:"):
            return read_images(expanded(entry.removeprefix("path:")), form)
        return self._open_named(entry, form)

    def _open_named(self, entry: str, form: Form) -> Splits:
        """Return the images of a source other than ``path:``. Subclasses implement it.

        Raises:
            Unavailable: the source is not available.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement _open_named({entry!r})")

    def _source_notes(self, entry: str) -> tuple[str, ...]:
        if entry.startswith("path:"):
            return (
                f"images of {entry.removeprefix('path:')}: comparable with published results only if they are the "
                "complete data set",
            )
        return ()


class Mnist(ImageTask):
    """MNIST: classify handwritten digits.

    Shapes: inputs (B, 49, 16) for 28 x 28 pixels in patches of 4 x 4, in 0 ... 1; targets (B,).
    """

    name, stand_in_source = "mnist", "digits"

    def __init__(self, options: MnistOptions, *, seed: int, pinned: str | None = None) -> None:
        border = (options.image_size - 28) // 2
        super().__init__(
            options,
            form=Form(28, (1,)),
            preparation=Preparation(options.patch_size, border=border),
            augments=False,
            pinned=pinned,
        )

    def _open_named(self, entry: str, form: Form) -> Splits:
        if entry == "digits":
            return _digits()
        from fptkit.tasks.images.fetch import fetched_mnist

        return fetched_mnist(form)

    def _source_notes(self, entry: str) -> tuple[str, ...]:
        if entry == "digits":
            return (
                "scikit-learn's handwritten digits (8 x 8 pixels), enlarged: not MNIST, not comparable with results "
                "published on it",
            )
        return super()._source_notes(entry)


class _Photographs(ImageTask):
    """CIFAR-10, or simulated images as a fallback."""

    stand_in_source = "simulated"
    _simulated: SimulatedImageOptions

    def _open_named(self, entry: str, form: Form) -> Splits:
        return _cifar_or_simulated(entry, form, self._simulated)

    def _source_notes(self, entry: str) -> tuple[str, ...]:
        return _simulated_notes(self._simulated) if entry == "simulated" else super()._source_notes(entry)


class Cifar10(_Photographs):
    """CIFAR-10: classify colour photographs.

    Shapes: inputs (B, 64, 48) for 32 x 32 pixels in patches of 4 x 4, normalised per channel; targets (B,).
    """

    name = "cifar10"

    def __init__(self, options: Cifar10Options, *, seed: int, pinned: str | None = None) -> None:
        self._simulated = options.simulated
        super().__init__(
            options,
            form=Form(32, (3,)),
            preparation=Preparation(options.patch_size, CIFAR_MEAN, CIFAR_STD),
            augments=True,
            pinned=pinned,
        )


class Cifar10Lra(_Photographs):
    """CIFAR-10 in grey, one token per pixel: the task Image of the Long Range Arena.

    Shapes: inputs (B, 1024, 1) for 32 x 32 pixels, in -1 ... 1; targets (B,).

    Source: Tay et al. 2020, section 2.2.4. Differences, as in kzl/universal-computation: pixels are numbers instead of
    256 symbols, and training images are augmented.
    """

    name = "cifar10_lra"

    def __init__(self, options: Cifar10LraOptions, *, seed: int, pinned: str | None = None) -> None:
        self._simulated = options.simulated
        super().__init__(
            options,
            form=Form(32, (3, 1)),
            preparation=Preparation(options.patch_size, (0.5,), (0.5,), grey=True),
            augments=True,
            pinned=pinned,
        )


def _cifar_or_simulated(entry: str, form: Form, options: SimulatedImageOptions) -> Splits:
    if entry == "simulated":
        from fptkit.tasks.images.simulate import simulate

        return {name: LabelledImages(images, labels) for name, (images, labels) in simulate(options).items()}
    from fptkit.tasks.images.fetch import fetched_cifar10

    return fetched_cifar10(form)


def _simulated_notes(options: SimulatedImageOptions) -> tuple[str, ...]:
    return (
        f"simulated images (seed {options.seed}), striped and checked shapes: no photographs, not comparable with "
        "published results",
    )


def _digits() -> Splits:
    """scikit-learn's digits in MNIST's shape: enlarged to 20 x 20, centred in 28 x 28; a fifth of them is ``test``.

    Source: ``sklearn.datasets.load_digits``, the test part of UCI's "Optical Recognition of Handwritten Digits"
    (Alpaydin and Kaynak 1998); 1,797 images of 8 x 8 in 17 levels.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images.astype(np.float32))[:, None] * (255 / 16)
    large = torch.nn.functional.interpolate(small, size=(20, 20), mode="bilinear", align_corners=False)
    framed = torch.nn.functional.pad(large, (4, 4, 4, 4)).round().to(torch.uint8)
    images, labels = framed[:, 0, :, :, None].numpy(), digits.target.astype(np.int64)
    test, train = _drawn(labels, np.arange(len(labels)), round(0.2 * len(labels)), "digits of the test split")
    return {"train": LabelledImages(images[train], labels[train]), "test": LabelledImages(images[test], labels[test])}


def _class_count(data: Splits, entry: str) -> int:
    seen = np.unique(data["train"].labels)
    if len(seen) != seen[-1] + 1:
        missing = int(np.argmax(seen != np.arange(len(seen))))  # not an array up to a label, which may be any number
        raise DataError(
            f"{entry}: labels of train go up to {seen[-1]}, but no image has {missing}; number them from 0 without gaps"
        )
    if len(seen) < 2:
        raise DataError(f"{entry}: all training images have the same class")
    for name, some in data.items():
        if some.labels.max() > seen[-1]:
            raise DataError(f"{entry}: {name} has label {some.labels.max()}, train goes up to {seen[-1]}")
    return len(seen)


def _make_splits(
    data: Splits, options: ImageOptions, preparation: Preparation, augment: bool
) -> dict[str, ImageExamples]:
    stored = {name: (ImageStore(some.images), some.labels) for name, some in data.items()}
    rows = {name: np.arange(len(some)) for name, some in data.items()}
    if options.protocol == "fpt2021":  # D5: the step is chosen on the test images
        stored["validation"], rows["validation"] = stored["test"], rows["test"]
    elif "validation" not in stored:
        count = max(1, round(VALIDATION_SHARE * len(rows["train"])))
        rows["validation"], rows["train"] = _drawn(data["train"].labels, rows["train"], count, "validation split")
        stored["validation"] = stored["train"]
    if options.train_size is not None:
        if options.train_size > len(rows["train"]):
            raise UsageError(f"train_size {options.train_size:,} exceeds the {len(rows['train']):,} training images")
        rows["train"], _ = _drawn(data["train"].labels, rows["train"], options.train_size, "train_size")
    return {
        name: ImageExamples(*stored[name], rows[name], preparation, augment=augment and name == "train")
        for name in ("train", "validation", "test")
    }


def _drawn(
    labels: Integers, rows: NDArray[np.int64], count: int, purpose: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw ``count`` of these rows, stratified by class; the same rows on every machine.

    Returns:
        drawn: (count,) rows, in ascending order.
        left: the other rows, in ascending order.
    """
    chance = np.random.PCG64(derive_seed(0, purpose))
    shuffled = rows[np.argsort(chance.random_raw(len(rows)), kind="stable")]
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = np.bincount(labels[rows])
    starts = np.cumsum(sizes) - sizes
    of = labels[by_class]
    # Relative position of each row in its class: taking the smallest takes the same fraction of every class.
    progress = (np.arange(len(rows)) - starts[of] + 0.5) / sizes[of]
    order = by_class[np.argsort(progress, kind="stable")]
    return np.sort(order[:count]), np.sort(order[count:])
