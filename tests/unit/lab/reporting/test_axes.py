"""Every axis has at least two labelled ticks, whatever its range, and no two labels are equal."""

from __future__ import annotations

import math
import random
import re
from itertools import pairwise

import pytest

from fptkit.lab.reporting.axes import Scale, around, labels, plain
from fptkit.lab.reporting.drawing import LETTER, RIGHT, WIDTH, Picture


def ranges(*, logarithmic: bool, count: int = 600) -> list[tuple[float, float]]:
    """Ranges of every width, from a millionth of the value to twelve decades."""
    rng = random.Random(1)
    found = []
    for _ in range(count):
        low = 10 ** rng.uniform(-9, 15)
        if logarithmic:
            found.append((low, low * 10 ** (10 ** rng.uniform(-6, 1.1))))
        else:
            low *= rng.choice((-1, 1))
            found.append((low, low + abs(low) * 10 ** rng.uniform(-6, 3)))
    return found


@pytest.mark.parametrize("logarithmic", [False, True], ids=["linear", "logarithmic"])
def test_every_range_has_ticks_that_can_be_told_apart(logarithmic: bool) -> None:
    for low, high in ranges(logarithmic=logarithmic):
        ticks = Scale(low, high, 0, 100, logarithmic).ticks()
        assert 2 <= len(ticks) <= 11, (low, high)
        width = high - low
        assert all(low - 1e-6 * width <= tick <= high + 1e-6 * width for tick in ticks), (low, high)
        assert ticks == sorted(set(ticks))
        texts = labels(ticks)
        assert len(set(texts)) == len(texts), (low, high, texts)
        for text, tick in zip(texts, ticks, strict=True):
            assert read(text) == pytest.approx(tick, rel=0, abs=0.01 * width)


def read(text: str) -> float:
    """The value of a label, by other means than the code: ``2.5M``, ``1,000``, ``−1e-4``."""
    number, prefix = re.fullmatch(r"(−?[\d.,]+(?:e-?\d+)?)([kMGT]?)", text).groups()  # type: ignore[union-attr]
    factor = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[prefix]
    return float(number.replace(",", "").replace("−", "-")) * factor


def shown_ticks(picture: Picture) -> list[str]:
    return re.findall(r'<text class="tick"[^>]*text-anchor="middle">([^<]*)', "".join(picture.body))


@pytest.mark.parametrize("logarithmic", [False, True], ids=["linear", "logarithmic"])
def test_every_chart_labels_two_ticks_of_both_axes(logarithmic: bool) -> None:
    for low, high in ranges(logarithmic=logarithmic, count=200):
        picture = Picture("key", "title", "alternative")
        ends = around([low, high], logarithmic=logarithmic)
        y = picture.vertical(low=low, high=high)
        x = picture.horizontal(low=ends[0], high=ends[1], logarithmic=logarithmic)
        picture.axes(x, y, x_label="x", y_label="y")
        below = shown_ticks(picture)
        assert len(below) >= 2, (low, high, below)
        beside = re.findall(r'<text class="tick"[^>]*text-anchor="end">([^<]*)', "".join(picture.body))
        assert len(beside) >= 2
        assert picture.left >= 16 + 6 * max(map(len, beside)), "the labels of the y axis fit beside it"


def test_labels_below_the_axis_never_touch() -> None:
    rng = random.Random(2)
    for _ in range(300):
        picture = Picture("key", "title", "alternative")
        values = sorted({10 ** rng.uniform(-5, 0) for _ in range(rng.randrange(2, 9))})
        x = picture.horizontal(low=values[0] / 1.3, high=values[-1] * 1.3, logarithmic=True)
        picture.ticks_below(x, [(value, f"{value:.2e}") for value in values])
        placed = re.findall(r'<text class="tick" x="([\d.]+)"[^>]*>([^<]*)', "".join(picture.body))
        ends = [(float(at) - LETTER / 2 * len(text), float(at) + LETTER / 2 * len(text)) for at, text in placed]
        assert all(right[0] > left[1] for left, right in pairwise(ends))
        assert 1 <= len(placed) <= len(values)
        assert x.end == WIDTH - RIGHT


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0, 100, 0, 1), [0, 20, 40, 60, 80, 100]),
        (Scale(96.2, 99.1, 0, 1), [97, 98, 99]),
        (Scale(-3, 2, 0, 1), [-3, -2, -1, 0, 1, 2]),
        (Scale(1e-4, 1e-1, 0, 1, True), [1e-4, 1e-3, 1e-2, 1e-1]),
        (Scale(12, 45, 0, 1, True), [15, 20, 30]),
        (Scale(8, 12, 0, 1, True), [8, 9, 10, 11, 12]),
        (Scale(9, 22, 0, 1, True), [10, 20]),
        (Scale(1, 1e12, 0, 1, True), [1, 1e3, 1e6, 1e9, 1e12]),
    ],
)
def test_ticks_are_round(scale: Scale, ticks: list[float]) -> None:
    assert scale.ticks() == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (1000, "1,000"),
        (-2.5, "−2.5"),
        (12_000, "12k"),
        (2e6, "2M"),
        (1e-4, "1e-4"),
        (-1.5e-5, "−1.5e-5"),
        (3e16, "3e16"),
    ],
)
def test_a_tick_is_written_in_one_way(value: float, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1.0001e12, 1.0002e12], ["1.0001T", "1.0002T"]),
        ([99.998, 99.999, 100.0], ["99.998", "99.999", "100"]),
        ([10, 15, 20], ["10", "15", "20"]),
        ([0.1 + 0.2, 0.4], ["0.3", "0.4"]),
    ],
)
def test_labels_are_as_short_as_they_can_be(values: list[float], texts: list[str]) -> None:
    assert labels(values) == texts


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [1.0, 2.0], [100.0, 100.0], [0.0, 100.0], [1e9, 1e9 + 1e-7]])
def test_a_scale_has_room_for_its_values(values: list[float]) -> None:
    low, high = around(values, within=(0.0, 100.0))
    assert low < high
    assert low <= min(values) <= max(values) <= high


def test_a_logarithmic_scale_of_one_value_has_a_width() -> None:
    low, high = around([3e-4], logarithmic=True)
    assert math.isclose(low * high, 9e-8)
    assert len(Scale(low, high, 0, 1, True).ticks()) >= 2
