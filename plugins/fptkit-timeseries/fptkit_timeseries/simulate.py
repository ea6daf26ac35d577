"""Simulated series, a fallback (stand-in) if no data are available: chirps, and trends with seasons and noise."""

from __future__ import annotations

import numpy as np

from fptkit.tasks.series.values import Series
from fptkit_timeseries.options import SimulatedClassesOptions, SimulatedTrendOptions
from fptkit_timeseries.series import LabelledSeries


def simulate_classes(options: SimulatedClassesOptions) -> dict[str, LabelledSeries]:
    """Simulate series of balanced classes, as the splits ``train`` (including validation) and ``test``.

    In every channel a class has its own frequencies (2 to 12 cycles per hundred steps) and chirp rates (a frequency
    rises or falls by up to a third over a hundred steps). Each series has random phases, amplitudes (0.6 to 1.4),
    length and white noise.
    """
    chance = np.random.Generator(np.random.PCG64([options.seed, 0]))
    shape = (options.classes, options.channels, options.waves)
    frequencies = chance.uniform(0.02, 0.12, shape)  # cycles per step
    rates = frequencies * chance.uniform(-0.33, 0.33, shape) / 100  # change per step, in cycles per step
    splits = {}
    for number, (name, count) in enumerate((("train", options.train), ("test", options.test)), start=1):
        chance = np.random.Generator(np.random.PCG64([options.seed, number]))
        labels = np.arange(count, dtype=np.int64) % options.classes
        series = tuple(_chirps(frequencies[label], rates[label], options, chance) for label in labels)
        splits[name] = LabelledSeries(series, labels)
    return splits


def _chirps(
    frequencies: np.ndarray, rates: np.ndarray, options: SimulatedClassesOptions, chance: np.random.Generator
) -> Series:
    """Simulate one series (T, C) of the class with these (C, W) frequencies and rates."""
    length = int(chance.integers(options.length[0], options.length[1] + 1))
    steps = np.arange(length)[:, None, None]  # (T, 1, 1)
    phases = chance.uniform(0, 1, frequencies.shape)
    amplitudes = chance.uniform(0.6, 1.4, frequencies.shape)
    turns = phases + frequencies * steps + rates * steps**2 / 2
    waves = (amplitudes * np.sin(2 * np.pi * turns)).sum(2)
    noisy: Series = waves + options.noise * chance.standard_normal(waves.shape)
    return noisy


def simulate_trends(options: SimulatedTrendOptions) -> Series:
    """Simulate series (T, C) to forecast, each with its own trend, phases, levels and noise.

    A series is the sum of a level, a linear trend, a wave of one period with amplitude 1 and its second harmonic (0.3),
    a wave of seven periods (0.5), and noise e(t) = a e(t - 1) + n(t) with white n and standard deviation ``noise``.
    """
    chance = np.random.Generator(np.random.PCG64([options.seed, 3]))
    steps, count = np.arange(options.length)[:, None], options.series
    level, slope = chance.uniform(-2, 2, count), chance.uniform(-options.trend, options.trend, count) / options.length
    phases = chance.uniform(0, 1, (3, count))
    waves = (
        np.sin(2 * np.pi * (steps / options.period + phases[0]))
        + 0.3 * np.sin(4 * np.pi * (steps / options.period + phases[1]))
        + 0.5 * np.sin(2 * np.pi * (steps / (7 * options.period) + phases[2]))
    )
    noise = chance.standard_normal((options.length, count)) * options.noise
    for step in range(1, options.length):
        fresh = np.sqrt(1 - options.autoregression**2)  # keeps the standard deviation constant
        noise[step] = options.autoregression * noise[step - 1] + fresh * noise[step]
    series: Series = level + slope * steps + waves + noise
    return series
