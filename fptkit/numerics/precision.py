"""Choice of the device, and of the precision in which frozen weights are stored and multiplied."""

from __future__ import annotations

import torch

from fptkit.errors import UsageError
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
        wanted: ``auto``, ``float32``, ``bfloat16`` or ``int8``.
        device: the device of the run.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if cpu_multiplies_bfloat16() else "float32"


def cpu_multiplies_bfloat16() -> bool:
    """True if this CPU has instructions for bfloat16 products (AVX-512 BF16 or AMX)."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in the oldest supported torch
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
