"""Constant is relative to the size of the numbers."""

from __future__ import annotations

import numpy as np
import pytest

from fptkit.tasks.reading.scaling import moments, standardise

CHANCE = np.random.default_rng(0)


@pytest.mark.parametrize("unit", [1.0, 1e-13, 1e-200, 1e150])
def test_the_unit_does_not_matter(unit: float) -> None:
    values = CHANCE.normal(3, 2, (50, 4))
    found = moments(values * unit)
    assert not found.constant.any()
    assert standardise(values * unit, found) == pytest.approx((values - values.mean(0)) / values.std(0), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-13, -1e9, 1e200])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants_become_zero(value: float, dtype: type) -> None:
    values = np.full((7, 1), value, np.float64).astype(dtype) if abs(value) < 1e30 else np.full((7, 1), value)
    found = moments(values)
    assert found.constant.all()
    assert (standardise(values, found) == 0).all()
    assert standardise(np.array([[value + 1]]), found) == 0


def test_rounding_is_not_variation() -> None:
    values = np.array([[1e6], [np.nextafter(1e6, 2e6)]] * 50)
    assert moments(values).constant.all()
    assert not moments(np.array([[0.0], [1e-30]])).constant.any()


def test_missing_values_are_left_out() -> None:
    values = CHANCE.normal(size=(30, 2))
    values[::3, 0] = np.nan
    found = moments(values)
    assert found.mean[0] == pytest.approx(np.nanmean(values, axis=0))
    assert found.deviation[0] == pytest.approx(np.nanstd(values, axis=0))
    nothing = moments(np.full((3, 1), np.nan))
    assert (nothing.mean, nothing.deviation, nothing.divisor) == (0, 0, 1)


def test_over_all_axes() -> None:
    values = CHANCE.normal(size=(5, 6))
    assert moments(values, None).deviation.item() == pytest.approx(values.std())
