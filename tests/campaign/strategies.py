"""Examples of Hypothesis strategies outside of its own runner: the same ones for the same name."""

from __future__ import annotations

import warnings
import zlib
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st


def drawn(strategy: st.SearchStrategy[Any], count: int, name: str) -> list[Any]:
    """Draw examples.

    Args:
        strategy: of what is drawn.
        count: how many, at most; Hypothesis ends early when it has seen every value.
        name: decides which ones.
    """
    found: list[Any] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seed(zlib.crc32(name.encode()))
    @given(strategy)
    def take(value: Any) -> None:
        found.append(value)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        take()
    return found
