"""What a device is set to, with a stand-in for the GPU that is not here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fptkit.numerics import precision
from fptkit.numerics.precision import choose_device, set_float32_products
from fptkit.numerics.shared_gpu import GPU_FRACTION, runs_on_each

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.mark.parametrize(
    ("wanted", "of_run", "rounded"),
    [
        ("auto", "bfloat16", True),
        ("auto", "int8_storage", True),
        ("auto", "float32", False),
        ("tf32", "float32", True),
        ("exact", "bfloat16", False),
    ],
)
def test_float32_is_rounded_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, wanted: str, of_run: str, rounded: bool
) -> None:
    said: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    convolutions = SimpleNamespace(allow_tf32=None)
    monkeypatch.setattr(torch.backends, "cudnn", convolutions)
    set_float32_products(wanted, CUDA, of_run)
    assert (said, convolutions.allow_tf32) == (["high" if rounded else "highest"], rounded)
    set_float32_products(wanted, CPU, of_run)
    assert len(said) == 1, "nothing changes for a CPU"


def test_a_run_that_shares_a_gpu_takes_no_more_than_its_fraction(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[float] = []
    monkeypatch.setattr(precision.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(precision.torch.cuda, "set_per_process_memory_fraction", taken.append)
    assert choose_device("auto") == CUDA
    assert taken == []
    monkeypatch.setenv(GPU_FRACTION, "0.3")
    assert choose_device("cpu") == CPU
    assert taken == []
    assert choose_device("cuda") == CUDA
    assert taken == [0.3]


@pytest.mark.parametrize(("runs", "devices", "expected"), [(8, 0, 1), (2, 2, 1), (1, 2, 1), (3, 2, 2), (8, 1, 8)])
def test_runs_are_spread_over_gpus(runs: int, devices: int, expected: int) -> None:
    assert runs_on_each(runs, devices) == expected
