"""What the doctor says about torch, processor, memory, GPU, precision and kernels, on machines of all kinds."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from fptkit.lab.doctor import hardware
from fptkit.numerics import compiler, kernels


def test_torch_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (found,) = hardware.torch()
    assert found.state == "fault"
    assert found.text.startswith("cannot be imported: import of torch halted")


def test_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {one.name: one for one in hardware.processor()}
    assert set(found) >= {"processor", "instructions"}
    assert found["processor"].facts["cores"] >= 1
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True, "avx2": False, "name": "x"})
    assert "amx_bf16" in hardware.instructions()


@pytest.mark.parametrize(("limit", "expected"), [("max", None), ("4096", 4096), ("", None)])
def test_a_container_with_a_limit(
    limit: str, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "memory.max"
    file.write_text(limit)
    assert hardware._number(file) == expected
    monkeypatch.setattr(hardware, "_container_limit", lambda: hardware._number(file))
    total, available = hardware.memory()
    assert total is not None
    assert available is not None
    assert (total == 4096) == (expected == 4096)
    assert available <= total


def fake_gpus(monkeypatch: pytest.MonkeyPatch, *, count: int = 2) -> None:
    def memory(number: int = 0) -> tuple[int, int]:
        if number:
            raise RuntimeError("CUDA error: device is busy\nmore")
        return 30 * 2**30, 80 * 2**30

    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: count,
        "get_device_name": lambda number=0: f"GPU number {number}",
        "get_device_capability": lambda number=0: (9, 0),
        "mem_get_info": memory,
        "is_bf16_supported": lambda including_emulation=True: not including_emulation,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)


def test_gpus_and_the_precision_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpus(monkeypatch)
    first, second = hardware.gpu()
    assert (first.state, first.text) == ("ok", "GPU number 0, compute capability 9.0, 30.00 GiB of 80.00 GiB free")
    assert (second.state, "device is busy" in second.text) == ("warning", True)
    assert hardware.precision().text == "bfloat16 for frozen weights on cuda: this GPU multiplies bfloat16 natively"


@pytest.mark.parametrize(("native", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_the_precision_on_a_processor(native: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("fptkit.numerics.precision.cpu_multiplies_bfloat16", lambda: native)
    found = hardware.precision()
    assert found.facts == {"device": "cpu", "precision": chosen}
    assert ("does not multiply" in found.text) != native


def test_no_gpu_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def old_driver() -> bool:
        warnings.warn("The NVIDIA driver on your system is too old", UserWarning, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (found,) = hardware.gpu()
    assert (found.state, found.text) == ("note", "none: runs use the processor")
    monkeypatch.setattr(torch.cuda, "is_available", old_driver)
    (found,) = hardware.gpu()
    assert (found.state, found.text) == ("warning", "not usable: The NVIDIA driver on your system is too old")


@pytest.fixture
def asked_again() -> Any:
    """The reason why kernels are unavailable is remembered; the test and those after it ask again."""
    kernels.why_not.cache_clear()
    yield
    kernels.why_not.cache_clear()


def test_kernels_that_are_turned_off(asked_again: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from fptkit.numerics import loops

    loops.load.cache_clear()
    monkeypatch.setenv(compiler.SWITCH, "off")
    (found,) = hardware.kernels()
    assert (found.state, "turns compiled kernels off" in found.text) == ("warning", True)
    monkeypatch.setenv(compiler.SWITCH, "perhaps")
    kernels.why_not.cache_clear()
    (found,) = hardware.kernels()
    assert (found.state, "unknown value 'perhaps'" in found.text) == ("fault", True)


def test_kernels_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "commands", lambda language: [])
    monkeypatch.setattr(kernels, "why_not", lambda: "no C compiler was found ($CC, cc, gcc, clang)")
    (found,) = hardware.kernels()
    assert (found.state, found.facts["compilers"]) == ("warning", [])
    monkeypatch.setattr(kernels, "why_not", lambda: None)
    (found,) = hardware.kernels()
    assert found.text == "compiled by an earlier compiler"
