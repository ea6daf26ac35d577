"""Which number format frozen weights are stored and multiplied in, and on which device."""

from __future__ import annotations

import torch

from fptkit.errors import UsageError


def choose_device(wanted: str) -> torch.device:
    """``auto`` takes CUDA where it is available.

    Raises:
        UsageError: CUDA is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("device: cuda was asked for, but torch sees no CUDA device here (use auto or cpu)")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> str:
    """``auto`` takes bfloat16 where the processor multiplies it natively, float32 elsewhere.

    By capability, not by timing: a repeated run must choose alike.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if cpu_multiplies_bfloat16() else "float32"


def cpu_multiplies_bfloat16() -> bool:
    """True when this processor has instructions for bfloat16 products (AVX-512 BF16 or AMX)."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in the oldest torch we accept
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
