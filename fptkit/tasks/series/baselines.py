"""Baselines: forecasts without a network, on the windows and in the scale of the task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fptkit.tasks.series.values import Series
from fptkit.tasks.series.windows import WindowExamples

SAMPLE = 20_000
"""Maximum number of windows that are used, evenly spaced over a split."""

_LARGEST_MAP = 1024
"""Numbers per context above which the least-squares map is skipped, since it would take longer than training."""

_RIDGE = 1e-3
"""Ridge penalty of the least-squares map per window, since contexts of smooth series are nearly collinear."""


@dataclass(frozen=True)
class Errors:
    """Errors of one forecast over a split.

    Args:
        name: name of the forecast.
        squared: mean squared error.
        absolute: mean absolute error.
    """

    name: str
    squared: float
    absolute: float

    def __str__(self) -> str:
        return f"{self.name} {self.squared:.4f} ({self.absolute:.4f})"


def last_value(context: Series, horizon: int) -> Series:
    """Forecast by repeating the last value. Shapes: context (B, T, C) -> (B, horizon, C)."""
    return np.repeat(context[:, -1:], horizon, axis=1)


def last_season(context: Series, horizon: int, season: int) -> Series:
    """Forecast by repeating the last ``season`` steps. Shapes: context (B, T, C) -> (B, horizon, C)."""
    repeated: Series = context[:, context.shape[1] - season + np.arange(horizon) % season]
    return repeated


def fit_linear(train: WindowExamples) -> Callable[[Series], Series]:
    """Fit a linear map from context to horizon by least squares on training windows, and return it.

    Source: Zeng et al. 2023, "Are transformers effective for time series forecasting?", whose one-layer models beat
    transformers; fitted in closed form here.
    """
    context, future = train.windows(_spread(train))
    inputs, targets = _with_one(context), future.reshape(len(future), -1)
    penalty = _RIDGE * len(inputs) * np.eye(inputs.shape[1])
    penalty[-1, -1] = 0  # the constant
    weights = np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ targets)
    return lambda seen: (_with_one(seen) @ weights).reshape(len(seen), *future.shape[1:])


def measure(train: WindowExamples, split: WindowExamples, season: int | None) -> list[Errors]:
    """Measure the errors of every forecast on a split.

    Args:
        train: windows to which the linear map is fitted.
        split: windows that are forecast.
        season: length of the season in steps; None: no seasonal forecast.
    """
    context, future = split.windows(_spread(split))
    horizon = future.shape[1]
    own = context.take(split.targets, axis=2)
    forecasts = {"last value": last_value(own, horizon)}
    if season is not None:
        forecasts[f"last season of {season}"] = last_season(own, horizon, season)
    if context[0].size <= _LARGEST_MAP:
        forecasts["linear map by least squares"] = fit_linear(train)(context)
    return [
        Errors(name, float(((forecast - future) ** 2).mean()), float(np.abs(forecast - future).mean()))
        for name, forecast in forecasts.items()
    ]


def _spread(split: WindowExamples) -> np.ndarray:
    assert split.size is not None
    return np.unique(np.linspace(0, split.size - 1, min(split.size, SAMPLE)).astype(np.int64))


def _with_one(context: Series) -> Series:
    """Flatten contexts and append a constant. Shapes: (B, T, C) -> (B, T * C + 1)."""
    flat = context.reshape(len(context), -1)
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
