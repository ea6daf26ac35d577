"""Scales of charts: from values to positions, round ticks and their labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_MOST = 6
"""Largest number of ticks on a logarithmic scale."""

_FACTORS = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
"""Ticks within a decade of a logarithmic scale, from coarse to fine."""

_NEGLIGIBLE = 1e-9
"""Values that differ by less than this, relative to their size, count as equal: labels could not tell them apart."""


@dataclass(frozen=True)
class Scale:
    """Maps values to positions in the picture.

    Args:
        low: smallest value.
        high: largest value.
        start: position of ``low``, in units.
        end: position of ``high``, in units.
        logarithmic: use a logarithmic scale; ``low`` must be above 0.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        turned: Callable[[float], float] = math.log10 if self.logarithmic else float
        low, high = turned(self.low), turned(self.high)
        return self.start + (self.end - self.start) * (turned(value) - low) / (high - low)

    def ticks(self) -> list[float]:
        """Two to about six round values within the scale."""
        if self.logarithmic:
            for factors in _FACTORS:
                found = self._of_decades(factors)
                if 2 <= len(found) <= _MOST:
                    return found
            if len(found) > _MOST:  # many decades
                decades = self._of_decades((1,))
                return decades[:: math.ceil(len(decades) / _MOST)]
        return self._evenly_spaced()

    def _of_decades(self, factors: Sequence[float]) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        candidates = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        return [value for value in candidates if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]

    def _evenly_spaced(self) -> list[float]:
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _round_step(rough: float) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return next(factor * size for factor in (1, 2, 5, 10) if factor * size >= rough * 0.999)


def around(
    values: Iterable[float],
    *,
    logarithmic: bool = False,
    within: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """Ends of a scale that shows all values with a margin.

    Args:
        values: finite, at least one; above 0 if ``logarithmic``.
        logarithmic: whether the scale is logarithmic.
        within: limits that the scale exceeds only if a value does, such as (0, 100) for percent.
    """
    shown = list(values)
    low, high = min(shown), max(shown)
    alike = high - low <= _NEGLIGIBLE * max(abs(low), abs(high))
    if logarithmic:
        factor = 2.0 if alike else (high / low) ** 0.08
        return low / factor, high * factor
    air = (0.05 * abs(high) or 1.0) if alike else 0.08 * (high - low)
    low, high = low - air, high + air
    if within is not None:
        low, high = max(low, min(within[0], *shown)), min(high, max(within[1], *shown))
    return (low, high) if high > low else (low - 1, high + 1)


def labels(values: Sequence[float]) -> list[str]:
    """Labels of ticks, as short as they can be while each says its value: one at 15 is not labelled 20."""
    apart = min((right - left for left, right in pairwise(values)), default=abs(values[0]))
    for digits in range(1, 18):
        found = [plain(value, digits) for value in values]
        if all(abs(_value_of(text) - value) <= 0.01 * apart for text, value in zip(found, values, strict=True)):
            break
    return found


def _value_of(label: str) -> float:
    text = label.replace(",", "").replace("\N{MINUS SIGN}", "-")
    factor = next((size for size, prefix in _PREFIXES if text.endswith(prefix)), 1.0)
    return float(text.rstrip("TGMk")) * factor


_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def plain(value: float, digits: int = 6) -> str:
    """Format the value of a tick: ``0.25``, ``1,000``, ``2M``, ``1e-4``.

    Args:
        value: the value.
        digits: number of significant digits, at most.
    """
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e15 or size < 1e-3:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(exponent)}".replace("-", "\N{MINUS SIGN}", 1 if value < 0 else 0)
    for unit, prefix in _PREFIXES:
        if size >= max(unit, 1e4):
            return f"{_decimal(value / unit, digits)}{prefix}"
    return _decimal(value, digits)


def _decimal(value: float, digits: int) -> str:
    """A number without exponent, rounded to significant digits, never before the decimal point."""
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "\N{MINUS SIGN}")
