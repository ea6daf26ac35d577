"""Choice of the device, and of the precision in which frozen weights are stored and multiplied."""

from __future__ import annotations

import torch

from fptkit.errors import UsageError
from fptkit.numerics import kernels
from fptkit.specs.freezing import Role

MATRIX = 2
"""Dimensions from which on a frozen tensor is stored in fewer bits. Vectors save nothing, and some of them, such as
decays, lose their meaning."""

IN_FEWER_BITS: tuple[Role, ...] = ("attention", "feed_forward", "recurrent")
"""Roles whose frozen matrices are stored in fewer bits in mixed precision."""


def choose_device(wanted: str) -> torch.device:
    """Choose the device: ``auto`` means CUDA if available, else the CPU.

    Args:
        wanted: ``auto``, ``cuda`` or ``cpu``.

    Raises:
        UsageError: CUDA is requested and unavailable.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("device: cuda is requested, but torch finds no CUDA device here; use auto or cpu")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> str:
    """Choose the precision: ``auto`` means bfloat16 if the device multiplies it natively, else float32.

    The choice depends on the hardware, not on timing, so that a repeated run makes the same choice.

    Args:
        wanted: ``auto``, ``float32``, ``bfloat16``, ``int8`` or ``int8_storage``.
        device: the device of the run.

    Returns:
        The precision; for ``int8`` on a device that has no fast products of integers, what ``auto`` gives.
    """
    if wanted != "auto" and not (wanted == "int8" and why_not_int8(device)):
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if cpu_multiplies_bfloat16() else "float32"


def cpu_multiplies_bfloat16() -> bool:
    """True if this CPU has instructions for bfloat16 products (AVX-512 BF16 or AMX)."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in the oldest supported torch
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def why_not_int8(device: torch.device) -> str:
    """Reason why products of 8-bit integers are not faster than those of bfloat16 on a device; empty if they are."""
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
        return "" if fast else f"{torch.cuda.get_device_name(device)} has no fast products of 8-bit integers"
    if not cpu_multiplies_int8():
        return "this processor has no instructions for products of 8-bit integers (VNNI or AMX)"
    why = kernels.why_not()
    return "" if why is None else f"the CPU kernels around the products are not available: {why}"


def cpu_multiplies_int8() -> bool:
    """True if this CPU has instructions for products of 8-bit integers (AVX-512 VNNI or AMX) that torch uses."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in the oldest supported torch
    return bool(capabilities.get("avx512_vnni") or capabilities.get("amx_int8"))
