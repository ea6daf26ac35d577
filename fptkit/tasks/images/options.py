"""Options of the image tasks; in a module of their own so that listings and recipe checks do not import NumPy.

Source of the defaults: Lu et al. 2021, section 3.1, and kzl/universal-computation, ``datasets/mnist.py``,
``cifar10.py`` and ``cifar10_gray.py``. The validation split of the protocol ``clean`` is ours.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from fptkit.options import ONE_OR_MORE, ONE_OR_MORE_SCHEMA, Options, source_check
from fptkit.specs import limits

MNIST_SOURCES = "torchvision, path:DIR_OR_FILE, digits"
CIFAR_SOURCES = "torchvision, path:DIR_OR_FILE, simulated"

_PROTOCOL = (
    "clean: a tenth of the training data is the validation split, splits are evaluated in full; "
    "fpt2021: as in the paper's code, D5, D6 and D19 to D21"
)
_SOURCE = "sources of the images, of which the first available one is used; any of "
_PATCH = "side of a square patch in pixels, a divisor of the image's side; one patch is one token"
_AUGMENT = (
    "random crop (padding 4), horizontal flip and rotation up to 20 degrees of training images; "
    "auto: as in the paper's code, on for CIFAR-10 and off for MNIST"
)
_TRAIN_SIZE = "number of training images used, stratified by class; null for all"


def _some(entries: tuple[str, ...]) -> tuple[str, ...]:
    if not entries:
        raise ValueError("name at least one source")
    return entries


_MnistSource = Annotated[str, AfterValidator(source_check(MNIST_SOURCES))]
_CifarSource = Annotated[str, AfterValidator(source_check(CIFAR_SOURCES))]
_MnistSources = Annotated[tuple[_MnistSource, ...], ONE_OR_MORE, AfterValidator(_some), ONE_OR_MORE_SCHEMA]
_CifarSources = Annotated[tuple[_CifarSource, ...], ONE_OR_MORE, AfterValidator(_some), ONE_OR_MORE_SCHEMA]


class SimulatedImageOptions(Options):
    """Options of simulated images; see `fptkit.tasks.images.simulate`.

    The ten classes are five shapes, each filled with stripes or with checks.
    """

    seed: int = Field(
        default=0, ge=0, le=limits.SEED, description="seed of the images; the run's own seed does not change the data"
    )
    train: int = Field(default=12_000, ge=10, le=limits.EXAMPLES, description="images of the training split")
    validation: int = Field(default=1_500, ge=10, le=limits.EXAMPLES, description="images of the validation split")
    test: int = Field(default=3_000, ge=10, le=limits.EXAMPLES, description="images of the test split")
    image_size: int = Field(default=32, ge=16, le=256, description="height and width, in pixels")
    channels: Literal[1, 3] = Field(default=3, description="3 for colour, 1 for grey")
    noise: float = Field(default=12.0, ge=0, le=128, description="standard deviation of the pixel noise, of 255 levels")

    @model_validator(mode="after")
    def _fits(self) -> SimulatedImageOptions:
        images = max(self.train, self.validation, self.test)
        limits.refuse_large(images * self.channels * self.image_size**2, "image_size and images")
        return self


class ImageOptions(Options):
    """Options common to all image tasks."""

    protocol: Literal["clean", "fpt2021"] = Field(default="clean", description=_PROTOCOL)
    source: tuple[str, ...]
    patch_size: int
    augment: Literal["auto"] | bool = Field(default="auto", description=_AUGMENT)
    train_size: int | None = Field(default=None, ge=1, le=limits.EXAMPLES, description=_TRAIN_SIZE)

    @property
    def side(self) -> int:
        """Height and width in pixels of the images that the model sees. Subclasses implement it."""
        raise NotImplementedError(f"{type(self).__name__} does not implement side")

    @model_validator(mode="after")
    def _patches_fill_the_image(self) -> ImageOptions:
        if self.side % self.patch_size:
            raise ValueError(f"patch_size {self.patch_size} does not divide the image's side of {self.side} pixels")
        return self


class MnistOptions(ImageOptions):
    """Options of the task ``mnist``: classify handwritten digits in images of 28 x 28 pixels."""

    source: _MnistSources = Field(default=("torchvision", "digits"), description=_SOURCE + MNIST_SOURCES)
    image_size: Literal[28, 32] = Field(
        default=28, description="side in pixels; 32, as in the paper's text, adds two black pixels on every side"
    )
    patch_size: int = Field(default=4, ge=1, le=limits.WIDTH, description=_PATCH)

    @property
    def side(self) -> int:
        """See `ImageOptions.side`."""
        return self.image_size


class _CifarOptions(ImageOptions):
    source: _CifarSources = Field(default=("torchvision", "simulated"), description=_SOURCE + CIFAR_SOURCES)
    simulated: SimulatedImageOptions = Field(
        default=SimulatedImageOptions(), description="options of the source 'simulated'"
    )

    @property
    def side(self) -> int:
        """See `ImageOptions.side`."""
        return 32

    @model_validator(mode="after")
    def _simulated_images_are_like_photographs(self) -> _CifarOptions:
        if self.simulated.image_size != 32 or self.simulated.channels != 3:
            raise ValueError("simulated images must have CIFAR-10's shape; set image_size: 32 and channels: 3")
        return self


class Cifar10Options(_CifarOptions):
    """Options of the task ``cifar10``: classify colour photographs of 32 x 32 pixels."""

    patch_size: int = Field(default=4, ge=1, le=limits.WIDTH, description=_PATCH)


class Cifar10LraOptions(_CifarOptions):
    """Options of the task ``cifar10_lra``: CIFAR-10 in grey, one token per pixel, as in the Long Range Arena."""

    patch_size: int = Field(default=1, ge=1, le=limits.WIDTH, description=_PATCH)
