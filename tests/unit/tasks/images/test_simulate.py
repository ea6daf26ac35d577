"""Simulated images: form, repeatability, geometry, and that simple statistics do not reveal the class."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from pydantic import ValidationError

from fptkit.tasks.images import simulate as module
from fptkit.tasks.images.options import SimulatedImageOptions
from fptkit.tasks.images.simulate import CLASSES, simulate

SMALL = SimulatedImageOptions(train=300, validation=30, test=40)


def test_form() -> None:
    splits = simulate(SMALL)
    assert list(splits) == ["train", "validation", "test"]
    for (images, labels), size in zip(splits.values(), (300, 30, 40), strict=True):
        assert images.shape == (size, 32, 32, 3)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert images.std() > 30, "images are not flat"
    assert np.bincount(splits["train"][1][:250]).tolist() == [25] * 10
    assert len(CLASSES) == len(set(CLASSES)) == 10


def test_the_same_options_give_the_same_images_and_a_longer_split_begins_with_them() -> None:
    short, long = simulate(SMALL), simulate(SimulatedImageOptions(train=520, validation=30, test=40))
    for index in (0, 1):
        assert np.array_equal(short["train"][index], long["train"][index][:300])
        assert np.array_equal(short["test"][index], long["test"][index])
    other = simulate(SimulatedImageOptions(seed=1, train=300, validation=30, test=40))
    assert (other["train"][0] != short["train"][0]).mean() > 0.9
    assert not np.array_equal(short["train"][0][:30], short["validation"][0]), "splits are drawn apart"


def test_labels_are_those_of_every_machine() -> None:
    """They come from integers only; recorded once (PCG64, seed 0)."""
    assert simulate(SMALL)["train"][1][:12].tolist() == LABELS


LABELS = [7, 4, 2, 5, 9, 4, 8, 7, 1, 4, 4, 4]


def test_sizes_and_grey() -> None:
    options = SimulatedImageOptions(train=10, validation=10, test=10, image_size=48, channels=1, noise=0)
    images, _ = simulate(options)["train"]
    assert images.shape == (10, 48, 48, 1)
    assert images.std() > 30


def test_noise_has_the_deviation_that_is_asked_for() -> None:
    sizes = {"train": 200, "validation": 10, "test": 10}
    clean = simulate(SimulatedImageOptions(noise=0, **sizes))["train"][0].astype(float)
    noisy = simulate(SimulatedImageOptions(noise=10, **sizes))["train"][0].astype(float)
    unclipped = (clean > 60) & (clean < 195)
    difference = (noisy - clean)[unclipped]
    assert difference.std() == pytest.approx(10, rel=0.03)
    assert abs(difference.mean()) < 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": 2}, "Input should be 1 or 3"),
        ({"image_size": 8}, "greater than or equal to 16"),
        ({"noise": -1}, "greater than or equal to 0"),
        ({"train": 0}, "greater than or equal to 10"),
    ],
)
def test_options_that_make_no_image(change: dict[str, float], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SimulatedImageOptions(**change)


# Geometry, against outlines drawn by matplotlib's point-in-polygon


def polygon(corners: int, radius: float) -> Outline:
    angles = 2 * np.pi * np.arange(corners) / corners
    return Outline(radius * np.stack([np.cos(angles), np.sin(angles)], 1))


def star() -> Outline:
    outer = np.sqrt(np.pi / (5 * 0.45 * np.sin(np.pi / 5)))
    angles = np.pi * np.arange(10) / 5
    radii = np.where(np.arange(10) % 2, 0.45 * outer, outer)[:, None]
    return Outline(radii * np.stack([np.cos(angles), np.sin(angles)], 1))


def cross() -> Outline:
    half = np.sqrt(np.pi / (4 * 0.36 * (2 - 0.36)))
    arm = 0.36 * half
    quarter = np.array([[half, -arm], [half, arm], [arm, arm]])
    turns = [np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in np.pi / 2 * np.arange(4)]
    return Outline(np.concatenate([quarter @ turn for turn in turns]))


OUTLINES = {
    "_disc": polygon(2000, 1.0),
    "_triangle": polygon(3, np.sqrt(2 * np.pi / (3 * np.sin(2 * np.pi / 3)))),
    "_square": polygon(4, np.sqrt(np.pi / 2)),
    "_star": star(),
    "_cross": cross(),
}


@pytest.mark.parametrize("name", OUTLINES)
def test_shapes_have_their_outline_and_the_area_of_a_disc(name: str) -> None:
    axis = np.linspace(-2.5, 2.5, 301, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    inside = getattr(module, name)(x, y) < 0
    expected = OUTLINES[name].contains_points(np.stack([x.ravel(), y.ravel()], 1)).reshape(x.shape)
    assert (inside != expected).mean() < 2e-3
    assert inside.mean() * 25 == pytest.approx(np.pi, rel=0.02)


# What simple statistics tell


def logistic_accuracy(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge to be far below the bound
        return float(LogisticRegression(max_iter=30, C=1e-3).fit(*train).score(*test))


@pytest.mark.slow
def test_mean_colour_does_not_tell_the_class() -> None:
    splits = simulate(SimulatedImageOptions(train=1000, validation=10, test=500))
    colours = {
        name: np.concatenate([images.mean((1, 2)), images.std((1, 2))], 1) / 128 for name, (images, _) in splits.items()
    }
    score = logistic_accuracy((colours["train"], splits["train"][1]), (colours["test"], splits["test"][1]))
    assert score < 0.2


@pytest.mark.slow
def test_a_linear_classifier_on_pixels_stays_far_below_sixty_per_cent() -> None:
    splits = simulate(SimulatedImageOptions(train=3000, validation=10, test=1000))
    train, test = (
        (splits[name][0].reshape(len(splits[name][1]), -1) / 255 - 0.5, splits[name][1]) for name in ("train", "test")
    )
    assert logistic_accuracy(train, test) < 0.6


def test_the_filling_distinguishes_stripes_from_checks() -> None:
    """Half of the class, found by hand: along the best of many directions, stripes do not change and checks do."""
    options = SimulatedImageOptions(train=250, validation=10, test=10, noise=0, channels=1)
    images, labels = simulate(options)["train"]
    grey = images[..., 0].astype(float)
    down, along = np.gradient(grey, axis=(1, 2))
    # Structure tensor over the whole image: its smaller eigenvalue is near 0 where all changes have one direction.
    xx, yy, xy = ((a * b).mean((1, 2)) for a, b in ((along, along), (down, down), (along, down)))
    root = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
    one_way = root / (xx + yy)
    checks = labels % 2 == 1
    assert np.median(one_way[~checks]) > 2 * np.median(one_way[checks])
