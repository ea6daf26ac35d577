"""Choice of the device, and of the precision in which frozen weights are stored and multiplied."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

import torch

from fptkit.errors import UsageError
from fptkit.numerics import kernels
from fptkit.numerics.shared_gpu import GPU_FRACTION
from fptkit.specs.freezing import Role

MATRIX = 2
"""Dimensions from which on a frozen tensor is stored in fewer bits. Vectors save nothing, and some of them, such as
decays, lose their meaning."""

IN_FEWER_BITS: tuple[Role, ...] = ("attention", "feed_forward", "recurrent")
"""Roles whose frozen matrices are stored in fewer bits in mixed precision."""


EQUIVALENT_IN_INT8: Mapping[str, str] = {"builtin:gpt2_nano": "int8.md"}
"""Weights with which ``auto`` chooses 8-bit products, each with the page under ``docs/results`` that shows that results
are equivalent to bfloat16 on every task (``benchmarks/int8.yaml`` and the studies beside it)."""


def choose_device(wanted: str) -> torch.device:
    """Choose the device: ``auto`` means CUDA if available, else the CPU. With `GPU_FRACTION`, memory is limited.

    Args:
        wanted: ``auto``, ``cuda`` or ``cpu``.

    Raises:
        UsageError: CUDA is requested and unavailable.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("device: cuda is requested, but torch finds no CUDA device here; use auto or cpu")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and (fraction := os.environ.get(GPU_FRACTION)):
        torch.cuda.set_per_process_memory_fraction(float(fraction))
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device, weights: str = "") -> str:
    """Choose the precision.

    ``auto_float`` means bfloat16 if the device multiplies it natively, else float32. ``auto`` means the same, but
    ``int8`` with weights that are listed in `EQUIVALENT_IN_INT8`. ``int8`` means ``auto_float`` if the device has no
    fast products of integers. The choice depends on the hardware, not on timing, so that a repeated run makes the same
    choice.

    Args:
        wanted: ``auto``, ``auto_float``, ``float32``, ``bfloat16``, ``int8`` or ``int8_storage``.
        device: the device of the run.
        weights: the weights of the backbone; empty if they are not used as they were loaded.
    """
    if wanted == "int8" or (wanted == "auto" and weights in EQUIVALENT_IN_INT8):
        wanted = "auto_float" if why_not_int8(device) else "int8"
    if wanted not in ("auto", "auto_float"):
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if cpu_multiplies_bfloat16() else "float32"


def set_float32_products(wanted: str, device: torch.device, precision: str) -> None:
    """Set how this process multiplies float32 matrices on a GPU: exactly, or in TF32. Nothing changes for a CPU.

    Args:
        wanted: ``exact``, ``tf32``, or ``auto``: TF32 unless the precision is float32.
        device: the device of the run.
        precision: of the run, as `choose_precision` gives it.
    """
    if device.type != "cuda":
        return
    rounded = precision != "float32" if wanted == "auto" else wanted == "tf32"
    torch.set_float32_matmul_precision("high" if rounded else "highest")
    torch.backends.cudnn.allow_tf32 = rounded  # convolutions; by default torch rounds theirs


def cpu_multiplies_bfloat16() -> bool:
    """True if this CPU has instructions for bfloat16 products (AVX-512 BF16 or AMX)."""
    return _capable_of("avx512_bf16", "amx_bf16")


@lru_cache
def cpu_multiplies_int8() -> bool:
    """True if this CPU has instructions for products of 8-bit integers (AVX-512 VNNI or AMX), and torch uses them."""
    return _capable_of("avx512_vnni", "amx_int8") and torch.backends.mkldnn.is_available()


def _capable_of(*instructions: str) -> bool:
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in the oldest supported torch
    return any(map(capabilities.get, instructions))


def why_not_int8(device: torch.device) -> str:
    """Reason why products of 8-bit integers are not used on a device for new runs; empty if they are."""
    if device.type != "cpu":
        return "products of 8-bit integers are for CPUs only"
    if not cpu_multiplies_int8():
        return "this processor has no instructions for products of 8-bit integers (AVX-512 VNNI or AMX)"
    why = kernels.why_not()
    return "" if why is None else f"the CPU kernels around the products are not available: {why}"
