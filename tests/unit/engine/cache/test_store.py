"""The file of cached features, as several processes fill it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from fptkit.engine.cache.store import FeatureStore


def test_two_that_fill_at_once_compute_each_batch_once(tmp_path: Path) -> None:
    computed: list[int] = []
    begun = threading.Event()

    def compute(number: int) -> np.ndarray:
        begun.set()
        computed.append(number)
        return np.full((2, 1, 3), number, np.float32)

    found: list[Any] = []

    def fill() -> None:
        store = FeatureStore(tmp_path / "key", (6, 1, 3), [2, 4, 6])
        found.append(store.read(compute, lambda rows: True, stop_requested=lambda: False, computed=lambda done: None))

    threads = [threading.Thread(target=fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert computed == [0, 1, 2]
    for rows in found:
        assert rows[:, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_part_that_lost_rows_is_started_again(tmp_path: Path) -> None:
    def read(stop_after: int) -> list[int]:
        computed: list[int] = []

        def compute(number: int) -> np.ndarray:
            computed.append(number)
            return np.full((2, 1, 3), number, np.float32)

        FeatureStore(tmp_path / "key", (6, 1, 3), [2, 4, 6]).read(
            compute,
            lambda rows: True,
            stop_requested=lambda: len(computed) >= stop_after,
            computed=lambda done: None,
        )
        return computed

    assert read(2) == [0, 1]
    os.truncate(tmp_path / "key" / "features.part", 30)
    assert read(9) == [0, 1, 2]
