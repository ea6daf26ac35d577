"""Transforms do what they say, to real tokens only, and a split with them is drawn from the batch's generator."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fptkit.engine.fraction import skips, training_fraction, training_sample
from fptkit.engine.training import options, transforms
from fptkit.engine.training.transforms import NamedTransform, TransformedSplit, transformed
from fptkit.errors import PluginError, UsageError
from fptkit.interfaces import Batch, Classes, Grid, Symbols, Task, Vectors
from fptkit.specs import TransformSpec
from fptkit.tasks.generated import ArraySplit

GRID = Grid((6, 5), channels=2)
IMAGES = torch.arange(4 * 6 * 5 * 2, dtype=torch.float32).reshape(4, 6, 5, 2) + 1
SERIES = torch.arange(3 * 8 * 2, dtype=torch.float32).reshape(3, 8, 2) + 1
LENGTHS = torch.tensor([8, 5, 2])


def after(change: Any, inputs: torch.Tensor, lengths: torch.Tensor | None = None, seed: int = 0) -> torch.Tensor:
    given = Batch(inputs, torch.zeros(len(inputs), dtype=torch.int64), lengths)
    found = change(given, torch.Generator().manual_seed(seed)).inputs
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize(("direction", "axis"), [("left_right", 2), ("up_down", 1)])
def test_each_example_is_flipped_or_not(direction: Any, axis: int) -> None:
    always, never = (
        transforms.flip(options.FlipOptions(probability=p, direction=direction), input=GRID) for p in (1.0, 0.0)
    )
    assert torch.equal(after(always, IMAGES), IMAGES.flip(axis))
    assert torch.equal(after(never, IMAGES), IMAGES)
    many = IMAGES[:1].expand(400, -1, -1, -1)
    half = after(transforms.flip(options.FlipOptions(direction=direction), input=GRID), many)
    flipped = (half == many.flip(axis)).flatten(1).all(1)
    assert bool((flipped | (half == many).flatten(1).all(1)).all())
    assert 150 < int(flipped.sum()) < 250


def test_a_shift_moves_every_cell_alike_and_zeros_fill_the_edge() -> None:
    change, seen = transforms.shift(options.ShiftOptions(most=2), input=GRID), set()
    for seed in range(30):
        for before, found in zip(IMAGES, after(change, IMAGES, seed=seed), strict=True):
            padded = torch.zeros(10, 9, 2)
            padded[2:8, 2:7] = before
            fits = [(y, x) for y in range(5) for x in range(5) if torch.equal(padded[y : y + 6, x : x + 5], found)]
            assert len(fits) == 1
            seen |= set(fits)
    assert len(seen) == 25
    with pytest.raises(UsageError, match="most is 5, but the grids are 6 x 5"):
        transforms.shift(options.ShiftOptions(most=5), input=GRID)


def test_cutout_is_a_square() -> None:
    found = after(transforms.cutout(options.CutoutOptions(side=3), input=GRID), IMAGES, seed=3)
    for example, original in zip(found, IMAGES, strict=True):
        gone = (example == 0).all(-1)
        rows, columns = gone.any(1).nonzero().flatten(), gone.any(0).nonzero().flatten()
        assert 2 <= len(rows) <= 3
        assert 2 <= len(columns) <= 3
        assert bool(gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all())
        assert torch.equal(example[~gone], original[~gone])
        assert int(gone.sum()) == len(rows) * len(columns)


def test_noise_has_its_deviation_and_leaves_padding() -> None:
    change = transforms.noise(options.NoiseOptions(deviation=0.5), input=Vectors(2))
    added = after(change, SERIES, LENGTHS) - SERIES
    assert bool((added[1, 5:] == 0).all())
    assert bool((added[2, 2:] == 0).all())
    assert bool((added[0] != 0).all())
    large = after(change, torch.zeros(50, 40, 10))
    assert float(large.std()) == pytest.approx(0.5, rel=0.02)
    assert float(large.mean()) == pytest.approx(0, abs=0.02)


def test_scale_is_one_factor_for_each_example() -> None:
    ratio = after(transforms.scale(options.ScaleOptions(deviation=0.2), input=Vectors(2)), SERIES) / SERIES
    assert torch.allclose(ratio, ratio[:, :1, :1].expand_as(ratio))
    assert len(set(ratio[:, 0, 0].tolist())) == 3


@pytest.mark.parametrize("span", [1, 3, 100])
def test_masks_are_spans_of_tokens(span: int) -> None:
    found = after(transforms.mask(options.MaskOptions(probability=0.1, span=span), input=Vectors(2)), SERIES, seed=1)
    gone = (found == 0).all(-1)
    assert bool(gone.any())
    assert torch.equal(found[~gone], SERIES[~gone])
    for row in gone.tolist():
        runs = "".join("x" if one else " " for one in row).rstrip().split()
        ends = "".join("x" if one else " " for one in row).endswith("x")
        assert all(len(run) >= span for run in (runs[:-1] if ends else runs))


@pytest.mark.parametrize("pad", [0, 3, 6])
def test_replaced_symbols_are_real_ones(pad: int) -> None:
    symbols = torch.full((40, 8), (pad + 1) % 7)
    lengths = torch.full((40,), 5)
    change = transforms.replace_symbols(options.ReplaceOptions(probability=1.0), input=Symbols(7, pad=pad))
    found = after(change, symbols, lengths)
    assert torch.equal(found[:, 5:], symbols[:, 5:])
    assert set(found[:, :5].flatten().tolist()) == set(range(7)) - {pad}
    never = transforms.replace_symbols(options.ReplaceOptions(probability=0.0), input=Symbols(7, pad=pad))
    assert torch.equal(after(never, symbols, lengths), symbols)


class Odd(Task):
    input, output, max_tokens = Vectors(2), Classes(2), 8

    def skips(self, split: Any, indices: Any) -> bool:
        return bool(split is SPLIT and list(indices) == [2])


SPLIT = ArraySplit(SERIES, torch.zeros(3, dtype=torch.int64), vectors=True)
SPEC = TransformSpec(name="mine", summary="x", target="a:b", accepts=("vectors",))


def test_a_transformed_split_follows_its_generator_and_stays_the_tasks_split() -> None:
    noise = NamedTransform(SPEC, transforms.noise(options.NoiseOptions(), input=Vectors(2)))
    split = transformed(training_fraction(Odd(), SPLIT, 0.7, 0), [noise, noise])
    assert isinstance(split, TransformedSplit)
    one, same, other = (split.batch([0], torch.Generator().manual_seed(seed)).inputs for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    whole = transformed(SPLIT, [noise])
    assert skips(Odd(), whole, [2])
    assert not skips(Odd(), whole, [1])
    sample = training_sample(Odd(), whole, 3, 0)
    assert sample.size == 2  # without the one that the protocol skips
    assert torch.equal(sample.batch([0, 1], torch.Generator()).inputs, SERIES[:2])
    assert transformed(SPLIT, []) is SPLIT


def test_what_is_no_batch_is_refused() -> None:
    with pytest.raises(PluginError, match=r"transform 'mine': it returned None, expected a fptkit\.Batch"):
        TransformedSplit(SPLIT, [NamedTransform(SPEC, lambda batch, generator: None)]).batch([0], torch.Generator())  # type: ignore[arg-type, return-value]
