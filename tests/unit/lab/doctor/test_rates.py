"""Measured rates of matrix products: counted operations over time, and precisions that a device lacks."""

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace

import pytest
import torch

from fptkit.lab.doctor import rates


def test_the_rate_is_two_operations_for_each_product(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 0.5)  # each look at the clock is half a second later than the one before
    monkeypatch.setattr(rates, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(rates, "SIZES", {"cpu": (16, 32)})
    found = rates.matrix_rates(torch.device("cpu"), only="float32")
    assert found == {"float32": 2 * 16**3 / 0.5}  # slow enough after the first size


def test_a_precision_that_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not implemented for 'cpu'\nlong explanation")

    monkeypatch.setattr(torch, "_int_mm", missing)
    monkeypatch.setattr(rates, "SIZES", {"cpu": (16,)})
    found = {one.name: one for one in rates.findings(torch.device("cpu"))}
    assert list(found) == ["float32", "bfloat16", "int8"]
    assert (found["int8"].state, found["int8"].text) == ("note", "not available: not implemented for 'cpu'")
    assert found["float32"].facts["operations_per_second"] > 0


def test_measuring_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def slow(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        seen.append(one.shape[0])
        time.sleep(0.03)
        return one

    monkeypatch.setattr(torch, "mm", slow)
    rates.matrix_rates(torch.device("cpu"), only="bfloat16")
    assert seen == [256] * 4
