"""Batches of images: equal to torchvision's transforms image by image, with independent randomness."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from einops import rearrange
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from fptkit.seeds import generator_for
from fptkit.tasks.images.examples import ImageExamples, ImageStore, Moves, Preparation

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def pictures(count: int, channels: int = 3, side: int = 32) -> np.ndarray:
    chance = np.random.Generator(np.random.PCG64(3))
    return chance.integers(1, 256, (count, side, side, channels), dtype=np.uint8)  # no black: black is what is outside


def patterned(image: torch.Tensor, size: int) -> torch.Tensor:
    return rearrange(image[None], "b c (h p1) (w p2) -> b (h w) (p1 p2 c)", p1=size, p2=size)[0]


def by_torchvision(*steps: torch.nn.Module) -> v2.Compose:
    return v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), *steps])


@pytest.mark.parametrize(
    ("preparation", "reference", "channels", "side"),
    [
        (Preparation(4), by_torchvision(), 1, 28),
        (Preparation(4, border=2), by_torchvision(v2.Pad(2)), 1, 28),
        (Preparation(4, MEAN, STD), by_torchvision(v2.Normalize(MEAN, STD)), 3, 32),
        (Preparation(8, MEAN, STD), by_torchvision(v2.Normalize(MEAN, STD)), 3, 32),
        (
            Preparation(1, (0.5,), (0.5,), grey=True),
            by_torchvision(v2.Grayscale(), v2.Normalize((0.5,), (0.5,))),
            3,
            32,
        ),
        (Preparation(2, (0.5,), (0.5,), grey=True), by_torchvision(v2.Normalize((0.5,), (0.5,))), 1, 32),
    ],
    ids=["mnist", "mnist 32", "cifar10", "cifar10 8x8", "cifar10_lra", "grey files"],
)
def test_tokens_are_those_of_torchvision(
    preparation: Preparation, reference: v2.Compose, channels: int, side: int
) -> None:
    images = pictures(5, channels, side)
    tokens = preparation.tokens(torch.from_numpy(images))
    expected = torch.stack([patterned(reference(image), preparation.patch_size) for image in images])
    assert tokens.dtype == torch.float32
    assert tokens.shape == expected.shape
    assert torch.allclose(tokens, expected, atol=2e-6)


def test_a_token_is_a_patch_read_row_by_row_with_the_colours_of_a_pixel_side_by_side() -> None:
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[0, 4, 1] = (51, 102, 255)  # second row of patches, first column; its row 0, column 1
    tokens = Preparation(4).tokens(torch.from_numpy(image))
    assert tokens.shape == (1, 4, 48)
    assert torch.allclose(tokens[0, 2, 3:6], torch.tensor([0.2, 0.4, 1.0]))
    assert int(tokens.count_nonzero()) == 3


def moved_by_torchvision(image: torch.Tensor, left: int, top: int, flipped: bool, degrees: float) -> torch.Tensor:
    """RandomCrop(32, padding=4), RandomHorizontalFlip and RandomRotation(20) with their parameters given."""
    image = functional.crop(functional.pad(image, [4]), top, left, image.shape[-2], image.shape[-1])
    if flipped:
        image = functional.horizontal_flip(image)
    return functional.rotate(image, degrees)


@pytest.mark.parametrize("channels", [1, 3])
def test_moves_are_those_of_torchvision(channels: int) -> None:
    images = pictures(60, channels)
    moves = Moves.draw(60, generator_for(0, "moves"))
    rows = torch.arange(60).flip(0)
    moved = ImageStore(images).take(rows, moves)
    expected = torch.stack(
        [
            moved_by_torchvision(torch.from_numpy(images[row]).permute(2, 0, 1), int(left), int(top), flipped, degrees)
            for row, left, top, flipped, degrees in zip(
                rows, moves.left, moves.top, moves.flipped.tolist(), moves.degrees.tolist(), strict=True
            )
        ]
    ).permute(0, 2, 3, 1)
    assert (moved != expected).float().mean() < 5e-4  # coordinates halfway between two pixels round either way


@pytest.mark.parametrize(
    ("left", "top", "flipped", "degrees"),
    [(4, 4, False, 0.0), (0, 4, False, 0.0), (8, 1, True, 0.0), (3, 7, False, 20.0), (0, 0, True, -20.0)],
)
def test_corner_cases_of_moves(left: int, top: int, flipped: bool, degrees: float) -> None:
    images = pictures(1)
    moves = Moves(torch.tensor([left]), torch.tensor([top]), torch.tensor([flipped]), torch.tensor([degrees]))
    moved = ImageStore(images).take(torch.tensor([0]), moves)[0]
    expected = moved_by_torchvision(torch.from_numpy(images[0]).permute(2, 0, 1), left, top, flipped, degrees)
    assert torch.equal(moved, expected.permute(1, 2, 0))


def test_moves_have_the_odds_of_torchvision() -> None:
    moves = Moves.draw(20_000, generator_for(0, "odds"))
    for shift in (moves.left, moves.top):
        assert torch.bincount(shift, minlength=9).div(20_000).sub(1 / 9).abs().max() < 0.01
    assert len(torch.bincount(moves.left)) == 9
    assert float(moves.flipped.float().mean()) == pytest.approx(0.5, abs=0.02)
    assert -20 <= float(moves.degrees.min()) < -19.9
    assert 19.9 < float(moves.degrees.max()) <= 20
    assert float(moves.degrees.std()) == pytest.approx(40 / 12**0.5, rel=0.02)
    assert abs(float(torch.corrcoef(torch.stack([moves.left.float(), moves.top.float()]))[0, 1])) < 0.03


def examples(augment: bool) -> ImageExamples:
    labels = np.arange(10, dtype=np.int64)
    which = np.array([7, 2, 5, 1], np.int64)
    return ImageExamples(ImageStore(pictures(10)), labels, which, Preparation(4, MEAN, STD), augment=augment)


def test_a_split_gives_its_own_images() -> None:
    split = examples(augment=False)
    batch = split.batch([3, 0, 0], generator_for(0, "unused"))
    assert split.size == 4
    assert batch.targets.tolist() == [1, 7, 7]
    assert torch.equal(batch.inputs, Preparation(4, MEAN, STD).tokens(torch.from_numpy(pictures(10)[[1, 7, 7]])))
    assert batch.lengths is None


def test_augmentation_differs_within_a_batch_and_comes_from_the_generator_alone() -> None:
    split = examples(augment=True)
    torch.manual_seed(1)
    first = split.batch([0] * 6, generator_for(0, "one")).inputs
    torch.manual_seed(2)
    assert torch.equal(first, split.batch([0] * 6, generator_for(0, "one")).inputs)
    assert not torch.equal(first, split.batch([0] * 6, generator_for(0, "two")).inputs)
    assert len({image.numpy().tobytes() for image in first}) == 6
    assert torch.initial_seed() == 2
    before = torch.get_rng_state()
    split.batch([0, 1], generator_for(0, "one"))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("augment", [False, True])
def test_a_split_can_be_pickled(augment: bool) -> None:
    split = examples(augment)
    copy = pickle.loads(pickle.dumps(split))
    left, right = (some.batch([1, 2], generator_for(0, "one")) for some in (split, copy))
    assert torch.equal(left.inputs, right.inputs)
    assert torch.equal(left.targets, right.targets)


@pytest.mark.parametrize("channels", [1, 3])
def test_stored_images_come_back_whole(channels: int) -> None:
    images = pictures(4, channels, 28)
    assert np.array_equal(ImageStore(images).take(torch.tensor([2, 0])).numpy(), images[[2, 0]])
